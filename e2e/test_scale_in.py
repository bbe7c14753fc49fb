"""Scale-in by the real ReplicaSet controller: the last unit's pods first, also after a policy was
edited, or came later than its pods."""

import json
import time
from collections import Counter
from functools import partial
from typing import Any

import pytest

from harness.scenes import ACK, VKE, deployment, node, policy, virtual_node
from harness.stage import Scene
from harness.watch import is_live, is_ready, node_of

Object = dict[str, Any]
COST = "controller.kubernetes.io/pod-deletion-cost"
MARK = "spillover.dev/deletion-cost"
FOLLOWS_SECONDS = 5.0

PREPAID: Object = {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}}
ECI: Object = {"resource": "eci"}
POSTPAID: Object = {"resource": "ecs", "nodeSelector": {"pool": "postpaid"}}


def nodes(prepaid: int = 8, virtual: int = 20, postpaid: int = 20) -> list[Object]:
    """With room for so many pods each."""
    return [
        node("prepaid-0", gpus=prepaid, labels={"pool": "prepaid"}),
        virtual_node("virtual-0", gpus=virtual),
        node("postpaid-0", gpus=postpaid, labels={"pool": "postpaid"}),
    ]


def ack(scene: Scene, *units: Object, **spec: object) -> Object:
    return policy(ACK, scene.namespace, "app", selector={"app": "app"}, units=list(units), **spec)


def three_units(scene: Scene, group: str) -> Object:
    if group == ACK:
        return ack(scene, PREPAID, {**ECI, "max": 6}, POSTPAID)
    terms = [
        [{"key": "pool", "operator": "In", "values": [pool]}] for pool in ("prepaid", "postpaid")
    ]
    subsets = [
        {"name": "first", "type": "ecs", "nodeSelectorTerm": terms[0]},
        {"name": "second", "type": "vci", "maxReplicas": 6},
        {"name": "third", "type": "ecs", "nodeSelectorTerm": terms[1]},
    ]
    return policy(VKE, scene.namespace, "app", selector={"app": "app"}, subsets=subsets)


def places(pods: list[Object]) -> dict[str, int]:
    """Live pods by the first part of their node's name."""
    return dict(Counter(node_of(each).partition("-")[0] for each in pods if is_live(each)))


def all_ready(count: int, pods: list[Object]) -> bool:
    return len(pods) == count and all(map(is_ready, pods))


def annotations(pod: Object) -> dict[str, str]:
    return dict(pod["metadata"].get("annotations", {}))


def costs(pods: list[Object]) -> dict[tuple[str, str], int]:
    """How many pods of which part have which cost."""
    return dict(
        Counter((node_of(each).partition("-")[0], annotations(each).get(COST, "")) for each in pods)
    )


def wait_for_costs(
    scene: Scene, wanted: dict[tuple[str, str], int], slack: float, what: str
) -> None:
    begun = time.monotonic()
    scene.pods.wait_for(
        lambda pods: costs(pods) == wanted,
        FOLLOWS_SECONDS * slack,
        f"costs {wanted}; they are {costs(list(scene.pods.objects.values()))}",
    )
    print(f"{what}: costs followed after {time.monotonic() - begun:.1f} s")


def start(scene: Scene, replicas: int, *objects: Object) -> None:
    scene.add(*objects)
    scene.add(deployment(scene.namespace, "app", "spillover-scheduler", replicas=replicas))
    scene.pods.wait_for(partial(all_ready, replicas), 60, f"{replicas} ready")


@pytest.mark.parametrize("group", [ACK, VKE])
def test_from_20_to_10_to_5_to_0(scene: Scene, group: str, *, full: bool) -> None:
    scene.add_nodes(*nodes())
    scene.add(three_units(scene, group))
    scene.add(deployment(scene.namespace, "app", "spillover-scheduler"))
    steps: list[tuple[int, dict[str, int]]] = [
        (20, {"prepaid": 8, "virtual": 6, "postpaid": 6}),
        (10, {"prepaid": 8, "virtual": 2}),
        (5, {"prepaid": 5}),
        (0, {}),
    ]
    runs = 10 if full else 1
    for _ in range(runs):
        for replicas, wanted in steps:
            scene.scale("app", replicas)
            pods = scene.pods.wait_for(partial(all_ready, replicas), 60, f"{replicas} ready")
            assert places(pods) == wanted
    print(f"{runs} of {runs} in reverse order")


def test_what_a_replica_set_ranks_before_the_cost(scene: Scene) -> None:
    """Pods that wait go first, then those that are not ready, whatever their cost."""
    scene.add_nodes(*nodes(prepaid=2, virtual=1, postpaid=1))
    scene.add(ack(scene, PREPAID, ECI, POSTPAID))
    scene.add(deployment(scene.namespace, "app", "spillover-scheduler", replicas=5))
    scene.pods.wait_for(
        lambda pods: sum(map(is_ready, pods)) == 4 and len(pods) == 5, 60, "4 ready, 1 waits"
    )
    first = next(
        each["metadata"]["name"]
        for each in scene.pods.objects.values()
        if node_of(each) == "prepaid-0"
    )
    condition = {"type": "Ready", "status": "False", "reason": "ContainersNotReady"}
    scene.cluster.kubectl(
        "patch", "pod", first, "-n", scene.namespace, "--subresource=status",
        "-p", json.dumps({"status": {"conditions": [condition]}}),
    )  # fmt: skip
    scene.scale("app", 4)
    pods = scene.pods.wait_for(lambda pods: len(pods) == 4, 60, "the waiting one gone")
    assert all(map(node_of, pods))
    scene.scale("app", 3)
    pods = scene.pods.wait_for(lambda pods: len(pods) == 3, 60, "the one that is not ready gone")
    assert places(pods) == {"prepaid": 1, "virtual": 1, "postpaid": 1}
    scene.scale("app", 2)
    pods = scene.pods.wait_for(lambda pods: len(pods) == 2, 60, "the last unit's gone")
    assert places(pods) == {"prepaid": 1, "virtual": 1}


