"""Pods of high priority take the place of others only where that is of use to them."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from harness.cluster import Cluster
from harness.containers import extender
from harness.metrics import total
from harness.scenes import ACK, node, pod, policy, virtual_node
from harness.stage import Scene
from harness.watch import node_of, scheduling_message

Object = dict[str, Any]
TAINT = {"key": "team", "value": "other", "effect": "NoSchedule"}
PREPAID: Object = {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}}


@pytest.fixture(scope="module")
def high(cluster: Cluster) -> Iterator[str]:
    """The name of a PriorityClass above the default."""
    with priority_class(cluster, "PreemptLowerPriority") as name:
        yield name


@pytest.fixture(scope="module")
def polite(cluster: Cluster) -> Iterator[str]:
    """One whose pods come first in the queue and evict nobody."""
    with priority_class(cluster, "Never") as name:
        yield name


@contextmanager
def priority_class(cluster: Cluster, preemption: str) -> Iterator[str]:
    name = f"high-{uuid.uuid4().hex[:6]}"
    cluster.create(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": 1000,
            "preemptionPolicy": preemption,
        }
    )
    yield name
    cluster.kubectl("delete", "priorityclass", name)


def prepaid(name: str = "prepaid-0", taints: list[dict[str, str]] | None = None) -> Object:
    return node(name, labels={"pool": "prepaid"}, taints=taints)


def add_policy(scene: Scene, *units: Object, **spec: object) -> None:
    scene.add(
        policy(ACK, scene.namespace, "app", selector={"app": "app"}, units=list(units), **spec)
    )


def app(scene: Scene, name: str, gpus: int = 1, **spec: object) -> Object:
    """A pod under the policy."""
    made = pod(scene.namespace, name, "spillover-scheduler", labels={"app": "app"}, gpus=gpus)
    made["spec"].update(spec)
    return made


def add_bound(scene: Scene, *pods: Object) -> None:
    scene.add(*pods)
    names = {each["metadata"]["name"] for each in pods}
    scene.pods.wait_for(
        lambda seen: {p["metadata"]["name"] for p in seen if node_of(p)} >= names, 60, "all bound"
    )


def evicted(scene: Scene) -> set[str]:
    """Pods that anybody has begun to delete."""
    return {
        seen["metadata"]["name"]
        for kind, seen in scene.pods.events
        if kind == "DELETED" or "deletionTimestamp" in seen["metadata"]
    }


def wait_bound(scene: Scene, name: str, seconds: float = 60) -> str:
    pods = scene.pods.wait_for(
        lambda seen: any(p["metadata"]["name"] == name and node_of(p) for p in seen),
        seconds,
        f"{name} bound",
    )
    return next(node_of(p) for p in pods if p["metadata"]["name"] == name)


def refuse(scene: Scene, urgent: Object) -> str:
    """Creates a pod, and waits until the scheduler has asked whom it may evict for it and has left
    the pod alone. Returns its message."""
    it = extender(scene.cluster)
    before = total(it, "spillover_preempt_requests_total")
    scene.add(urgent)
    name = urgent["metadata"]["name"]
    scene.pods.wait_for(
        lambda seen: any(p["metadata"]["name"] == name and scheduling_message(p) for p in seen),
        60,
        f"{name} refused",
    )
    scene.pods.wait_quiet(3.0, 60)
    asked = total(it, "spillover_preempt_requests_total") - before
    assert asked >= 1
    print(f"{asked:.0f} calls of preempt")
    return next(
        scheduling_message(p) for p in scene.pods.objects.values() if p["metadata"]["name"] == name
    )


def test_before_next_unit_it_evicts_in_unit_1_though_unit_2_is_free(
    scene: Scene, high: str
) -> None:
    scene.add_nodes(prepaid(), virtual_node("virtual-0"))
    add_policy(scene, PREPAID, {"resource": "eci"}, preemptPolicy="BeforeNextUnit")
    add_bound(scene, app(scene, "low"))
    scene.add(app(scene, "urgent", priorityClassName=high))
    assert wait_bound(scene, "urgent") == "prepaid-0"
    assert evicted(scene) == {"low"}


def test_after_all_units_it_goes_to_unit_2(scene: Scene, high: str) -> None:
    scene.add_nodes(prepaid(), virtual_node("virtual-0"))
    add_policy(scene, PREPAID, {"resource": "eci"}, preemptPolicy="AfterAllUnits")
    add_bound(scene, app(scene, "low"))
    scene.add(app(scene, "urgent", priorityClassName=high))
    assert wait_bound(scene, "urgent") == "virtual-0"
    assert evicted(scene) == set()


def test_after_all_units_it_evicts_once_all_are_exhausted(scene: Scene, high: str) -> None:
    scene.add_nodes(prepaid(), virtual_node("virtual-0"))
    add_policy(scene, PREPAID, {"resource": "eci", "max": 0})
    add_bound(scene, app(scene, "low"))
    scene.add(app(scene, "urgent", priorityClassName=high))
    assert wait_bound(scene, "urgent") == "prepaid-0"
    assert evicted(scene) == {"low"}


def test_before_next_unit_it_goes_on_when_nobody_is_of_lower_priority(
    scene: Scene, high: str
) -> None:
    scene.add_nodes(prepaid(), virtual_node("virtual-0"))
    add_policy(scene, PREPAID, {"resource": "eci"}, preemptPolicy="BeforeNextUnit")
    add_bound(scene, app(scene, "equal", priorityClassName=high))
    scene.add(app(scene, "urgent", priorityClassName=high))
    assert wait_bound(scene, "urgent") == "virtual-0"
    assert evicted(scene) == set()


def test_before_next_unit_it_goes_on_when_evicting_would_not_help(scene: Scene, high: str) -> None:
    """A pod of lower priority is there, but the urgent one is too large for the node."""
    scene.add_nodes(prepaid(), virtual_node("virtual-0"))
    add_policy(scene, PREPAID, {"resource": "eci"}, preemptPolicy="BeforeNextUnit")
    add_bound(scene, app(scene, "low"))
    scene.add(app(scene, "urgent", gpus=2, priorityClassName=high))
    assert wait_bound(scene, "urgent") == "virtual-0"
    assert evicted(scene) == set()


@pytest.mark.parametrize("when", ["BeforeNextUnit", "AfterAllUnits"])
def test_nobody_is_evicted_in_a_unit_at_its_max(scene: Scene, high: str, when: str) -> None:
    """The unit's one slot is taken by a pod of the same priority; its nodes are full of others."""
    scene.add_nodes(prepaid("prepaid-0"), prepaid("prepaid-1"))
    add_policy(scene, {**PREPAID, "max": 1}, preemptPolicy=when)
    add_bound(scene, app(scene, "first", priorityClassName=high))
    add_bound(scene, pod(scene.namespace, "other", "spillover-scheduler"))
    message = refuse(scene, app(scene, "urgent", priorityClassName=high))
    assert evicted(scene) == set()
    assert "Insufficient nvidia.com/gpu" in message


