"""A maximum is raised while pods wait for it."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness.cluster import Cluster, Options, running
from harness.containers import Container, extender
from harness.metrics import total, wait_unchanged
from harness.scenes import ACK, deployment, policy, virtual_node
from harness.stage import Scene, answered, placed_or_waiting
from harness.watch import Watch, node_of

Object = dict[str, Any]
CALLS = "spillover_filter_decisions_total"
NUDGES = ("spillover.dev/nudge", "schedulingGates")  # what a patch of a nudge names


def limited(namespace: str, limit: int) -> Object:
    return policy(
        ACK, namespace, "app", selector={"app": "app"}, units=[{"resource": "eci", "max": limit}]
    )


def bound(pods: list[Object]) -> int:
    return sum(map(bool, map(node_of, pods)))


def test_from_2_to_4_with_two_pods_waiting(scene: Scene, slack: float) -> None:
    scene.add_nodes(virtual_node("virtual-0"))
    scene.add(limited(scene.namespace, 2))
    scene.add(deployment(scene.namespace, "app", "spillover-scheduler", replicas=4))
    pods = scene.pods.wait_for(answered(4), 60, "all answered")
    assert bound(pods) == 2
    begun = time.monotonic()
    scene.cluster.apply(limited(scene.namespace, 4))
    scene.pods.wait_for(lambda pods: bound(pods) == 4, 8 * slack, "all bound")
    print(f"both bound after {time.monotonic() - begun:.1f} s")


@pytest.fixture
def audited(cluster_name: str) -> Iterator[Cluster]:
    with running(Cluster(f"{cluster_name}-audited"), Options(audit=True)) as cluster:
        yield cluster


@pytest.mark.timeout(900)
def test_a_raise_by_10_nudges_hardly_more_than_10_of_many(
    audited: Cluster, slack: float, *, full: bool
) -> None:
    waiting = 2000 if full else 300
    audited.add_nodes(virtual_node("virtual-0", gpus=5000))
    audited.create(limited("default", 5))
    it = extender(audited)
    with Watch(audited, "/api/v1/namespaces/default/pods") as pods:
        audited.create(deployment("default", "app", "spillover-scheduler", replicas=waiting + 5))
        pods.wait_for(placed_or_waiting(waiting + 5), 300, "all placed or waiting")
        wait_unchanged(it, CALLS, quiet=5.0, seconds=120)
        calls_before = calls_per_second(it, 10.0)
        nudges_before = len(nudges(audited))

        begun = time.monotonic()
        audited.apply(limited("default", 15))
        pods.wait_for(lambda seen: bound(seen) == 15, 10 * slack, "10 more pods bound")
        print(f"10 of {waiting} bound after {time.monotonic() - begun:.1f} s")
        wait_until(begun + 30)
        calls_after = calls_per_second(it, 10.0)
        written = len(nudges(audited)) - nudges_before
        print(
            f"{written} nudges; {calls_before:.2f} filter calls/s before, {calls_after:.2f} after"
        )
        assert bound(list(pods.objects.values())) == 15
        assert written <= 12
        assert calls_after <= calls_before


def nudges(cluster: Cluster) -> list[Object]:
    return [
        event
        for event in cluster.audited()
        if event["verb"] == "patch"
        and any(name in json.dumps(event.get("requestObject", {})) for name in NUDGES)
    ]


def calls_per_second(it: Container, seconds: float) -> float:
    before, begun = total(it, CALLS), time.monotonic()
    wait_until(begun + seconds)
    return (total(it, CALLS) - before) / (time.monotonic() - begun)


def wait_until(moment: float) -> None:
    """Of the clock: a rate is measured over a time."""
    while (left := moment - time.monotonic()) > 0:
        time.sleep(min(left, 0.5))
