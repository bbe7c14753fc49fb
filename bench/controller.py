"""How much longer filter takes beside the controller, while pods change.

Two extenders watch the same real API server, with 1,000 policies and 10,000 pods; one runs the
controller, the other does not. Both are asked in turn at a fixed rate, while pods' readiness
changes. Prints p50 and p99 of both, their ratios, and what each process used of CPU and memory.
"""

import asyncio
import itertools
import json
import multiprocessing
import os
import random
import socket
import statistics
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from extender.app import scheduler_app
from extender.background import background_tasks
from extender.binding import Binding
from extender.filtering import Filtering
from extender.metrics import Metrics
from extender.preempting import Preempting
from spillover.api.kubernetes import PodObject
from spillover.controller.statuses import Statuses
from spillover.controller.watching import reflectors
from spillover.core.cache.cluster import ClusterCache
from spillover.core.model.conventions import NodeConventions
from spillover.core.scheduler import Scheduler
from spillover.kube.binder import Binder
from spillover.kube.credentials import Credentials
from spillover.kube.readiness import Readiness
from spillover.kube.session import ApiSession
from spillover.serving.http import serve

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from harness import processes, reports
from harness.cluster import Cluster, Options, running
from harness.population import Population

CROWD = Population(policies=1000, pods=10_000)
TOUCHED = range(100)
CHANGES = 200.0
"""Of pods, in a second."""
RATE = 100.0
SECONDS = 20.0
ROUNDS = 5
SCHEDULER = "nobody"
ROLES = ("without", "with")


class Always:
    """Leads for ever, and holds nobody."""

    def may_bind_until(self) -> float:
        return inf

    async def of_pod(self, pod: PodObject, seconds: float) -> None: ...

    async def of_known(self, uid: str, seconds: float) -> None: ...


async def server(kubeconfig: Path, port: int, *, controller: bool) -> None:
    """An extender in whose term all pods may be placed."""
    chance, clock = random.SystemRandom(), time.monotonic
    async with ApiSession(Credentials(kubeconfig)) as session:
        conventions = NodeConventions(schedulers=frozenset({SCHEDULER}))
        scheduler = Scheduler(ClusterCache(conventions, clock, time.time, chance.random))
        statuses = Statuses(session, lambda: datetime.now(UTC))
        watches = reflectors(
            session, scheduler.cluster, statuses, "spillover-system", chance, clock
        )
        ready, metrics = Readiness(watches), Metrics(scheduler.cluster, watches)
        background = background_tasks(
            scheduler, session, statuses, metrics, watches, lambda: True, clock, chance
        )
        binder = Binder(session, labels_in_binding=True, clock=clock)
        app = scheduler_app(
            Filtering(scheduler, metrics, background.decisions),
            Preempting(scheduler, metrics),
            Binding(
                scheduler, binder, metrics, clock, chance, Always(), background.decisions, time.time
            ),
            ready,
            metrics,
            clock,
            Always(),
        )
        async with asyncio.TaskGroup() as group:
            for watch in watches:
                group.create_task(watch.run())
            while not await ready.synced(60):
                pass
            scheduler.cluster.begin_term(1)
            scheduler.cluster.term.open_all_but(frozenset())
            if controller:
                group.create_task(background.controller.run())
            group.create_task(serve(app, "127.0.0.1", port))


def run_server(kubeconfig: Path, port: int, *, controller: bool) -> None:
    uvloop.run(server(kubeconfig, port, controller=controller))


def request(number: int) -> bytes:
    """Filter's for a pod of some policy, among all nodes."""
    namespace, app = CROWD.place_of(number % CROWD.policies)
    pod = {
        "metadata": {
            "name": f"asked-{number}", "namespace": namespace, "uid": f"asked-{number}",
            "resourceVersion": "99999999", "labels": {"app": app},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"schedulerName": SCHEDULER, "containers": [{"name": "c"}]},
        "status": {"phase": "Pending"},
    }  # fmt: skip
    names = [*(f"prepaid-{n}" for n in range(20)), "virtual-0"]
    return json.dumps({"Pod": pod, "NodeNames": names}).encode()


async def measure(ports: dict[str, int]) -> dict[str, list[float]]:
    """Latencies in seconds, by role."""
    found: dict[str, list[float]] = {role: [] for role in ROLES}
    bodies = [request(number) for number in range(500)]
    async with aiohttp.ClientSession() as session:

        async def ask(role: str, body: bytes, at: float) -> None:
            await asyncio.sleep(at - time.perf_counter())
            begun = time.perf_counter()
            url = f"http://127.0.0.1:{ports[role]}/filter"
            async with session.post(url, data=body) as answer:
                content: dict[str, Any] = json.loads(await answer.read())
            if content.get("Error"):
                raise RuntimeError(content)
            found[role].append(time.perf_counter() - begun)

        start = time.perf_counter() + 0.5
        async with asyncio.TaskGroup() as group:
            for turn in range(int(RATE * SECONDS)):
                for offset, role in enumerate(ROLES if turn % 2 else reversed(ROLES)):
                    at = start + (turn + offset / 2) / RATE
                    group.create_task(ask(role, bodies[turn % len(bodies)], at))
    return {role: times[int(RATE) :] for role, times in found.items()}  # without the first second


