"""A crowd of waiting pods is no load, and no reason for others to wait."""

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from harness.containers import extender
from harness.metrics import total, wait_unchanged
from harness.scenes import ACK, node, pod, policy, virtual_node
from harness.stage import Scene, placed_or_waiting
from harness.watch import node_of

Object = dict[str, Any]

WAITING = 300
UPDATES_PER_SECOND = 10
CALLS_PER_POD_AND_MINUTE = 30
BOUND_SECONDS = 1.0


def is_bound(name: str, pods: list[Object]) -> bool:
    return any(pod["metadata"]["name"] == name and node_of(pod) for pod in pods)


@contextmanager
def status_updates(scene: Scene, name: str) -> Iterator[list[float]]:
    """Changes a pod's status ten times a second. Gives the times at which it did."""
    stop = threading.Event()
    times: list[float] = []

    def update() -> None:
        begun = time.monotonic()
        while not stop.wait(max(0.0, begun + len(times) / UPDATES_PER_SECOND - time.monotonic())):
            message = f'{{"status": {{"message": "{len(times)}"}}}}'
            scene.cluster.kubectl(
                "patch", "pod", name, "-n", scene.namespace, "--subresource=status", "-p", message
            )
            times.append(time.monotonic())

    thread = threading.Thread(target=update)
    thread.start()
    try:
        yield times
    finally:
        stop.set()
        thread.join()


@pytest.mark.timeout(600)
def test_300_waiting_pods_beside_a_busy_one(scene: Scene, slack: float, *, full: bool) -> None:
    seconds, newcomers = (60, 30) if full else (15, 7)
    decisions = "spillover_filter_decisions_total"
    it = extender(scene.cluster)
    scene.add_nodes(virtual_node("virtual-0", gpus=500), node("other", gpus=100))
    scene.add(
        policy(
            ACK, scene.namespace, "app", selector={"app": "app"},
            units=[{"resource": "eci", "max": 1}],
        ),
        policy(
            ACK, scene.namespace, "free", selector={"app": "free"}, units=[{"resource": "ecs"}]
        ),
    )  # fmt: skip
    ours = {"app": "app"}
    scene.add(pod(scene.namespace, "busy", "spillover-scheduler", labels=ours))
    scene.pods.wait_for(lambda pods: any(map(node_of, pods)), 60, "the busy one bound")
    crowd = [
        pod(scene.namespace, f"waiting-{n}", "spillover-scheduler", labels=ours)
        for n in range(WAITING)
    ]
    scene.add(*crowd)
    scene.pods.wait_for(placed_or_waiting(WAITING + 1), 120, "all others waiting")
    wait_unchanged(it, decisions, 4.0, 120)

    first_event = len(scene.pods.events)
    before, begun = total(it, decisions), time.monotonic()
    bound_after = []
    with status_updates(scene, "busy") as updates:
        for number in range(newcomers):
            name = f"new-{number}"
            created = time.monotonic()
            scene.add(pod(scene.namespace, name, "spillover-scheduler", labels={"app": "free"}))
            scene.pods.wait_for(partial(is_bound, name), 30, f"{name} bound")
            bound_after.append(time.monotonic() - created)
        while time.monotonic() - begun < seconds:
            time.sleep(0.1)
    minutes = (time.monotonic() - begun) / 60
    calls = total(it, decisions) - before
    written = [
        seen["metadata"]["name"]
        for _, seen in scene.pods.events[first_event:]
        if seen["metadata"]["name"].startswith("waiting-")
    ]
    rate = calls / WAITING / minutes
    median = statistics.median(bound_after)
    print(
        f"{len(updates) / minutes / 60:.1f} status updates/s, {rate:.1f} filter calls per waiting"
        f" pod and minute, {len(written)} writes to waiting pods, a new pod bound in"
        f" {median:.2f} s (median of {len(bound_after)}, {max(bound_after):.2f} at most)"
    )
    assert len(updates) / minutes / 60 > UPDATES_PER_SECOND * (0.95 if full else 0.5)
    assert rate < CALLS_PER_POD_AND_MINUTE
    assert written == []
    assert median < BOUND_SECONDS * slack
