"""The bind verb from claim to slot, on an API server whose answers may be lost: a slot is never
given away before it is known to be free, and never kept once it is."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from wiring import Wired

from builders import ack_policy, virtual
from harness.cluster import Cluster
from harness.proxy import Fate, Proxy
from spillover.api.extender import BindArgs
from spillover.api.kubernetes import PodObject
from spillover.core.cache.cluster import ClusterCache
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.pods import pod_from_wire
from spillover.core.model.policy import Policy, UnitKey
from spillover.kube.session import ApiSession
from subject import Subject, always, bindings, through_a_proxy

CONVENTIONS = NodeConventions(schedulers=frozenset({"nobody", "spillover-scheduler"}))


class Extender:
    """Bind, with a cache that the test fills as a watch would, and one unit of max 1."""

    def __init__(self, session: ApiSession, policy: Policy) -> None:
        self.policy = policy
        cluster = ClusterCache(CONVENTIONS, time.monotonic, time.time, lambda: 0.5)
        wired = Wired(session, cluster)
        self.scheduler, self.binding = wired.scheduler, wired.binding
        self.scheduler.cluster.put_node(virtual("node-0"))
        self.scheduler.cluster.put_policy(policy)

    def see(self, subject: Subject) -> None:
        """What the watch would show now."""
        wire = msgspec.json.decode(json.dumps(subject.now()), type=PodObject)
        self.scheduler.cluster.put_pod(pod_from_wire(wire))

    async def bind(self, subject: Subject, seconds: float = 5.0) -> str:
        uid = subject.now()["metadata"]["uid"]
        args = BindArgs(subject.name, subject.namespace, uid, "node-0")
        return (await self.binding.bind(args, time.monotonic() + seconds)).error

    def taken(self) -> int:
        key = UnitKey(self.policy.key, self.policy.units[0].identity)
        return self.scheduler.cluster.ledger.usage(key, besides="").pods

    async def settled(self) -> None:
        async with asyncio.timeout(30):
            while self.scheduler.cluster.ledger.bindings():  # noqa: ASYNC110 - the ledger tells nobody
                await asyncio.sleep(0.02)


Place = tuple[Proxy, Extender, Callable[[str], Subject]]


@pytest.fixture
async def place(bare_cluster: Cluster, namespace: str, tmp_path: Path) -> AsyncIterator[Place]:
    policy = ack_policy({"resource": "eci", "max": 1, "podLabels": {"tier": "eci"}})
    policy = replace(policy, key=policy.key._replace(namespace=namespace))

    def subject(name: str) -> Subject:
        return Subject(bare_cluster, namespace, name, labels={"app": "app"})

    async with through_a_proxy(bare_cluster, tmp_path) as (proxy, session):
        extender = Extender(session, policy)
        settling = asyncio.create_task(extender.binding.settle_outcomes())
        yield proxy, extender, subject
        settling.cancel()
        await asyncio.gather(settling, return_exceptions=True)


async def test_a_pod_is_bound_and_holds_its_slot(place: Place) -> None:
    _, extender, subject = place
    one, two = subject("one"), subject("two")
    extender.see(one)
    extender.see(two)
    assert await extender.bind(one) == ""
    assert one.node() == "node-0"
    assert one.now()["metadata"]["labels"]["tier"] == "eci"
    assert await extender.bind(two) == "eci is at its max of 1"
    assert await extender.bind(one) == "the pod is bound already"
    assert extender.taken() == 1


async def test_a_lost_answer_is_found_out_within_the_request(place: Place) -> None:
    proxy, extender, subject = place
    one = subject("one")
    extender.see(one)
    proxy.fate = bindings(Fate.LOSE_ANSWER)
    assert await extender.bind(one) == ""
    assert one.node() == "node-0"
    assert extender.taken() == 1


async def test_a_lost_request_frees_the_slot(place: Place) -> None:
    proxy, extender, subject = place
    one, two = subject("one"), subject("two")
    extender.see(one)
    extender.see(two)
    proxy.fate = bindings(Fate.LOSE_REQUEST)
    assert await extender.bind(one) == "the binding was not executed"
    assert extender.taken() == 0
    proxy.fate = always(Fate.PASS)
    assert await extender.bind(two) == ""


@pytest.mark.parametrize("fate", [Fate.LOSE_ANSWER, Fate.LOSE_REQUEST])
async def test_an_outcome_that_takes_longer_keeps_the_slot_until_it_is_known(
    place: Place, fate: Fate
) -> None:
    proxy, extender, subject = place
    one, two = subject("one"), subject("two")
    extender.see(one)
    extender.see(two)
    executed = fate is Fate.LOSE_ANSWER
    proxy.fate = bindings(fate, others=Fate.LOSE_REQUEST)
    unknown = "it is not known yet whether the binding was executed"
    assert await extender.bind(one, seconds=1.0) == unknown
    assert extender.taken() == 1
    assert await extender.bind(two) == "eci is at its max of 1"
    assert await extender.bind(one) == "another binding of this pod is under way"
    proxy.fate = always(Fate.PASS)
    await extender.settled()
    assert extender.taken() == int(executed)
    assert await extender.bind(two) == ("eci is at its max of 1" if executed else "")


async def test_a_pod_that_changed_since_filter_is_decided_anew_and_keeps_its_slot(
    place: Place,
) -> None:
    _, extender, subject = place
    one = subject("one")
    extender.see(one)
    one.touch()  # the cache does not know
    assert await extender.bind(one) == ""
    assert extender.taken() == 1


async def test_a_pod_that_left_its_policy_since_filter_is_not_bound_under_it(place: Place) -> None:
    _, extender, subject = place
    one = subject("one")
    extender.see(one)
    one.cluster.kubectl("label", "pod", "one", "-n", one.namespace, "app=other", "--overwrite")
    # Without the policy, the virtual node's taint keeps it off.
    assert await extender.bind(one) == "node(s) had untolerated taint(s)"
    assert one.node() == ""
    assert extender.taken() == 0


async def test_a_pod_that_another_scheduler_bound_counts_at_once(place: Place) -> None:
    _, extender, subject = place
    one, two = subject("one"), subject("two")
    extender.see(one)
    extender.see(two)
    theirs = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "one", "labels": {"tier": "eci"}},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "node-0"},
    }
    one.cluster.kubectl(
        "create", "--raw", f"/api/v1/namespaces/{one.namespace}/pods/one/binding", "-f", "-",
        stdin=json.dumps(theirs),
    )  # fmt: skip
    assert await extender.bind(one) == "the pod is bound"
    assert extender.taken() == 1
    assert await extender.bind(two) == "eci is at its max of 1"


async def test_a_pod_that_was_deleted_frees_its_slot(place: Place) -> None:
    _, extender, subject = place
    one = subject("one")
    extender.see(one)
    uid = one.now()["metadata"]["uid"]
    one.cluster.kubectl("delete", "pod", "one", "-n", one.namespace, "--force")
    args = BindArgs("one", one.namespace, uid, "node-0")
    answer = await extender.binding.bind(args, time.monotonic() + 5)
    assert answer.error == "the API server refused the binding: 404 NotFound"
    assert extender.taken() == 0
