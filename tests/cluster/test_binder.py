"""Bindings on a real API server, answered or not."""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from harness.cluster import Cluster, Options, running
from harness.proxy import Fate, Proxy
from spillover.api.kubernetes import Taint
from spillover.kube.binder import (
    Binder,
    Busy,
    Changed,
    Confirmed,
    Refused,
    Unknown,
    labels_in_binding,
)
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiSession
from subject import Subject, always, bindings, through_a_proxy


@pytest.fixture
def subject(bare_cluster: Cluster, namespace: str) -> Subject:
    return Subject(bare_cluster, namespace)


@pytest.fixture
def binder(session: ApiSession) -> Binder:
    return Binder(session, labels_in_binding=True, clock=time.monotonic)


async def test_node_labels_and_annotations_in_one_write(subject: Subject, binder: Binder) -> None:
    order = subject.order()
    assert await binder.bind(order) == Confirmed()
    pod = subject.now()
    assert pod["spec"]["nodeName"] == "node-0"
    assert pod["metadata"]["labels"] == {"tier": "eci"}
    assert pod["metadata"]["annotations"] == {"spillover.dev/unit": "eci-1"}


async def test_binding_again_what_is_bound_as_ordered_is_success(
    subject: Subject, binder: Binder
) -> None:
    order = subject.order()
    await binder.bind(order)
    assert await binder.bind(order) == Confirmed()
    elsewhere = await binder.bind(replace(order, node="node-1"))
    assert isinstance(elsewhere, Refused)
    assert elsewhere.reason == "the pod is bound"
    assert elsewhere.pod is not None
    assert elsewhere.pod.node == "node-0"


async def test_a_version_that_is_not_the_latest_binds_nothing(
    subject: Subject, binder: Binder
) -> None:
    order = subject.order()
    subject.touch()
    changed = await binder.bind(order)
    assert isinstance(changed, Changed)
    assert changed.pod.version == subject.order().version
    assert subject.node() == ""


async def test_a_pod_of_another_uid_or_none_is_gone(subject: Subject, binder: Binder) -> None:
    order = subject.order()
    assert await binder.bind(replace(order, uid="other")) == Refused("the pod is gone")
    assert await binder.bind(replace(order, name="two")) == Refused(
        "the API server refused the binding: 404 NotFound"
    )
    assert await binder.fence(replace(order, uid="other"), 1) == Refused("the pod is gone")
    assert await binder.fence(replace(order, name="two"), 1) == Refused("the pod is gone")


async def test_no_time_left(subject: Subject, binder: Binder) -> None:
    late = subject.order(deadline=time.monotonic() - 0.1)
    assert await binder.bind(late) == Refused("there was no time left for the binding")


@pytest.fixture
async def lossy(bare_cluster: Cluster, tmp_path: Path) -> AsyncIterator[tuple[Proxy, Binder]]:
    """A binder whose Bindings meet the fate that the test sets, while all else passes."""
    async with through_a_proxy(bare_cluster, tmp_path) as (proxy, session):
        yield proxy, Binder(session, labels_in_binding=True, clock=time.monotonic)


async def test_a_binding_whose_answer_is_lost_is_found(
    subject: Subject, lossy: tuple[Proxy, Binder]
) -> None:
    proxy, binder = lossy
    proxy.fate = bindings(Fate.LOSE_ANSWER)
    order = subject.order()
    assert await binder.bind(order) == Unknown(order.version)
    assert await binder.fence(order, order.version) == Confirmed()


async def test_a_binding_that_never_arrived_is_known_not_to(
    subject: Subject, lossy: tuple[Proxy, Binder]
) -> None:
    proxy, binder = lossy
    proxy.fate = bindings(Fate.LOSE_REQUEST)
    order = subject.order()
    assert await binder.bind(order) == Unknown(order.version)
    fenced = await binder.fence(order, order.version)
    assert isinstance(fenced, Refused)
    assert fenced.reason == "the binding was not executed"
    assert fenced.pod is not None
    assert fenced.pod.version > order.version


