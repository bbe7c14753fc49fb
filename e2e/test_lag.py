"""The extender's view is older than the scheduler's, and still no pod hangs.

Both hear of a change at about the same time. The scheduler retries its waiting pods at once, while
the extender decides by what it knew before; then nothing else makes the scheduler try again for
five minutes. Here the extender's watches are late by 50 ms, so that this happens nearly always.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.cluster import Cluster
from harness.containers import extender
from harness.metrics import wait_unchanged
from harness.proxy import Answer, Fate, Lag, Proxy, Request, Treatment, running
from harness.scenes import ACK, node, pod, policy, virtual_node
from harness.stage import Scene
from harness.watch import is_live, node_of, scheduling_message

Object = dict[str, Any]

REFILLED_SECONDS = 8.0
TAINT = {"key": "team", "value": "other", "effect": "NoSchedule"}


def late(request: Request) -> Treatment:
    return Lag(0.05) if request.is_watch else Fate.PASS


def late_and_without_nudges(request: Request) -> Treatment:
    if request.method == "PATCH" and b"spillover.dev/nudge" in request.body:
        return Answer(200, "{}")
    return late(request)


@pytest.fixture(scope="module")
def lagging(cluster: Cluster) -> Iterator[Proxy]:
    """All requests of the extender go through it."""
    proxy = Proxy(late)
    with running(proxy, cluster.kubeconfig), extender(cluster).led_through(proxy.url):
        yield proxy
    assert any(request.is_watch for _, request in proxy.requests)


class Change:
    """One way in which slots become free, one at a time."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def prepare(self, rounds: int) -> None:
        """A policy and nodes, so that all pods wait but those that `first` names."""
        raise NotImplementedError

    def free_a_slot(self, turn: int) -> None:
        raise NotImplementedError

    first = 0
    """How many pods are placed before the first round."""

    def add_policy(self, *units: Object) -> None:
        self.scene.add(
            policy(ACK, self.scene.namespace, "app", selector={"app": "app"}, units=list(units))
        )


class PodDeleted(Change):
    first = 1

    def prepare(self, rounds: int) -> None:  # noqa: ARG002 - a slot is the same in each
        # A pod that only a maximum holds back would be tried again by the removal of its scale-up
        # delay as well: here a node, which never comes, would help too.
        never = {"resource": "ecs", "nodeSelector": {"pool": "none"}}
        self.add_policy({"resource": "eci", "max": 1}, never)
        self.scene.add_nodes(virtual_node("virtual-0"))

    def free_a_slot(self, turn: int) -> None:  # noqa: ARG002 - likewise
        self.scene.cluster.kubectl(
            "delete", "pod", self.there(), "-n", self.scene.namespace, "--force"
        )

    def there(self) -> str:
        """The name of the pod that has the slot."""
        (pod,) = placed(list(self.scene.pods.objects.values()))
        return str(pod["metadata"]["name"])


class PodFinished(PodDeleted):
    def free_a_slot(self, turn: int) -> None:  # noqa: ARG002 - likewise
        self.scene.cluster.kubectl(
            "patch", "pod", self.there(), "-n", self.scene.namespace, "--subresource=status",
            "-p", '{"status": {"phase": "Succeeded"}}',
        )  # fmt: skip


class NodeAdded(Change):
    def prepare(self, rounds: int) -> None:  # noqa: ARG002 - nodes come in the rounds
        self.add_policy({"resource": "ecs"})

    def free_a_slot(self, turn: int) -> None:
        self.scene.add_nodes(node(f"node-{turn}"))


class TaintRemoved(Change):
    def prepare(self, rounds: int) -> None:
        self.add_policy({"resource": "ecs"})
        self.scene.add_nodes(*(node(f"node-{n}", taints=[TAINT]) for n in range(rounds)))

    def free_a_slot(self, turn: int) -> None:
        self.scene.cluster.kubectl("taint", "node", f"node-{turn}", "team-")


class NodeRelabelled(Change):
    def prepare(self, rounds: int) -> None:
        self.add_policy({"resource": "ecs", "nodeSelector": {"pool": "ours"}})
        self.scene.add_nodes(*(node(f"node-{n}", labels={"pool": "off"}) for n in range(rounds)))

    def free_a_slot(self, turn: int) -> None:
        self.scene.cluster.kubectl("label", "node", f"node-{turn}", "pool=ours", "--overwrite")