def test_costs_follow_a_swap_of_two_units(scene: Scene, slack: float, *, full: bool) -> None:
    scene.add_nodes(*nodes(prepaid=4))
    start(scene, 8, ack(scene, PREPAID, ECI))
    first = {("prepaid", "200"): 4, ("virtual", "100"): 4}
    swapped = {("prepaid", "100"): 4, ("virtual", "200"): 4}
    assert costs(list(scene.pods.objects.values())) == first
    for _ in range(10 if full else 1):
        scene.cluster.apply(ack(scene, ECI, PREPAID))
        wait_for_costs(scene, swapped, slack, what="swap")
        scene.cluster.apply(ack(scene, PREPAID, ECI))
        wait_for_costs(scene, first, slack, what="swap back")
    scene.cluster.apply(ack(scene, ECI, PREPAID))
    wait_for_costs(scene, swapped, slack, what="swap")
    scene.scale("app", 4)
    pods = scene.pods.wait_for(partial(all_ready, 4), 60, "4 left")
    assert places(pods) == {"virtual": 4}


def test_pods_that_were_there_before_the_policy(scene: Scene, slack: float) -> None:
    """Four in a unit that the policy limits to two: scale-in ends where a fresh start would."""
    scene.add_nodes(*nodes())
    scene.add(deployment(scene.namespace, "app", "default-scheduler", replicas=4))
    scene.pods.wait_for(partial(all_ready, 4), 60, "4 ready")
    scene.add(ack(scene, {"resource": "ecs", "max": 2}, ECI))
    scene.pods.wait_for(
        lambda pods: Counter(annotations(each).get(COST) for each in pods) == {"200": 2, "-100": 2},
        FOLLOWS_SECONDS * slack,
        "two of four at -100",
    )
    by_age = sorted(scene.pods.objects.values(), key=lambda each: (
        each["metadata"]["creationTimestamp"], each["metadata"]["name"]))  # fmt: skip
    assert [annotations(each)[COST] for each in by_age] == ["200", "200", "-100", "-100"]
    scene.scale("app", 6)
    pods = scene.pods.wait_for(partial(all_ready, 6), 60, "6 ready")
    assert on_virtual(pods) == (4, 2)
    scene.scale("app", 3)
    pods = scene.pods.wait_for(partial(all_ready, 3), 60, "3 left")
    assert on_virtual(pods) == (2, 1)


def on_virtual(pods: list[Object]) -> tuple[int, int]:
    """Pods elsewhere, and on the virtual node."""
    count = sum(node_of(each).startswith("virtual") for each in pods)
    return len(pods) - count, count


def test_a_lowered_max_a_removed_unit_and_a_deleted_policy(scene: Scene, slack: float) -> None:
    scene.add_nodes(*nodes(prepaid=3))
    start(scene, 6, ack(scene, PREPAID, {**ECI, "max": 3}))
    scene.cluster.apply(ack(scene, PREPAID, {**ECI, "max": 1}))
    lowered = {("prepaid", "200"): 3, ("virtual", "100"): 1, ("virtual", "-100"): 2}
    wait_for_costs(scene, lowered, slack, what="lowered max")
    scene.cluster.apply(ack(scene, {**ECI, "max": 1}))
    removed = {("prepaid", "-100"): 3, ("virtual", "100"): 1, ("virtual", "-100"): 2}
    wait_for_costs(scene, removed, slack, what="removed unit")
    scene.cluster.kubectl("delete", f"resourcepolicy.{ACK}", "app", "-n", scene.namespace)
    wait_for_costs(scene, {("prepaid", ""): 3, ("virtual", ""): 3}, slack, what="no policy")
    assert not any(MARK in annotations(each) for each in scene.pods.objects.values())


def test_a_cost_of_ones_own_is_never_touched(scene: Scene, slack: float) -> None:
    scene.add_nodes(*nodes(prepaid=2))
    start(scene, 2, ack(scene, PREPAID, ECI))
    own = min(each["metadata"]["name"] for each in scene.pods.objects.values())
    scene.cluster.kubectl("annotate", "pod", own, "-n", scene.namespace, f"{COST}=7", "--overwrite")
    scene.cluster.apply(ack(scene, ECI, PREPAID))
    wait_for_costs(scene, {("prepaid", "7"): 1, ("prepaid", "100"): 1}, slack, what="own cost")
    scene.cluster.kubectl(
        "wait", f"resourcepolicy.{ACK}", "app", "-n", scene.namespace,
        "--for=condition=OwnDeletionCost", "--timeout=30s",
    )  # fmt: skip
    (found,) = scene.cluster.items(f"resourcepolicies.{ACK}", "-n", scene.namespace)
    (said,) = (c for c in found["status"]["conditions"] if c["type"] == "OwnDeletionCost")
    assert own in said["message"]
    scene.cluster.kubectl("delete", f"resourcepolicy.{ACK}", "app", "-n", scene.namespace)
    wait_for_costs(scene, {("prepaid", "7"): 1, ("prepaid", ""): 1}, slack, what="no policy")