async def churn(kubeconfig: Path) -> None:
    """Pods of ten policies more become ready or not ready, at a fixed rate, until cancelled."""
    async with ApiSession(Credentials(kubeconfig)) as session:
        each = CROWD.pods // CROWD.policies
        start = time.monotonic()
        for turn in itertools.count():
            for policy in TOUCHED:
                await CROWD.touch(session, [policy], is_ready=bool(turn % 2))
                done = (turn * len(TOUCHED) + policy + 1) * each
                await asyncio.sleep(start + done / CHANGES - time.monotonic())


def run_churn(kubeconfig: Path) -> None:
    asyncio.run(churn(kubeconfig))


async def until_settled(kubeconfig: Path) -> None:
    """Until every policy has a status and every pod its cost: the controller has nothing to do."""
    async with ApiSession(Credentials(kubeconfig)) as session:
        async with asyncio.timeout(600):
            while await _unsettled(session):  # noqa: ASYNC110 - the API server tells nobody
                await asyncio.sleep(1)


async def _unsettled(session: ApiSession) -> bool:
    path = "/apis/scheduling.alibabacloud.com/v1alpha1/resourcepolicies"
    policies = json.loads(await session.request("GET", path))["items"]
    pods = json.loads(await session.request("GET", "/api/v1/pods"))["items"]
    marked = ["spillover.dev/deletion-cost" in each["metadata"].get("annotations", {})
              for each in pods]  # fmt: skip
    each_ready = CROWD.pods // CROWD.policies
    told = [each.get("status", {}).get("ready") == each_ready for each in policies]
    return not (all(marked) and all(told))


def used(pid: int) -> tuple[float, int]:
    """CPU seconds and resident KiB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    resident = next(line for line in lines if line.startswith("VmRSS"))
    return seconds, int(resident.split()[1])


def part(extenders: list[int], others: list[int]) -> None:
    """Where there are two cores, the extenders have one for themselves: the rest of a cluster on
    the same machine would be most of what is measured."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return
    for pids, core in ((extenders, cores[0]), (others, cores[1])):
        for pid in pids:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread.name), {core})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    context = multiprocessing.get_context("spawn")
    rows: list[dict[str, str]] = []
    with running(Cluster(f"bench-{os.getpid()}"), Options()) as cluster:
        print(f"{CROWD}, of which {CHANGES:.0f} pods change each second", flush=True)
        asyncio.run(CROWD.make(cluster))
        # The cluster's own extender does what there is to do at first; then it has to rest.
        asyncio.run(until_settled(cluster.kubeconfig))
        cluster.stop_components()
        ports = {role: free_port() for role in ROLES}
        servers = {
            role: context.Process(
                target=run_server,
                args=(cluster.kubeconfig, ports[role]),
                kwargs={"controller": role == "with"},
            )
            for role in ROLES
        }
        driver = context.Process(target=run_churn, args=(cluster.kubeconfig,))
        started = [*servers.values(), driver]
        try:
            for process in started:
                process.start()
            wait_for(ports)
            pids = {role: process.pid or 0 for role, process in servers.items()}
            others = [*processes.find(cluster.folder), driver.pid or 0, os.getpid()]
            part(list(pids.values()), others)
            for _ in range(ROUNDS):
                before = {role: used(pid) for role, pid in pids.items()}
                found = uvloop.run(measure(ports))
                rows.append(row(found, before, {role: used(pid) for role, pid in pids.items()}))
                print(rows[-1], flush=True)
        finally:
            for process in started:
                process.terminate()
                process.join(10)
    heading = f"Rounds, {RATE:.0f} filter calls a second, {CHANGES:.0f} pods change a second"
    title = "Filter beside the controller"
    print(reports.write("controller", title, "./dev bench controller", {heading: rows}, {}))
    return 0


def wait_for(ports: dict[str, int]) -> None:
    deadline = time.monotonic() + 120
    for port in ports.values():
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


def row(
    found: dict[str, list[float]],
    before: dict[str, tuple[float, int]],
    after: dict[str, tuple[float, int]],
) -> dict[str, str]:
    """One round: percentiles of both and their ratio, and what each process used."""
    cells = {}
    for share in (50, 99):
        without, beside = (statistics.quantiles(found[role], n=100)[share - 1] for role in ROLES)
        cells[f"p{share} without, ms"] = f"{without * 1e3:.2f}"
        cells[f"p{share} with, ms"] = f"{beside * 1e3:.2f}"
        cells[f"p{share} times"] = f"{beside / without:.2f}"
    for role in ROLES:
        cells[f"{role}, of a core"] = f"{(after[role][0] - before[role][0]) / SECONDS:.3f}"
        cells[f"{role}, MiB"] = f"{after[role][1] / 1024:.0f}"
    return cells


if __name__ == "__main__":
    sys.exit(main())