ONE_EVENT = [PodFinished, TaintRemoved, NodeRelabelled]
SEVERAL_EVENTS = [PodDeleted, NodeAdded]
"""A deletion is two events, a node that becomes ready is many: the last one makes the scheduler try
again after its backoff of up to 3 s, also without a nudge."""


def placed(pods: list[Object]) -> list[Object]:
    return [each for each in pods if node_of(each) and is_live(each)]


def stage(scene: Scene, kind: Callable[[Scene], Change], rounds: int) -> Change:
    change = kind(scene)
    change.prepare(rounds)
    pods = [
        pod(scene.namespace, f"pod-{n}", "spillover-scheduler", labels={"app": "app"})
        for n in range(rounds + change.first)
    ]
    scene.add(*pods)
    scene.pods.wait_for(
        lambda seen: (
            len(seen) == len(pods)
            and len(placed(seen)) == change.first
            and all(node_of(each) or scheduling_message(each) for each in seen)
        ),
        60,
        f"{change.first} pods placed and {rounds} waiting",
    )
    return change


def ever_placed(scene: Scene) -> int:
    """Pods that have been on a node, also those that are gone."""
    bound = {seen["metadata"]["uid"] for _, seen in scene.pods.events if node_of(seen)}
    return len(bound)


def seconds_to_refill(scene: Scene, change: Change, turn: int, limit: float) -> float | None:
    """From the change to the next pod on a node. None: not within the limit.

    Before, no pod may be in the scheduler's backoff of 3 s: it would be tried after that, when the
    extender has caught up, and not at once.
    """
    wait_unchanged(extender(scene.cluster), "spillover_filter_decisions_total", 3.5, 60)
    change.free_a_slot(turn)
    begun = time.monotonic()
    try:
        scene.pods.wait_for(
            lambda _: ever_placed(scene) == change.first + turn + 1, limit, "one more placed"
        )
    except TimeoutError:
        return None
    return time.monotonic() - begun


@pytest.mark.parametrize("change", [*ONE_EVENT, *SEVERAL_EVENTS])
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("lagging")
def test_a_free_slot_is_refilled(
    scene: Scene, change: type[Change], slack: float, *, full: bool
) -> None:
    rounds = 20 if full else 4
    limit = REFILLED_SECONDS * slack
    staged = stage(scene, change, rounds)
    times = [seconds_to_refill(scene, staged, turn, limit) for turn in range(rounds)]
    taken = [seconds for seconds in times if seconds is not None]
    print(f"{change.__name__}: refilled in {', '.join(f'{s:.2f}' for s in taken)} s")
    assert len(taken) == rounds


@pytest.mark.parametrize("change", ONE_EVENT)
@pytest.mark.timeout(900)
def test_without_nudges_pods_hang(
    scene: Scene, lagging: Proxy, change: type[Change], *, full: bool
) -> None:
    """The check above sees what it is there for."""
    rounds = 20 if full else 6
    staged = stage(scene, change, rounds)
    lagging.fate = late_and_without_nudges
    try:
        for turn in range(rounds):
            took = seconds_to_refill(scene, staged, turn, REFILLED_SECONDS)
            if took is None:
                print(f"{change.__name__}: a pod hangs in round {turn + 1}")
                return
    finally:
        lagging.fate = late
    pytest.fail(f"no pod hung in {rounds} rounds without nudges")


def test_nudges_that_cannot_be_written_are_repeated(scene: Scene, lagging: Proxy) -> None:
    staged = stage(scene, TaintRemoved, 1)
    failed: list[Request] = []

    def fails_six_times(request: Request) -> Treatment:
        if request.method == "PATCH" and len(failed) < 6:
            failed.append(request)
            return Answer(500, "{}")
        return late(request)

    lagging.fate = fails_six_times
    try:
        took = seconds_to_refill(scene, staged, 0, 60.0)
    finally:
        lagging.fate = late
    assert took is not None
    assert len(failed) == 6
