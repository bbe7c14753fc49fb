"""No autoscaler buys a node for a pod that only a maximum holds back."""

from typing import Any

from harness.scenes import ACK, deployment, node, policy, virtual_node
from harness.stage import Scene, answered
from harness.watch import node_of

Object = dict[str, Any]
DELAY = "cluster-autoscaler.kubernetes.io/pod-scale-up-delay"


def limited(scene: Scene, ecs: int, eci: int) -> Object:
    units = [{"resource": "ecs", "max": ecs}, {"resource": "eci", "max": eci}]
    return policy(ACK, scene.namespace, "app", selector={"app": "app"}, units=units)


def delayed(pods: list[Object]) -> set[str]:
    return {
        each["metadata"]["name"]
        for each in pods
        if DELAY in each["metadata"].get("annotations", {})
    }


def waiting(pods: list[Object]) -> set[str]:
    return {each["metadata"]["name"] for each in pods if not node_of(each)}


def writes(scene: Scene) -> dict[str, list[str]]:
    """The values that the annotation had, one after the other, by pod; "" for none."""
    found: dict[str, list[str]] = {}
    for _, seen in scene.pods.events:
        value = seen["metadata"].get("annotations", {}).get(DELAY, "")
        values = found.setdefault(seen["metadata"]["name"], [""])
        if values[-1] != value:
            values.append(value)
    return found


def test_pods_that_a_max_holds_back_until_a_slot_frees(scene: Scene) -> None:
    scene.add_nodes(node("real-0", gpus=9), virtual_node("virtual-0"))
    scene.add(limited(scene, 1, 1))
    scene.add(deployment(scene.namespace, "app", "spillover-scheduler", replicas=5))
    pods = scene.pods.wait_for(
        lambda pods: len(delayed(pods)) == 3 and answered(5)(pods), 60, "3 held back"
    )
    assert delayed(pods) == waiting(pods)
    # One more slot: one pod is bound, two still wait, and nobody is written twice.
    scene.cluster.apply(limited(scene, 1, 2))
    scene.pods.wait_for(
        lambda pods: len(waiting(pods)) == 2 and delayed(pods) == waiting(pods), 40, "2 held back"
    )
    # More slots, and no node that has room: now a node would help.
    scene.cluster.kubectl("cordon", "real-0")
    scene.cluster.apply(limited(scene, 3, 2))
    scene.pods.wait_for(lambda pods: not delayed(pods), 40, "nobody held back")
    scene.pods.wait_quiet(1.5, 30)
    assert len(waiting(list(scene.pods.objects.values()))) == 2
    assert all(len(values) <= 3 for values in writes(scene).values()), writes(scene)


def test_a_delay_of_ones_own_stays(scene: Scene) -> None:
    scene.add_nodes(virtual_node("virtual-0"))
    scene.add(limited(scene, 0, 0))
    mine = deployment(scene.namespace, "app", "spillover-scheduler", replicas=1)
    mine["spec"]["template"]["metadata"]["annotations"] = {DELAY: "10m"}
    scene.add(mine)
    scene.pods.wait_for(answered(1), 60, "refused")
    scene.cluster.apply(limited(scene, 0, 1))
    (pod,) = scene.pods.wait_for(lambda pods: not waiting(pods), 60, "bound")
    assert pod["metadata"]["annotations"][DELAY] == "10m"
    assert writes(scene)[pod["metadata"]["name"]] == ["", "10m"]


def test_a_pod_for_which_a_node_would_help_is_not_held_back(scene: Scene) -> None:
    scene.add_nodes(node("real-0", gpus=0), virtual_node("virtual-0"))
    scene.add(limited(scene, 5, 1))
    scene.add(deployment(scene.namespace, "app", "spillover-scheduler", replicas=2))
    pods = scene.pods.wait_for(answered(2), 60, "one bound, one refused")
    scene.pods.wait_quiet(1.5, 30)
    assert len(waiting(pods)) == 1
    assert not delayed(list(scene.pods.objects.values()))
