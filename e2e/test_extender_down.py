"""Without the extender no pod is placed, and none is lost."""

import time

import pytest

from harness.containers import extender
from harness.scenes import ACK, deployment, policy, virtual_node
from harness.stage import Scene
from harness.watch import node_of

PODS = 100
BACK_SECONDS = 20.0


@pytest.mark.timeout(600)
def test_pods_created_while_the_extender_is_down_are_placed_when_it_is_back(
    scene: Scene, slack: float, *, full: bool
) -> None:
    down_seconds = 60 if full else 10
    scene.add_nodes(virtual_node("virtual-0", gpus=500))
    scene.add(
        policy(
            ACK, scene.namespace, "app", selector={"app": "app"},
            units=[{"resource": "eci", "max": PODS}],
        )
    )  # fmt: skip
    it = extender(scene.cluster)
    with it.held_down():
        begun = time.monotonic()
        scene.add(deployment(scene.namespace, "app", "spillover-scheduler", replicas=PODS))
        scene.pods.wait_for(lambda pods: len(pods) == PODS, 60, f"{PODS} pods created")
        while time.monotonic() - begun < down_seconds:
            assert not any(map(node_of, list(scene.pods.objects.values())))
            time.sleep(0.2)
        back = time.monotonic()
    scene.pods.wait_for(
        lambda pods: len(pods) == PODS and all(map(node_of, pods)),
        BACK_SECONDS * slack,
        f"{PODS} pods placed",
    )
    print(
        f"{PODS} pods placed {time.monotonic() - back:.1f} s after the extender was started again"
    )
