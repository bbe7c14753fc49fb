"""Pods fill units in order and leave them in reverse, on the real kube-scheduler."""

from collections import Counter
from functools import partial
from typing import Any

import pytest

from harness.scenes import ACK, VKE, deployment, three_tier_nodes, three_tiers
from harness.stage import Scene
from harness.watch import is_live, is_ready, node_of, scheduling_message

Object = dict[str, Any]


def tiers(pods: list[Object]) -> dict[str, int]:
    """Live pods by the first part of their node's name; "" for those that wait."""
    return dict(Counter(node_of(pod).partition("-")[0] for pod in pods if is_live(pod)))


def ready(count: int, pods: list[Object]) -> bool:
    return settled(pods, count, count)


def settled(pods: list[Object], replicas: int, places: int) -> bool:
    ready = [pod for pod in pods if is_ready(pod)]
    said = [pod for pod in pods if not node_of(pod) and scheduling_message(pod)]
    return len(pods) == replicas and len(ready) == places and len(said) == replicas - places


@pytest.mark.parametrize("scheduler", ["spillover-scheduler", "ack-co-scheduler"])
@pytest.mark.parametrize("group", [ACK, VKE])
def test_units_fill_in_order_and_empty_in_reverse(
    scene: Scene, group: str, scheduler: str, *, full: bool
) -> None:
    scene.add_nodes(*three_tier_nodes())
    scene.add(three_tiers(group, scene.namespace, "app"))
    scene.add(deployment(scene.namespace, "app", scheduler))
    for _ in range(10 if full else 1):
        for replicas, filled in (
            (3, {"prepaid": 2, "virtual": 1}),
            (6, {"prepaid": 2, "virtual": 2, "postpaid": 2}),
        ):
            scene.scale("app", replicas)
            pods = scene.pods.wait_for(partial(ready, replicas), 60, f"{replicas} ready")
            assert tiers(pods) == filled

        scene.scale("app", 8)
        pods = scene.pods.wait_for(lambda pods: settled(pods, 8, 6), 60, "6 ready and 2 waiting")
        assert tiers(pods) == {"prepaid": 2, "virtual": 2, "postpaid": 2, "": 2}
        for message in (scheduling_message(pod) for pod in pods if not node_of(pod)):
            assert "1 eci is at its max of 2" in message
            assert "4 Insufficient nvidia.com/gpu" in message

        scene.scale("app", 3)
        pods = scene.pods.wait_for(partial(ready, 3), 60, "3 left")
        assert tiers(pods) == {"prepaid": 2, "virtual": 1}

        scene.scale("app", 0)
        scene.pods.wait_for(lambda pods: not pods, 60, "none left")