async def test_a_fence_makes_a_late_binding_impossible(
    subject: Subject, lossy: tuple[Proxy, Binder]
) -> None:
    proxy, binder = lossy
    proxy.fate = bindings(Fate.DELAY)
    order = subject.order()
    assert await binder.bind(order) == Unknown(order.version)
    assert isinstance(await binder.fence(order, order.version), Refused)
    assert await proxy.release() == [409]
    assert subject.node() == ""


async def test_a_fence_without_an_answer_says_nothing(
    subject: Subject, lossy: tuple[Proxy, Binder]
) -> None:
    proxy, binder = lossy
    order = subject.order()
    for fate in (Fate.LOSE_REQUEST, Fate.LOSE_ANSWER):
        proxy.fate = always(fate)
        assert await binder.fence(order, order.version) is None
    proxy.fate = always(Fate.PASS)
    assert isinstance(await binder.fence(order, order.version), Refused)


async def test_a_toleration_of_an_evicting_taint_is_written_before(
    bare_cluster: Cluster, namespace: str, binder: Binder
) -> None:
    own = {"key": "team", "operator": "Exists"}
    subject = Subject(bare_cluster, namespace, tolerations=[own])
    before = subject.now()["spec"]["tolerations"]
    order = subject.order(tolerate=(Taint("virtual-kubelet.io/provider", "", "NoExecute"),))
    assert await binder.bind(order) == Confirmed()
    assert subject.now()["spec"]["tolerations"] == [
        *before,
        {"key": "virtual-kubelet.io/provider", "operator": "Equal", "effect": "NoExecute"},
    ]


async def test_this_api_server_copies_labels(session: ApiSession) -> None:
    assert await labels_in_binding(session, 10.0)


async def test_the_version_is_read_before_the_first_binding(
    bare_cluster: Cluster, namespace: str, session: ApiSession, tmp_path: Path
) -> None:
    """No API server is needed to make a Binder. While none answers, nothing is sent."""
    subject = Subject(bare_cluster, namespace)
    order = subject.order(labels={"tier": "eci"})
    config = yaml.safe_load(bare_cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"] = {"server": "http://127.0.0.1:1"}
    nowhere = tmp_path / "kubeconfig"
    nowhere.write_text(yaml.safe_dump(config))
    async with ApiSession(Credentials(nowhere)) as nobody:
        binder = Binder(nobody, labels_in_binding=None, clock=time.monotonic)
        assert await binder.bind(order) == Busy(order.version)
    binder = Binder(session, labels_in_binding=None, clock=time.monotonic)
    assert await binder.bind(order) == Confirmed()
    assert subject.now()["metadata"]["labels"]["tier"] == "eci"


@pytest.fixture(scope="module")
def old_cluster(cluster_name: str) -> Iterator[Cluster]:
    """An API server that copies no labels from Bindings, as before 1.35."""
    gates = "PodTopologyLabelsAdmission=false"
    options = Options(components=False, feature_gates=gates)
    with running(Cluster(f"{cluster_name}-old"), options) as cluster:
        yield cluster


async def test_old_api_servers_get_the_labels_in_a_patch_before(old_cluster: Cluster) -> None:
    subject = Subject(old_cluster, "default", labels={"app": "app", "tier": "mine"})
    async with ApiSession(Credentials(old_cluster.kubeconfig)) as session:
        binder = Binder(session, labels_in_binding=False, clock=time.monotonic)
        # Without a node it fails, after the labels were written: with a 500, which says nothing.
        failing = subject.order(labels={"tier": "eci", "extra": "x"}, node="")
        unknown = await binder.bind(failing)
        assert isinstance(unknown, Unknown)
        assert isinstance(await binder.fence(failing, unknown.version), Refused)
        assert subject.now()["metadata"]["labels"] == {"app": "app", "tier": "eci", "extra": "x"}
        # Another unit: what the first one left is undone, the pod's own label is its own again.
        order = subject.order(labels={"base": "yes"})
        assert await binder.bind(order) == Confirmed()
    pod = subject.now()
    assert pod["spec"]["nodeName"] == "node-0"
    assert pod["metadata"]["labels"] == {"app": "app", "tier": "mine", "base": "yes"}
