"""How much longer filter takes than the least that an extender can do, as kube-scheduler sees it.

One connection that is kept alive. Three paths of one application get the same bodies in turn:
filter; `least`, which decodes the request and answers with the names that came; and `floor`, which
answers with those names that are nodes of one unit, and does nothing else that filter does. Prints
the median of filter and its ratios: for 100, 1,000 and 5,000 names; for pods that are placed,
rejected by a maximum (an answer that is kept, or each decided anew, also with three long reasons
for each node), rejected for want of nodes, and under no policy; with 1, 10 and 1,000 policies of
each kind; without and with 2,000 waiting pods. The watch has shown the pods before, and pods with a
kept answer are tried again and again, as in a cluster. Needs about four minutes.
"""

import asyncio
import json
import multiprocessing
import socket
import ssl
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Set
from datetime import UTC, datetime
from random import Random
from typing import Any

import aiohttp
import msgspec
import uvloop
from aiohttp import web

from extender.app import scheduler_app
from extender.binding import Binding
from extender.decisions import DecisionLog
from extender.filtering import Filtering
from extender.metrics import Metrics
from extender.preempting import Preempting
from spillover.api import ack
from spillover.api.extender import FilterArgs
from spillover.api.kubernetes import PodObject
from spillover.controller.recorder import Recorder
from spillover.core.cache.cluster import ClusterCache
from spillover.core.cache.unschedulable import Bounds
from spillover.core.dialects import load
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.nodes import Node
from spillover.core.model.pods import Pod, pod_from_wire
from spillover.core.scheduler import Scheduler
from spillover.kube.binder import Binder
from spillover.kube.credentials import Credentials
from spillover.kube.readiness import Readiness
from spillover.kube.session import ApiSession
from spillover.serving.http import serve
from spillover.serving.requests import json_answer

NAMES = (100, 1000, 5000)
POLICIES = (1, 10, 1000)
WAITING = (0, 2000)
PAIRS = 40
UNITS: dict[str, list[dict[str, Any]]] = {
    "placed": [{"resource": "ecs", "nodeSelector": {"pool": "a"}}, {"resource": "ecs"}],
    "at max": [
        {"resource": "ecs", "nodeSelector": {"pool": "a"}, "max": 0},
        {"resource": "ecs", "max": 0},
        {"resource": "eci", "max": 0},
    ],
    "at max, anew": [
        {"resource": "ecs", "nodeSelector": {"pool": "a"}, "maxResources": {"cpu": "0"}},
        {"resource": "ecs", "maxResources": {"cpu": "0"}},
        {"resource": "eci", "maxResources": {"cpu": "0"}},
    ],
    "three reasons": [{"resource": "ecs", "maxResources": {"cpu": "0"}}] * 3,
    "no node": [{"resource": "ecs", "nodeSelector": {"pool": f"none-{n}"}} for n in range(3)],
}
KINDS = (*UNITS, "no policy")
ANEW = ("at max, anew", "three reasons")
PATHS = ("/filter", "/least", "/floor")
TURNS = PAIRS + 3
RETRIED = 10
"""Pods that wait with a kept answer."""


def app_label(kind: str, number: int) -> str:
    return f"{kind.replace(' ', '-').replace(',', '')}-{number}"


def policies(number: int, waiting: int) -> Iterator[dict[str, Any]]:
    for kind, units in UNITS.items():
        for each in range(number):
            yield policy("ns", app_label(kind, each), units)
    if waiting:
        yield policy("crowd", "w", UNITS["at max"])


def policy(namespace: str, name: str, units: list[dict[str, Any]]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "uid": f"{namespace}-{name}",
                "creationTimestamp": "2026-01-01T00:00:00Z"}  # fmt: skip
    return {"metadata": metadata, "spec": {"selector": {"app": name}, "units": units}}


def pod(uid: str, app: str, namespace: str, cpu: str) -> dict[str, Any]:
    """One of some size."""
    variables = [{"name": f"E{number}", "value": "x" * 40} for number in range(20)]
    container = {"name": "c", "image": "registry.example.com/model:1", "env": variables,
                 "resources": {"requests": {"cpu": cpu, "nvidia.com/gpu": "1"}}}  # fmt: skip
    return {
        "metadata": {"name": uid, "namespace": namespace, "uid": uid, "resourceVersion": "7",
                     "labels": {"app": app}, "creationTimestamp": "2026-01-02T00:00:00Z"},
        "spec": {"schedulerName": "spillover-scheduler", "containers": [container]},
    }  # fmt: skip


def node_name(number: int) -> str:
    return f"node-{number:05}.region-a.compute.internal"


class LeastResult(msgspec.Struct, rename="pascal"):
    node_names: list[str]


class AlwaysLeads:
    def may_bind_until(self) -> float:
        return float("inf")

    async def of_pod(self, pod: PodObject, seconds: float) -> None: ...

    async def of_known(self, uid: str, seconds: float) -> None: ...


def cache_with(number: int, waiting: int) -> Scheduler:
    # In a crowd all are told the same short reason: not what is measured here.
    made = Scheduler(
        ClusterCache(
            NodeConventions(),
            time.monotonic,
            time.time,
            lambda: 0.5,
            bounds=Bounds(tried=1_000_000),
        )
    )
    made.cluster.begin_term(1)
    made.cluster.term.open_all_but(frozenset())
    for each in range(max(NAMES)):
        made.cluster.put_node(Node(node_name(each), {"pool": "a" if each % 2 else "b"}, ()))
    for raw in policies(number, waiting):
        made.cluster.put_policy(load(raw, ack.GROUP))
    made.cluster.edits.take_in_all()
    for names in NAMES:
        for kind in KINDS:
            for turn in range(TURNS):
                made.cluster.put_pod(as_known(asked(kind, names, turn, number)))
    offered = [node_name(each) for each in range(min(NAMES))]
    for each in range(waiting):
        made.place(as_known(pod(f"w-{each}", "w", "crowd", "1")), offered)
    return made


