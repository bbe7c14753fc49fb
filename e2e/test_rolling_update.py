"""A rolling update ends where a fresh start would, when pods are counted per template."""

import json
from collections import Counter
from typing import Any

import pytest

from harness.scenes import ACK, deployment, node, policy, virtual_node
from harness.stage import Scene
from harness.watch import is_ready, node_of

Object = dict[str, Any]
REPLICAS = 6
FRESH = {"prepaid": 2, "virtual": 2, "postpaid": 2}


def places(pods: list[Object]) -> dict[str, int]:
    return dict(Counter(node_of(pod).partition("-")[0] for pod in pods))


def settled(pods: list[Object], template: str) -> bool:
    """Only pods of this template are left, and all are ready."""
    return (
        len(pods) == REPLICAS
        and all(pod["metadata"]["annotations"].get("template") == template for pod in pods)
        and all(map(is_ready, pods))
    )


def roll(scene: Scene, template: str) -> list[Object]:
    patch = json.dumps(
        {"spec": {"template": {"metadata": {"annotations": {"template": template}}}}}
    )
    scene.cluster.kubectl("patch", "deployment", "app", "-n", scene.namespace, "-p", patch)
    return scene.pods.wait_for(lambda pods: settled(pods, template), 120, "the update complete")


def start(scene: Scene, **spec: object) -> None:
    scene.add_nodes(
        node("prepaid-0", gpus=9, labels={"pool": "prepaid"}),
        virtual_node("virtual-0"),
        node("postpaid-0", gpus=9, labels={"pool": "postpaid"}),
    )
    scene.add(
        policy(
            ACK, scene.namespace, "app",
            selector={"app": "app"},
            units=[
                {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}, "max": 2},
                {"resource": "eci", "max": 2},
                {"resource": "ecs", "nodeSelector": {"pool": "postpaid"}},
            ],
            **spec,
        )
    )  # fmt: skip
    app = deployment(scene.namespace, "app", "spillover-scheduler", replicas=REPLICAS)
    app["spec"]["strategy"] = {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0},
    }
    scene.add(app)
    pods = scene.pods.wait_for(
        lambda pods: len(pods) == REPLICAS and all(map(is_ready, pods)), 60, "all ready"
    )
    assert places(pods) == FRESH


@pytest.mark.parametrize("ignored", [True, False])
def test_counted_per_template_it_ends_as_a_fresh_start(
    scene: Scene, *, full: bool, ignored: bool
) -> None:
    """Terminating pods are of the old template: whether they count makes no difference."""
    start(scene, matchLabelKeys=["pod-template-hash"], ignoreTerminatingPod=ignored)
    for turn in range(10 if full else 2):
        assert places(roll(scene, f"turn-{turn}")) == FRESH


def test_without_it_the_surge_spills(scene: Scene) -> None:
    """What matchLabelKeys is for: the first pods of the new template find the units full."""
    start(scene)
    assert places(roll(scene, "next")) != FRESH
