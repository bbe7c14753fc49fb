"""The maximum of a unit holds at every event of the API server's own watch."""

from typing import Any

from harness.scenes import ACK, deployment, pod, three_tiers, virtual_node
from harness.stage import Scene, answered, placed_or_waiting
from harness.watch import is_live, node_of

Object = dict[str, Any]


def highest_fill(listed: list[tuple[str, Object]], node: str) -> int:
    """Most live pods on a node after any event."""
    there: set[str] = set()
    highest = 0
    for kind, seen in listed:
        uid = seen["metadata"]["uid"]
        if kind != "DELETED" and node_of(seen) == node and is_live(seen):
            there.add(uid)
        else:
            there.discard(uid)
        highest = max(highest, len(there))
    return highest


def on(pods: list[Object], node: str) -> list[Object]:
    return [pod for pod in pods if node_of(pod) == node and is_live(pod)]


def test_200_pods_at_once_never_exceed_a_maximum_of_50(scene: Scene) -> None:
    scene.add_nodes(virtual_node("virtual-0", gpus=500))
    scene.add(three_tiers(ACK, scene.namespace, "app", virtual_max=50))
    scene.add(deployment(scene.namespace, "app", "spillover-scheduler", replicas=200))
    scene.pods.wait_for(placed_or_waiting(200), 120, "each of 200 pods placed or waiting")
    scene.pods.wait_quiet(2.0, 60)
    assert len(on(list(scene.pods.objects.values()), "virtual-0")) == 50
    assert highest_fill(scene.pods.events, "virtual-0") == 50


def test_pods_that_others_bound_count(scene: Scene) -> None:
    scene.add_nodes(virtual_node("virtual-0"))
    scene.add(three_tiers(ACK, scene.namespace, "app", virtual_max=2))
    by_hand = pod(
        scene.namespace,
        "by-hand",
        "nobody",
        labels={"app": "app", "alibabacloud.com/eci": "true"},
        annotations={"k8s.aliyun.com/eci-use-specs": "ecs.gn7i-c8g1.2xlarge"},
        nodeName="virtual-0",
    )
    scene.add(by_hand)
    scene.pods.wait_for(lambda pods: len(on(pods, "virtual-0")) == 1, 30, "the first one running")
    scene.add(deployment(scene.namespace, "app", "spillover-scheduler", replicas=2))
    pods = scene.pods.wait_for(answered(3), 60, "one bound, one refused")
    assert len(on(pods, "virtual-0")) == 2
    assert highest_fill(scene.pods.events, "virtual-0") == 2


def test_a_freed_slot_is_used_once(scene: Scene) -> None:
    scene.add_nodes(virtual_node("virtual-0"))
    scene.add(three_tiers(ACK, scene.namespace, "app", virtual_max=1))
    scene.add(deployment(scene.namespace, "app", "spillover-scheduler", replicas=2))
    pods = scene.pods.wait_for(answered(2), 60, "one placed, one refused")
    (first,) = on(pods, "virtual-0")
    scene.cluster.kubectl("delete", "pod", first["metadata"]["name"], "-n", scene.namespace)
    name = first["metadata"]["name"]
    scene.pods.wait_for(
        lambda seen: any(each["metadata"]["name"] != name for each in on(seen, "virtual-0")),
        60,
        "the slot used again",
    )
    assert highest_fill(scene.pods.events, "virtual-0") == 1