def as_known(one: dict[str, Any]) -> Pod:
    return pod_from_wire(msgspec.convert(one, PodObject))


def asked(kind: str, names: int, turn: int, number: int) -> dict[str, Any]:
    """The pod of one request."""
    again = kind not in ("placed", *ANEW)
    which = turn % RETRIED if again else turn
    cpu = f"{turn + 1}m" if kind in ANEW else "1"
    return pod(f"{kind}-{names}-{which}", app_label(kind, which % number), "ns", cpu)


async def least(request: web.Request) -> web.Response:
    args = msgspec.json.decode(await request.read(), type=FilterArgs)
    return json_answer(LeastResult(node_names=args.node_names))


def floor(nodes: Set[str]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        args = msgspec.json.decode(await request.read(), type=FilterArgs)
        found = list(filter(nodes.__contains__, args.node_names))
        return json_answer(LeastResult(node_names=found))

    return answer


async def server(port: int, number: int, waiting: int) -> None:
    scheduler, ready, random = cache_with(number, waiting), Readiness([]), Random(1)
    leads = AlwaysLeads()
    async with ApiSession(NoCredentials()) as session:  # nobody writes
        metrics = Metrics(scheduler.cluster, [])
        recorder = Recorder(session, lambda _: None, time.monotonic, _now, random)
        decisions = DecisionLog(recorder, time.monotonic)
        app = scheduler_app(
            Filtering(scheduler, metrics, decisions),
            Preempting(scheduler, metrics),
            Binding(
                scheduler,
                Binder(session, labels_in_binding=None, clock=time.monotonic),
                metrics,
                time.monotonic,
                random,
                leads,
                decisions,
                time.time,
            ),
            ready,
            metrics,
            time.monotonic,
            leads,
        )
        unit = frozenset(node_name(each) for each in range(1, max(NAMES), 2))
        app.add_routes([web.post("/least", least), web.post("/floor", floor(unit))])
        async with asyncio.TaskGroup() as group:
            group.create_task(look_for_nudges(scheduler))
            group.create_task(serve(app, "127.0.0.1", port))


async def look_for_nudges(scheduler: Scheduler) -> None:
    """As often as `Nudger` does."""
    while True:
        await asyncio.sleep(0.25)
        scheduler.cluster.waiting.slots_freed(["crowd"])
        scheduler.due_nudges()


class NoCredentials(Credentials):
    """There is no API server."""

    async def reload(self) -> None: ...

    def identity(self) -> tuple[bytes, ...]:
        return ()

    def ssl_context(self) -> ssl.SSLContext:
        return ssl.create_default_context()


def _now() -> datetime:
    return datetime.now(UTC)


def run_server(port: int, number: int, waiting: int) -> None:
    uvloop.run(server(port, number, waiting))


Medians = dict[tuple[int, str], tuple[float, float, float]]
"""Of the three paths in seconds, by number of names and kind of pod."""


async def measure(port: int, number: int) -> Medians:
    found = {}
    connector = aiohttp.TCPConnector(limit=1, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector) as session:
        url = f"http://127.0.0.1:{port}"
        await wait_for(session, url)
        for names in NAMES:
            offered = [node_name(each) for each in range(names)]
            for kind in KINDS:
                times: dict[str, list[float]] = {path: [] for path in PATHS}
                for turn in range(TURNS):
                    one = asked(kind, names, turn, number)
                    body = json.dumps({"Pod": one, "NodeNames": offered}).encode()
                    for path in PATHS if turn % 2 else reversed(PATHS):
                        begun = time.perf_counter()
                        async with session.post(url + path, data=body) as answer:
                            content = await answer.read()
                        times[path].append(time.perf_counter() - begun)
                        if path == "/filter":
                            check(kind, json.loads(content), answer.status)
                ours, least_, lowest = (statistics.median(times[path][3:]) for path in PATHS)
                found[names, kind] = (ours, least_, lowest)
    return found


def check(kind: str, answer: dict[str, Any], status: int) -> None:
    """That filter has answered what the row says."""
    is_placed = bool(answer.get("NodeNames"))
    if status != 200 or "Error" in answer or is_placed != (kind in ("placed", "no policy")):
        raise RuntimeError(f"{kind}: {status} {str(answer)[:200]}")


async def wait_for(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                async with session.get(url):
                    return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)


def measured(number: int, waiting: int) -> Medians:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=run_server, args=(port, number, waiting))
    process.start()
    try:
        return uvloop.run(measure(port, number))
    finally:
        process.terminate()
        process.join(10)


def main() -> int:
    print("medians; `least` and `floor` are told at the top of this file")
    for number in POLICIES:
        calm: Medians = {}
        for waiting in WAITING:
            found = measured(number, waiting)
            calm = calm or found
            print(f"\n{number} policies of each kind, {waiting} waiting pods")
            for (names, kind), (ours, least_, lowest) in found.items():
                placed = found[names, "placed"][0]
                beside = f", {ours / calm[names, kind][0]:.2f} x without" if waiting else ""
                print(
                    f"{names:5} names, {kind:13} {ours * 1e3:7.2f} ms, {ours / least_:.2f} x least,"
                    f" {ours / lowest:.2f} x floor, {ours / placed:.2f} x placed{beside}"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
