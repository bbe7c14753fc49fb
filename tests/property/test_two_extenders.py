"""Two extenders as they are, on an API server that is a model: requests are executed late, twice or
never, answers are lost, watches lag, the Lease passes on at any moment, clocks are wrong, processes
end. After every step no unit has more pods than its maximum.

All but the API server is Spillover's own code: decisions, takeovers, sweeps, bindings and fences.
Time is virtual.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field
from functools import partial
from random import Random
from typing import Any, cast

import looptime
import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from builders import ack_policy, decision_log, node, virtual
from extender.binding import Binding
from extender.metrics import Metrics
from spillover.api.extender import BindArgs
from spillover.api.kubernetes import PodObject
from spillover.controller.leading import Leading
from spillover.controller.sweep import Sweep
from spillover.core.cache.cluster import ClusterCache
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.pods import Pod, pod_from_wire
from spillover.core.scheduler import Scheduler
from spillover.core.takeover import Lease, Tenure
from spillover.kube.binder import Binder
from spillover.kube.epochs import Epochs
from spillover.kube.lease import LeaseSink
from spillover.kube.readiness import Readiness
from spillover.kube.session import ApiError, ApiSession, NoAnswerError
from spillover.kube.signals import Signal

Object = dict[str, Any]
Step = Callable[[], object]

MAX = 1
PODS = 3
NODES = ("vk", "real")
LEASE_SECONDS = 15.0
HOSTS = ("a", "b")
POLICY = ack_policy({"resource": "eci", "max": MAX}, {"resource": "ecs", "max": MAX})


@dataclass(eq=False)
class Call:
    """A request on its way. `result` is set once it is executed; it can be executed again."""

    process: "Process"
    method: str
    path: str
    body: Object
    answer: asyncio.Future[bytes]
    result: bytes | ApiError | None = None
    executions: int = 0


class ApiServer:
    """What is stored. Every change has a version of its own and becomes an event."""

    def __init__(self) -> None:
        self.version = 10
        self.bound = 0
        self.pods: dict[str, Object] = {}
        self.epoch: Object | None = None
        self.events: list[tuple[str, int, Object | None]] = []

    def execute(self, call: Call) -> bytes | ApiError:
        parts = call.path.strip("/").split("/")
        if "configmaps" in parts:
            return self._epoch(call)
        if parts[-1] == "pods":
            return json.dumps({"metadata": {}, "items": list(self.pods.values())}).encode()
        found = self.pods.get(parts[5])
        if found is None:
            return ApiError(404, "NotFound", "")
        if call.method == "GET":
            return json.dumps(found).encode()
        return self._bind(found, call.body) if parts[-1] == "binding" else self._patch(found, call)

    def store(self, pod: Object) -> Object:
        self.version += 1
        pod["metadata"]["resourceVersion"] = str(self.version)
        name = pod["metadata"]["name"]
        self.pods[name] = pod
        self.events.append((pod["metadata"]["uid"], self.version, json.loads(json.dumps(pod))))
        return pod

    def delete(self, name: str) -> None:
        self.version += 1
        uid = self.pods.pop(name)["metadata"]["uid"]
        self.events.append((uid, self.version, None))

    def _bind(self, pod: Object, binding: Object) -> bytes | ApiError:
        wanted, metadata = binding["metadata"], pod["metadata"]
        if (wanted["uid"], wanted["resourceVersion"]) != (
            metadata["uid"],
            metadata["resourceVersion"],
        ) or pod["spec"]["nodeName"]:
            return ApiError(409, "Conflict", "")
        metadata["annotations"] |= wanted["annotations"]
        pod["spec"]["nodeName"] = binding["target"]["name"]
        self.store(pod)
        self.bound += 1
        return b"{}"

    def _patch(self, pod: Object, call: Call) -> bytes | ApiError:
        wanted = call.body["metadata"]
        if wanted["uid"] != pod["metadata"]["uid"]:
            return ApiError(409, "Conflict", "")
        pod["metadata"]["annotations"] |= wanted["annotations"]
        return json.dumps(self.store(pod)).encode()

    def _epoch(self, call: Call) -> bytes | ApiError:
        if call.method == "GET":
            return json.dumps(self.epoch).encode() if self.epoch else ApiError(404, "NotFound", "")
        version = call.body["metadata"].get("resourceVersion")
        if version != (self.epoch["metadata"]["resourceVersion"] if self.epoch else None):
            return ApiError(409, "Conflict", "")
        self.version += 1
        self.epoch = json.loads(json.dumps(call.body))
        self.epoch["metadata"]["resourceVersion"] = str(self.version)
        return json.dumps(self.epoch).encode()


class Process:
    """One extender, from its start to its end. `skew` is what its wall clock is wrong by."""

    def __init__(self, world: "World", host: str, name: str) -> None:
        self.world, self.host, self.name = world, host, name
        self.skew = 0.0
        loop = asyncio.get_running_loop()
        clock = loop.time
        chance = Random(1)
        self.scheduler = Scheduler(ClusterCache(NodeConventions(), clock, clock, lambda: 0.5))
        self.scheduler.cluster.put_node(virtual("vk"))
        self.scheduler.cluster.put_node(node("real"))
        self.scheduler.cluster.put_policy(POLICY)
        self.tenure = Tenure(host, clock, lambda: loop.time() + self.skew)
        changed = Signal()
        self.leases = LeaseSink(self.tenure, changed)
        session = cast("ApiSession", self)
        sweep = Sweep(
            self.scheduler.cluster, session, ["spillover-scheduler"], changed, clock, chance
        )
        self.leading = Leading(
            self.scheduler.cluster, self.tenure, Epochs(session, "ns"), sweep, changed,
            Readiness([]), self.read_lease, host, name, clock, chance,
        )  # fmt: skip
        binder = Binder(session, labels_in_binding=True, clock=clock)
        metrics = Metrics(self.scheduler.cluster, ())
        self.binding = Binding(
            self.scheduler,
            binder,
            metrics,
            clock,
            chance,
            self.leading,
            decision_log(session),
            clock,
        )
        # The first lists, complete and up to date.
        self.seen = len(world.api.events)
        for pod in world.api.pods.values():
            self.scheduler.cluster.put_pod(read(pod))
        there = {pod["metadata"]["uid"] for pod in world.api.pods.values()}
        self.scheduler.cluster.keep_pods(there, world.api.version)
        self.leases_seen = len(world.leases)
        current = world.leases[-1]
        if current is not None:
            self.leases.put(current)
        self.leases.keep({current.holder} if current is not None else set(), 0)
        self.tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(self.leading.run()),
            asyncio.create_task(self.binding.settle_outcomes()),
        ]

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,  # noqa: ARG002 - an ApiSession's
        body: object = None,
        content_type: str = "",  # noqa: ARG002 - an ApiSession's
        seconds: float = 30.0,
    ) -> bytes:
        """An ApiSession's, whose requests the world executes when it likes."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        sent = json.loads(msgspec.json.encode(body)) if body is not None else {}
        self.world.calls.append(Call(self, method, path, sent, answer))
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError as error:
            raise NoAnswerError(path) from error

    async def read_lease(self) -> Lease | None:
        fields = msgspec.json.decode(await self.request("GET", "/lease"))
        return Lease(*fields) if fields else None

    def ask(self, pod: Pod, where: str) -> None:
        """The scheduler's filter."""
        if self.scheduler.obstacle(pod) is None:
            self.scheduler.place(pod, [where])

    def place(self, pod: Pod, where: str) -> None:
        """Both, as they follow each other."""
        self.ask(pod, where)
        self.bind(pod, where)

    def bind(self, pod: Pod, where: str) -> None:
        args = BindArgs(pod.name, pod.namespace, pod.uid, where)
        deadline = asyncio.get_running_loop().time() + 10
        self.tasks.append(asyncio.create_task(self.binding.bind(args, deadline)))

    def end(self) -> None:
        for task in self.tasks:
            task.cancel()


