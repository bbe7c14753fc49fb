"""TimeoutOrExceedMax: a pod waits for a node of its unit for a time, and then goes on."""

import time

import pytest

from harness.containers import extender
from harness.metrics import total
from harness.scenes import ACK, node, pod, policy, virtual_node
from harness.stage import Scene
from harness.watch import node_of, scheduling_message

WAITING = "spillover.dev/waiting"


class Wait:
    """One pod whose first unit has room and no node, in a cluster where nothing else happens."""

    def __init__(self, scene: Scene, seconds: int) -> None:
        self.scene = scene
        self.seconds = seconds
        scene.add_nodes(virtual_node("virtual-0"))
        units = [
            {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}, "max": 5},
            {"resource": "eci"},
        ]
        when = {"policy": "TimeoutOrExceedMax", "timeout": f"{seconds}s"}
        scene.add(
            policy(
                ACK, scene.namespace, "app",
                selector={"app": "app"}, units=units, whenTryNextUnits=when,
            )
        )  # fmt: skip
        self.begun = time.monotonic()
        scene.add(pod(scene.namespace, "one", "spillover-scheduler", labels={"app": "app"}))

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.begun

    def until(self, second: float) -> None:
        while self.elapsed < second:
            self.assert_pending()
            time.sleep(0.05)

    def assert_pending(self) -> None:
        assert not any(node_of(seen) for _, seen in self.scene.pods.events)

    def marked(self) -> None:
        """Waits until the pod's wait is written down."""
        self.scene.pods.wait_for(
            lambda pods: any(WAITING in p["metadata"].get("annotations", {}) for p in pods),
            10,
            "the wait written down",
        )

    def bound(self, seconds: float) -> str:
        (found,) = self.scene.pods.wait_for(
            lambda pods: any(map(node_of, pods)), max(0.1, seconds - self.elapsed), "the pod bound"
        )
        print(f"bound to {node_of(found)} after {self.elapsed:.1f} s")
        return node_of(found)


@pytest.mark.parametrize("restarted", [False, True], ids=["", "with a restart"])
def test_it_waits_and_then_spills(
    scene: Scene, slack: float, *, full: bool, restarted: bool
) -> None:
    seconds = 20 if full else 8
    wait = Wait(scene, seconds)
    wait.marked()
    if restarted:
        extender(scene.cluster).restart()
    wait.until(seconds - 1)
    latest = seconds + 5 * slack
    assert wait.bound(latest) == "virtual-0"
    messages = {scheduling_message(seen) for _, seen in scene.pods.events} - {""}
    ours = {message for message in messages if "1 waits for ecs until 20" in message}
    assert len(ours) == 1, "a message that changes is a retry each time"
    # While the extender is away the scheduler says that it cannot be reached.
    assert restarted or messages == ours


def test_a_node_that_appears_meanwhile_gets_the_pod(
    scene: Scene, slack: float, *, full: bool
) -> None:
    seconds = 20 if full else 8
    wait = Wait(scene, seconds)
    wait.until(seconds / 2)
    scene.add_nodes(node("prepaid-0", labels={"pool": "prepaid"}))
    assert wait.bound(seconds * slack) == "prepaid-0"


def test_a_wait_is_written_once(scene: Scene, slack: float) -> None:
    wait = Wait(scene, 4)
    it = extender(scene.cluster)
    before = total(it, "spillover_wait_marks_total")
    assert wait.bound(4 + 5 * slack) == "virtual-0"
    assert total(it, "spillover_wait_marks_total") - before == 1