def test_a_slot_of_the_unit_itself_is_freed_by_evicting_its_holder(scene: Scene, high: str) -> None:
    scene.add_nodes(prepaid("prepaid-0"), prepaid("prepaid-1"))
    add_policy(scene, {**PREPAID, "max": 1})
    add_bound(scene, app(scene, "low"))
    add_bound(scene, pod(scene.namespace, "other", "spillover-scheduler"))
    scene.add(app(scene, "urgent", priorityClassName=high))
    wait_bound(scene, "urgent")
    assert evicted(scene) == {"low"}


@pytest.mark.parametrize("under_a_policy", [True, False])
def test_nobody_is_evicted_on_a_node_whose_taint_the_pod_does_not_tolerate(
    scene: Scene, high: str, *, under_a_policy: bool
) -> None:
    scene.add_nodes(prepaid(taints=[TAINT]))
    if under_a_policy:
        add_policy(scene, PREPAID, preemptPolicy="BeforeNextUnit")
    tolerations = [{"key": "team", "operator": "Exists"}]
    add_bound(scene, app(scene, "low", tolerations=tolerations))
    refuse(scene, app(scene, "urgent", priorityClassName=high))
    assert evicted(scene) == set()


def test_a_pod_that_never_preempts_does_not(scene: Scene, polite: str) -> None:
    scene.add_nodes(prepaid(), virtual_node("virtual-0"))
    add_policy(scene, PREPAID, {"resource": "eci"}, preemptPolicy="BeforeNextUnit")
    add_bound(scene, app(scene, "low"))
    scene.add(app(scene, "urgent", priorityClassName=polite))
    assert wait_bound(scene, "urgent") == "virtual-0"
    assert evicted(scene) == set()


def test_it_waits_for_the_evicted_pod_to_leave(scene: Scene, high: str) -> None:
    """The evicted pod takes its time; the other neither spills nor loses its place meanwhile."""
    scene.add_nodes(prepaid(), virtual_node("virtual-0"))
    add_policy(scene, PREPAID, {"resource": "eci"}, preemptPolicy="BeforeNextUnit")
    held = app(scene, "low")
    held["metadata"]["finalizers"] = ["spillover.dev/test"]
    add_bound(scene, held)
    scene.add(app(scene, "urgent", priorityClassName=high))
    scene.pods.wait_for(lambda _: "low" in evicted(scene), 60, "the eviction")
    add_bound(scene, app(scene, "later-1"), app(scene, "later-2"))
    scene.pods.wait_quiet(3.0, 60)
    places = {p["metadata"]["name"]: node_of(p) for p in scene.pods.objects.values()}
    assert places == {
        "low": "prepaid-0", "urgent": "", "later-1": "virtual-0", "later-2": "virtual-0"
    }  # fmt: skip
    scene.cluster.kubectl(
        "patch", "pod", "low", "-n", scene.namespace, "--type=json",
        "-p", '[{"op": "remove", "path": "/metadata/finalizers"}]',
    )  # fmt: skip
    assert wait_bound(scene, "urgent") == "prepaid-0"