def read(pod: Object) -> Pod:
    return pod_from_wire(msgspec.convert(pod, PodObject))


@dataclass
class World:
    """Everything, and all that can happen next."""

    api: ApiServer = field(default_factory=ApiServer)
    calls: list[Call] = field(default_factory=list)
    leases: list[Lease | None] = field(default_factory=lambda: [None])
    processes: dict[str, Process] = field(default_factory=dict)
    born: int = 0
    count: int = 0

    async def start(self) -> None:
        """The extender of host a leads, and has taken over."""
        for _ in range(PODS - 1):
            self.create()
        for host in HOSTS:
            self.restart(host)
        self.take_lease("a")
        for process in self.processes.values():
            self.show_lease(process)
        while not self.processes["a"].scheduler.cluster.term.is_open:
            await asyncio.sleep(0.001)
            self.execute_all()

    def steps(self) -> list[Step]:
        """What can happen next, the likelier the more often."""
        found: list[Step] = [*[self.keep_lease] * 10, self.renew, self.delete_lease]
        for call in self.calls:
            found += [partial(self.execute, call, answered=True)] * 2
            found += [partial(self.execute, call, answered=False)]
        if self.calls:
            found += [self.execute_all] * 8
        for host, process in self.processes.items():
            found += self._of(process)
            found += [partial(self.take_lease, host), partial(self.restart, host)]
        if len(self.api.pods) < PODS:
            found += [self.create] * 4
        found += [partial(self.api.delete, name) for name in self.api.pods]
        return found

    def _of(self, process: Process) -> list[Step]:
        found: list[Step] = [
            partial(setattr, process, "skew", 3600.0 if process.skew <= 0 else -3600.0)
        ]
        if process.seen < len(self.api.events):
            found += [partial(self.show, process, len(self.api.events))] * 4
            found += [partial(self.show, process, 1)]
        if process.leases_seen < len(self.leases):
            found += [partial(self.show_lease, process)] * 6
        for raw in self.api.pods.values():
            pod = read(raw)
            for where in NODES if not pod.node and process.scheduler.cluster.term.epoch else ():
                found += [partial(process.ask, pod, where), partial(process.bind, pod, where)]
                found += [partial(process.place, pod, where)] * 3
        return found

    # --- what can happen ------------------------------------------------------------------------

    def create(self) -> None:
        self.born += 1
        name = f"pod-{self.born}"
        metadata = {"uid": f"uid-{self.born}", "name": name, "namespace": "ns"}
        labels: Object = {"labels": {"app": "app"}, "annotations": {}}
        spec = {"nodeName": "", "schedulerName": "spillover-scheduler"}
        self.api.store({"metadata": metadata | labels, "spec": spec, "status": {}})

    def execute(self, call: Call, *, answered: bool) -> None:
        """Twice at most: something on the way repeats what it got no answer for."""
        call.executions += 1
        if call.path == "/lease":
            lease = self.leases[-1]
            call.result = json.dumps(lease and [*astuple(lease)]).encode()
        else:
            call.result = self.api.execute(call)
        if answered or call.executions > 1:
            self.calls.remove(call)
        if answered and not call.answer.done():
            if isinstance(call.result, ApiError):
                call.answer.set_exception(call.result)
            else:
                call.answer.set_result(call.result)

    def execute_all(self) -> None:
        for call in list(self.calls):
            self.execute(call, answered=True)

    def show(self, process: Process, count: int) -> None:
        for uid, version, pod in self.api.events[process.seen : process.seen + count]:
            if pod is None:
                process.scheduler.cluster.drop_pod(uid, version)
            else:
                process.scheduler.cluster.put_pod(read(pod))
        process.seen = min(process.seen + count, len(self.api.events))

    def show_lease(self, process: Process) -> None:
        lease = self.leases[process.leases_seen]
        process.leases_seen += 1
        if lease is None:
            process.leases.drop(Lease("", 0, 0, 0))
        else:
            process.leases.put(lease)

    def take_lease(self, host: str) -> None:
        """By its scheduler, in time or before it."""
        self.count += 1
        now = asyncio.get_running_loop().time()
        self.leases.append(Lease(f"{host}_{self.count}", now, now, LEASE_SECONDS))

    def renew(self) -> None:
        last, now = self.leases[-1], asyncio.get_running_loop().time()
        if last is not None:
            self.leases.append(Lease(last.holder, last.acquired, now, LEASE_SECONDS))

    def keep_lease(self) -> None:
        """It is renewed, and all see it."""
        self.renew()
        for process in self.processes.values():
            while process.leases_seen < len(self.leases):
                self.show_lease(process)

    def delete_lease(self) -> None:
        self.leases.append(None)

    def restart(self, host: str) -> None:
        """What it has sent is still on its way."""
        if host in self.processes:
            self.processes[host].end()
        self.count += 1
        self.processes[host] = Process(self, host, f"process-{self.count}")

    def check(self) -> None:
        for where in NODES:
            there = [
                name for name, pod in self.api.pods.items() if pod["spec"]["nodeName"] == where
            ]
            assert len(there) <= MAX, f"{there} on {where}"
        for process in self.processes.values():
            assert not process.tasks[0].done(), process.tasks[0]


