"""A policy is edited while its pods run: no pod is evicted, and pods stay with their units."""

from collections import Counter
from typing import Any

import pytest

from harness.scenes import ACK, deployment, node, pod, policy, virtual_node
from harness.stage import Scene, answered
from harness.watch import node_of, scheduling_message

Object = dict[str, Any]
PREPAID: Object = {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}}
ECI: Object = {"resource": "eci"}


def edited(scene: Scene, *units: Object) -> Object:
    return policy(ACK, scene.namespace, "app", selector={"app": "app"}, units=list(units))


def start(scene: Scene, replicas: int, *units: Object) -> list[Object]:
    scene.add_nodes(
        node("prepaid-0", gpus=9, labels={"pool": "prepaid"}), virtual_node("virtual-0"),
        node("postpaid-0", gpus=9, labels={"pool": "postpaid"}),
    )  # fmt: skip
    scene.add(edited(scene, *units))
    scene.add(deployment(scene.namespace, "app", "spillover-scheduler", replicas=replicas))
    return scene.pods.wait_for(answered(replicas), 60, "all answered")


def places(pods: list[Object]) -> dict[str, int]:
    return dict(Counter(node_of(each).partition("-")[0] for each in pods))


def more(scene: Scene, *names: str) -> dict[str, str]:
    """Adds pods one by one, and tells where each of them went."""
    for name in names:
        scene.add(pod(scene.namespace, name, "spillover-scheduler", labels={"app": "app"}))
        scene.pods.wait_for(
            lambda pods, name=name: any(  # type: ignore[misc]
                each["metadata"]["name"] == name and (node_of(each) or scheduling_message(each))
                for each in pods
            ),
            60,
            f"{name} answered",
        )
    return {
        each["metadata"]["name"]: node_of(each)
        for each in scene.pods.objects.values()
        if each["metadata"]["name"] in names
    }


def nobody_left(scene: Scene) -> bool:
    return not any(
        kind == "DELETED" or "deletionTimestamp" in seen["metadata"]
        for kind, seen in scene.pods.events
    )


def test_lowering_a_max_evicts_nobody_and_admits_nobody(scene: Scene) -> None:
    pods = start(scene, 3, {**PREPAID, "max": 3}, {**ECI, "max": 5})
    assert places(pods) == {"prepaid": 3}
    scene.cluster.apply(edited(scene, {**PREPAID, "max": 1}, {**ECI, "max": 5}))
    assert more(scene, "one") == {"one": "virtual-0"}
    scene.pods.wait_quiet(1.0, 30)
    assert nobody_left(scene)
    assert places(list(scene.pods.objects.values())) == {"prepaid": 3, "virtual": 1}
    # Two of three end: still at the lowered max.
    scene.scale("app", 1)
    scene.pods.wait_for(lambda left: len(left) == 2, 60, "two pods gone")
    assert more(scene, "two") == {"two": "virtual-0"}


def test_reordering_and_new_maxima_keep_pods_in_their_units(scene: Scene) -> None:
    start(scene, 3, {**PREPAID, "max": 2}, {**ECI, "max": 1})
    scene.cluster.apply(edited(scene, {**ECI, "max": 2}, {**PREPAID, "max": 3}))
    assert more(scene, "one", "two", "three") == {
        "one": "virtual-0", "two": "prepaid-0", "three": ""
    }  # fmt: skip


def test_pods_of_a_removed_unit_run_on_and_count_nowhere(scene: Scene) -> None:
    pods = start(scene, 2, {**PREPAID, "max": 2}, {**ECI, "max": 1})
    assert places(pods) == {"prepaid": 2}
    # Another unit with the same nodes: its identity is another, for its labels are.
    labelled = {**PREPAID, "max": 1, "podLabels": {"tier": "base"}}
    scene.cluster.apply(edited(scene, labelled, {**ECI, "max": 1}))
    assert more(scene, "one", "two", "three") == {
        "one": "prepaid-0", "two": "virtual-0", "three": ""
    }  # fmt: skip
    assert nobody_left(scene)


def test_an_added_unit_takes_a_waiting_pod(scene: Scene) -> None:
    pods = start(scene, 2, {**PREPAID, "max": 1})
    assert places(pods) == {"prepaid": 1, "": 1}
    scene.cluster.apply(edited(scene, {**PREPAID, "max": 1}, ECI))
    scene.pods.wait_for(
        lambda pods: places(pods) == {"prepaid": 1, "virtual": 1}, 40, "the waiting pod bound"
    )


def test_a_deleted_policy_sets_its_waiting_pods_free(scene: Scene) -> None:
    pods = start(scene, 2, {**PREPAID, "max": 1})
    assert places(pods) == {"prepaid": 1, "": 1}
    scene.cluster.kubectl("delete", f"resourcepolicy.{ACK}", "app", "-n", scene.namespace)
    scene.pods.wait_for(lambda pods: all(map(node_of, pods)), 40, "both bound")


@pytest.mark.parametrize("counted", [True, False])
def test_a_slot_is_free_when_its_pod_starts_to_terminate_or_when_it_is_gone(
    scene: Scene, *, counted: bool
) -> None:
    """ignoreTerminatingPod both ways, and the nudge of the pod that waits for the slot."""
    scene.add_nodes(virtual_node("virtual-0"))
    unit = {"resource": "eci", "max": 1}
    spec = {"selector": {"app": "app"}, "units": [unit], "ignoreTerminatingPod": not counted}
    scene.add(policy(ACK, scene.namespace, "app", **spec))
    held = pod(scene.namespace, "first", "spillover-scheduler", labels={"app": "app"})
    held["metadata"]["finalizers"] = ["spillover.dev/test"]
    scene.add(held)
    scene.pods.wait_for(lambda pods: any(map(node_of, pods)), 60, "the first bound")
    assert more(scene, "second") == {"second": ""}
    scene.cluster.kubectl("delete", "pod", "first", "-n", scene.namespace, "--wait=false")

    def bound(pods: list[Object]) -> bool:
        return any(each["metadata"]["name"] == "second" and node_of(each) for each in pods)

    if counted:
        scene.pods.wait_quiet(4.0, 30)
        assert not bound(list(scene.pods.objects.values()))
    else:
        scene.pods.wait_for(bound, 40, "the second bound while the first is terminating")
    scene.cluster.kubectl(
        "patch", "pod", "first", "-n", scene.namespace, "--type=json",
        "-p", '[{"op": "remove", "path": "/metadata/finalizers"}]',
    )  # fmt: skip
    scene.pods.wait_for(bound, 40, "the second bound")
