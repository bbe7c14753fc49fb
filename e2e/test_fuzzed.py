"""Whatever pods, policies and nodes somebody makes, ordinary pods are placed at once."""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from types import TracebackType
from typing import Any, Self

import msgspec
import pytest

from faults.api import Api, ApiFailureError
from harness.cluster import Cluster, Options, running
from harness.containers import Container, extender
from harness.fuzz import MERGE, Change, Fuzz, Made
from harness.metrics import total
from harness.scenes import ACK, VKE, node, pod, policy, virtual_node
from harness.watch import Watch, node_of
from spillover.api.kubernetes import NodeObject
from spillover.core.dialects import load
from spillover.core.model.nodes import Node, node_from_wire
from spillover.core.model.policy import LoadedPolicy
from spillover.kube.credentials import Credentials
from spillover.kube.listing import list_all
from spillover.kube.reading import Unreadable, pod_of
from spillover.kube.session import ApiSession

Object = dict[str, Any]

SEED = 20270118
ALIVE = 100
"""Of what was made, at a time."""
BOUND_SECONDS = 5.0
ORDINARY = "ordinary"
ORDINARY_ALIVE = 4
"""One more than fits in the first unit and one being deleted: both units are used."""
ORDINARY_SECONDS = 1.0
READ_SECONDS = 30.0
UNANSWERED = 599


def _node(raw: bytes | msgspec.Raw) -> Node:
    return node_from_wire(msgspec.json.decode(raw, type=NodeObject))


def _policy(raw: bytes | msgspec.Raw, group: str) -> LoadedPolicy:
    return load(msgspec.json.decode(raw, type=Object), group)


READERS: dict[str, Callable[[bytes | msgspec.Raw], object]] = {
    "/api/v1/pods": pod_of,
    "/api/v1/nodes": _node,
    f"/apis/{ACK}/v1alpha1/resourcepolicies": partial(_policy, group=ACK),
    f"/apis/{VKE}/v1beta1/resourcepolicies": partial(_policy, group=VKE),
}
"""As the extender reads."""


class Load:
    """A context manager: an ordinary pod is made every second, and old ones make room."""

    def __init__(self, api: Api, pods: Watch) -> None:
        self.seconds: list[float] = []
        """From each pod's creation until it was seen on a node."""
        self.failures: list[BaseException] = []
        self._api = api
        self._pods = pods
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        pause = 0.0
        try:
            while not self._stop.wait(pause):
                pause = ORDINARY_SECONDS - self._place(len(self.seconds))
        except BaseException as failure:  # noqa: BLE001 - told to whoever waits for the thread
            self.failures.append(failure)

    def _place(self, number: int) -> float:
        """How long it took."""
        where = f"/api/v1/namespaces/{ORDINARY}/pods"
        if number >= ORDINARY_ALIVE:
            path = f"{where}/{ORDINARY}-{number - ORDINARY_ALIVE}"
            self._api.request("DELETE", path, {"gracePeriodSeconds": 0})
        name = f"{ORDINARY}-{number}"
        body = pod(ORDINARY, name, "spillover-scheduler", labels={"app": ORDINARY}, gpus=0)
        created = time.monotonic()
        self._api.request("POST", where, body)
        self._pods.wait_for(partial(_is_bound, name), 60, f"{name} bound")
        self.seconds.append(time.monotonic() - created)
        return self.seconds[-1]


def _is_bound(name: str, pods: list[Object]) -> bool:
    return any(each["metadata"]["name"] == name and node_of(each) for each in pods)


class Hostile:
    """Objects of somebody who means harm, at most a hundred at a time."""

    def __init__(self, api: Api, fuzz: Fuzz, chance: Random) -> None:
        self.accepted: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.made = 0
        self._api = api
        self._fuzz = fuzz
        self._chance = chance
        self._alive: deque[Made] = deque()

    def make(self) -> None:
        """One more, and a change of two that are there."""
        made = self._fuzz.made()
        status = self._send("POST", made.collection, made.body)
        self._count(made.kind, status)
        if status < 300 or status == UNANSWERED:
            self._alive.append(made)
        if status < 300:
            self.made += 1
        for _ in range(min(2, len(self._alive))):
            one = self._chance.choice(self._alive)
            self._change(one, self._fuzz.change(one.kind))
        while len(self._alive) > ALIVE:
            self._remove(self._alive.popleft())

    def remove_all(self) -> None:
        while self._alive:
            self._remove(self._alive.popleft())

    def _change(self, made: Made, change: Change) -> None:
        status = self._send(change.method, made.path + change.suffix, change.body, change.kind)
        if status != 404:  # deleted by an earlier change, or by the garbage collector
            self._count(f"change of {made.kind}", status)

    def _send(self, method: str, path: str, body: bytes, kind: str = "application/json") -> int:
        """The answer's status. The API server itself may take long for what is nested deep."""
        try:
            status, _ = self._api.send(method, path, body, kind)
        except ApiFailureError as failure:
            print(failure)
            return UNANSWERED
        return status

    def _count(self, what: str, status: int) -> None:
        (self.accepted if status < 300 else self.refused)[what] += 1

    def _remove(self, made: Made) -> None:
        """Finalizers first: nothing is left Terminating."""
        body = b'{"metadata": {"finalizers": null}}'
        self._send("PATCH", made.path, body, MERGE)
        status = self._send("DELETE", made.path, b'{"gracePeriodSeconds": 0}')
        if status == UNANSWERED:
            self._alive.append(made)