async def live(chance: Random) -> int:
    """How many pods were bound."""
    world = World()
    try:
        await world.start()
        for _ in range(STEPS):
            chance.choice(world.steps())()
            await asyncio.sleep(chance.choice(PAUSES))
            world.check()
        return world.api.bound
    finally:
        for process in world.processes.values():
            process.end()
        await asyncio.sleep(0)


STEPS = 100
PAUSES = [0.001] * 8 + [0.5, 4.0, 14.0]
"""In seconds: next to nothing, and about a lease."""


@pytest.mark.filterwarnings("ignore::looptime.TimeWarning")
@pytest.mark.timeout(4 * 3600)
def test_no_order_of_events_makes_two_extenders_exceed_a_maximum(*, full: bool) -> None:
    bindings: list[int] = []

    @settings(max_examples=10_000 if full else 200, deadline=None, phases=[Phase.generate])
    @given(st.integers(0, 2**64))
    def explore(seed: int) -> None:
        with asyncio.Runner(loop_factory=partial(looptime.new_event_loop, start=0)) as runner:
            bindings.append(runner.run(live(Random(seed))))

    explore()
    print(f"{sum(bindings)} pods bound in {len(bindings)} runs")
    assert sum(bindings) > len(bindings) / 2, "too few for it to mean anything"
