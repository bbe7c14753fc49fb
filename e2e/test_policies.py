"""Which policy a pod is under, and what becomes of pods when units are exhausted."""

from collections import Counter
from typing import Any

import pytest

from harness.scenes import ACK, VKE, node, pod, policy
from harness.stage import Scene, answered
from harness.watch import node_of, scheduling_message

Object = dict[str, Any]


def test_the_older_of_two_policies_wins_across_dialects(scene: Scene) -> None:
    scene.add_nodes(node("old", labels={"pool": "old"}), node("young", labels={"pool": "young"}))
    scene.add(
        policy(
            VKE,
            scene.namespace,
            "z-older",
            selector={"app": "app"},
            strategy="require",
            subsets=[
                {
                    "name": "old",
                    "type": "ecs",
                    "nodeSelectorTerm": [{"key": "pool", "operator": "In", "values": ["old"]}],
                }
            ],
        )
    )
    # creationTimestamp has a resolution of a second.
    age = "jsonpath={.metadata.creationTimestamp}"
    kinds = (f"resourcepolicies.{VKE}/z-older", f"resourcepolicies.{ACK}/a-younger")
    older = scene.cluster.kubectl("get", kinds[0], "-n", scene.namespace, "-o", age)
    younger = older
    while younger == older:
        scene.cluster.kubectl("delete", kinds[1], "-n", scene.namespace, "--ignore-not-found")
        scene.add(
            policy(
                ACK,
                scene.namespace,
                "a-younger",
                selector={"app": "app"},
                units=[{"resource": "ecs", "nodeSelector": {"pool": "young"}}],
            )
        )
        younger = scene.cluster.kubectl("get", kinds[1], "-n", scene.namespace, "-o", age)
    scene.add(
        *(
            pod(scene.namespace, f"pod-{n}", "spillover-scheduler", labels={"app": "app"})
            for n in range(2)
        )
    )
    pods = scene.pods.wait_for(answered(2), 60, "both answered")
    assert Counter(map(node_of, pods)) == {"old": 1, "": 1}


@pytest.mark.parametrize(
    ("strategy", "places"),
    [
        ("require", {"inside": 1, "": 1}),
        ("prefer", {"inside": 1, "outside": 1}),
        (None, {"inside": 1, "outside": 1}),
    ],
)
def test_vke_strategy_says_what_follows_the_last_subset(
    scene: Scene, strategy: str | None, places: dict[str, int]
) -> None:
    scene.add_nodes(
        node("inside", gpus=5, labels={"pool": "a"}), node("outside", gpus=5, labels={"pool": "b"})
    )
    term = {"key": "pool", "operator": "In", "values": ["a"]}
    subset = {"name": "a", "type": "ecs", "maxReplicas": 1, "nodeSelectorTerm": [term]}
    spec: Object = {"selector": {"app": "app"}, "subsets": [subset]}
    if strategy:
        spec["strategy"] = strategy
    scene.add(policy(VKE, scene.namespace, "policy", **spec))
    scene.add(pod(scene.namespace, "one", "spillover-scheduler", labels={"app": "app"}))
    scene.pods.wait_for(answered(1), 60, "the first answered")
    scene.add(pod(scene.namespace, "two", "spillover-scheduler", labels={"app": "app"}))
    pods = scene.pods.wait_for(answered(2), 60, "both answered")
    assert Counter(map(node_of, pods)) == places
    for refused in (p for p in pods if not node_of(p)):
        message = scheduling_message(refused)
        assert "1 a is at its max of 1" in message
        assert "1 node(s) belong to no unit of ResourcePolicy policy" in message


def test_an_invalid_policy_places_nothing_and_says_why_and_others_work_on(scene: Scene) -> None:
    scene.add_nodes(node("node-0", gpus=5))
    scene.add_unchecked(
        policy(
            ACK,
            scene.namespace,
            "broken",
            selector={"app": "broken"},
            units=[{"resource": "ecs", "max": -1}, {"resource": "moon"}],
        )
    )
    scene.add(
        policy(ACK, scene.namespace, "fine", selector={"app": "fine"}, units=[{"resource": "ecs"}]),
    )
    scene.add(
        pod(scene.namespace, "held", "spillover-scheduler", labels={"app": "broken"}),
        pod(scene.namespace, "placed", "spillover-scheduler", labels={"app": "fine"}),
    )
    pods = scene.pods.wait_for(answered(2), 60, "both answered")
    assert {p["metadata"]["name"]: node_of(p) for p in pods} == {"held": "", "placed": "node-0"}
    (held,) = [p for p in pods if not node_of(p)]
    assert (
        "ResourcePolicy broken is invalid: spec.units[0].max: must not be negative, is -1"
        " (and 1 more)" in scheduling_message(held)
    )