@pytest.fixture
def own(cluster_name: str) -> Iterator[Cluster]:
    """A cluster of its own: odd nodes would be everybody's."""
    with running(Cluster(f"{cluster_name}-fuzzed"), Options()) as found:
        found.add_nodes(
            node(ORDINARY, gpus=0, labels={"pool": "prepaid"}),
            virtual_node(f"{ORDINARY}-virtual", gpus=0),
        )
        for namespace in (ORDINARY, "checked", "unchecked"):
            found.kubectl("create", "namespace", namespace)
            found.kubectl("wait", "--for=create", "sa/default", "-n", namespace, "--timeout=30s")
        # As if its policies had been stored before the webhook was there.
        found.kubectl("label", "namespace", "unchecked", "spillover.dev/webhook=disabled")
        units = [
            {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}, "max": 2},
            {"resource": "eci"},
        ]
        found.create(policy(ACK, ORDINARY, ORDINARY, selector={"app": ORDINARY}, units=units))
        yield found


@pytest.mark.timeout(2 * 3600)
def test_ordinary_pods_are_placed_while_nonsense_is_made(
    own: Cluster, request: pytest.FixtureRequest, *, full: bool
) -> None:
    """Of all that the API server has taken so far, Spillover could read everything: no object is
    unreadable, and the metric has to say so."""
    seed = request.config.getoption("--seed") or SEED
    count = 2_000 if full else 60
    print(f"\nseed {seed}: --seed {seed} repeats it")
    api, it = Api(own.kubeconfig), extender(own)
    hostile = Hostile(api, Fuzz(seed, ("checked", "unchecked")), Random(seed))
    before = processes(own)
    with Watch(own, f"/api/v1/namespaces/{ORDINARY}/pods") as pods, Load(api, pods) as load:
        begun = time.monotonic()
        while hostile.made < count and not load.failures:
            hostile.make()
        seconds = time.monotonic() - begun
        there = asyncio.run(unreadable(own))
        until_metric(it, there)
        hostile.remove_all()
        until_metric(it, 0)
    for what in sorted({*hostile.accepted, *hostile.refused}):
        print(f"{what}: {hostile.accepted[what]} accepted, {hostile.refused[what]} refused")
    print(
        f"{hostile.made} objects in {seconds:.0f} s, {there} unreadable at the end;"
        f" {len(load.seconds)} ordinary pods bound, each within {max(load.seconds):.2f} s"
    )
    assert load.failures == []
    assert max(load.seconds) < BOUND_SECONDS
    assert processes(own) == before
    assert total(it, "spillover_controller_failures_total") == 0


def processes(cluster: Cluster) -> dict[str, str]:
    """The id of each container's process: a new one after each start."""
    files = sorted((cluster.folder / "pods").glob("*/*.pid"))
    assert len(files) >= len(("certificates", "extender", "kube-scheduler", "webhook"))
    return {f"{file.parent.name}/{file.stem}": file.read_text() for file in files}


async def unreadable(cluster: Cluster) -> int:
    """How many objects somebody who reads all of them for the first time cannot read."""
    found: list[Unreadable] = []
    async with ApiSession(Credentials(cluster.kubeconfig)) as session:
        for path, decode in READERS.items():
            await list_all(session, path, decode, unreadable=found.append)
    return len(found)


def until_metric(container: Container, wanted: int) -> None:
    """What was just written, the watch has yet to show."""
    deadline = time.monotonic() + READ_SECONDS
    while (found := total(container, "spillover_unreadable_objects")) != wanted:
        assert time.monotonic() < deadline, f"{found} unreadable objects are told, not {wanted}"
        time.sleep(0.1)
