"""How fast pods get their nodes with Spillover, beside kube-scheduler alone and beside the least
extender, on real API servers.

Throughput: all pods are there before the scheduler starts. The rate is that between the 5th and the
95th percentile of the bound pods, as a watch tells. Latency: pods are created at a steady rate; the
time is from the request that creates a pod to the event that shows its node. All take turns in each
round. Half of the nodes are prepaid, ten are virtual, the rest is pay-as-you-go, and the pods of
Spillover are under a policy of three units with maxima.

`./dev bench scheduler [--nodes N] [--pods N] [--rounds N] [--seconds N] [--report NAME]`
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from math import ceil
from statistics import median

import msgspec

from harness import reports, scenes
from harness.cluster import Cluster, running
from harness.contenders import Contender, Shipped, least, stock
from harness.population import UNATTENDED, at_once, create
from harness.processes import used_seconds
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiSession

NAMESPACE = "bench"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
REFERENCE = "stock, all nodes"
RATES = (20, 100)
VIRTUAL = 10
_MOST_SECONDS = 120

Row = dict[str, str]


class _Meta(msgspec.Struct):
    name: str
    resource_version: str = msgspec.field(name="resourceVersion")


class _Spec(msgspec.Struct):
    node: str = msgspec.field(name="nodeName", default="")


class _Pod(msgspec.Struct):
    metadata: _Meta
    spec: _Spec


class _Event(msgspec.Struct):
    type: str
    object: _Pod


class _ListMeta(msgspec.Struct):
    resource_version: str = msgspec.field(name="resourceVersion")


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[_Pod]


class Bound:
    """When each pod of the namespace got its node, and which pods are there."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}
        self.there: set[str] = set()
        self._changed = asyncio.Condition()

    async def until(self, *, bound: int | None = None, there: int | None = None) -> None:
        """Until so many pods are bound, and so many are there. Raises TimeoutError."""
        async with asyncio.timeout(_MOST_SECONDS), self._changed:
            await self._changed.wait_for(
                lambda: (
                    (bound is None or len(self.times) >= bound)
                    and (there is None or len(self.there) == there)
                )
            )

    async def follow(self, session: ApiSession) -> None:
        listed = msgspec.json.decode(await session.request("GET", PODS), type=_List)
        for pod in listed.items:
            await self._take(_Event("ADDED", pod), time.monotonic())
        params = {"watch": "1", "resourceVersion": listed.metadata.resource_version}
        decode = msgspec.json.Decoder(_Event).decode
        while True:  # a stream that ends is resumed after its last event
            async with session.stream(PODS, params=params, idle_seconds=_MOST_SECONDS) as lines:
                async for line in lines:
                    event = decode(line)
                    params["resourceVersion"] = event.object.metadata.resource_version
                    await self._take(event, time.monotonic())

    async def _take(self, event: _Event, now: float) -> None:
        name = event.object.metadata.name
        if event.type == "DELETED":
            self.there.discard(name)
        else:
            self.there.add(name)
            if event.object.spec.node:
                self.times.setdefault(name, now)
        async with self._changed:
            self._changed.notify_all()


@asynccontextmanager
async def watching(session: ApiSession) -> AsyncIterator[Bound]:
    bound = Bound()
    async with asyncio.TaskGroup() as group:  # if the watch fails, so does what relies on it
        task = group.create_task(bound.follow(session))
        yield bound
        task.cancel()


async def prepared(cluster: Cluster, nodes: int) -> None:
    """Nodes, a namespace, and a policy where there are policies."""
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.kubectl("wait", "--for=create", "sa/default", "-n", NAMESPACE, "--timeout=60s")
    async with ApiSession(Credentials(cluster.kubeconfig)) as session:
        await at_once(create(session, "/api/v1/nodes", _node(number)) for number in range(nodes))


def policy(pods: int) -> scenes.Object:
    return scenes.policy(
        scenes.ACK, NAMESPACE, NAMESPACE, selector={"app": NAMESPACE},
        units=[
            {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}, "max": pods // 2},
            {"resource": "eci", "max": pods // 4},
            {"resource": "ecs", "nodeSelector": {"pool": "postpaid"}},
        ],
    )  # fmt: skip


def _node(number: int) -> scenes.Object:
    name = f"node-{number:05}.region-a.compute.internal"
    zone = {"topology.kubernetes.io/zone": f"region-a-{number % 3}"}
    if number < VIRTUAL:
        found = scenes.virtual_node(name, managed=False)
    else:
        pool = "prepaid" if number % 2 else "postpaid"
        found = scenes.node(name, managed=False, labels={"pool": pool, **zone})
    found["metadata"]["labels"]["kubernetes.io/hostname"] = name
    size = {"cpu": "512" if number < VIRTUAL else "32", "memory": "256Gi", "pods": "1000"}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
    found["status"] = {"capacity": size, "allocatable": size, "conditions": [ready]}
    return found


def _pod(name: str, scheduler: str) -> scenes.Object:
    found = scenes.pod(NAMESPACE, name, scheduler, gpus=0, labels={"app": NAMESPACE})
    requests = {"cpu": "1", "memory": "2Gi"}
    found["spec"]["containers"][0]["resources"] = {"requests": requests}
    return found


async def _cleared(session: ApiSession, bound: Bound) -> None:
    await session.request("DELETE", PODS, params={"gracePeriodSeconds": "0"}, seconds=120)
    await bound.until(there=0)


async def throughput(one: Contender, pods: int) -> dict[str, float]:
    """Pods a second, and what each of its processes needed: seconds of a core for each pod."""
    async with ApiSession(Credentials(one.cluster.kubeconfig)) as session:
        one.stop()
        async with watching(session) as bound:
            await at_once(
                create(session, PODS, _pod(f"pod-{number:05}", one.scheduler))
                for number in range(pods)
            )
            await bound.until(there=pods)
            await asyncio.to_thread(one.start)
            await bound.until(bound=1)  # not the wait for a Lease
            ids = {**one.processes(), **_control_plane(one.cluster)}
            before, done = (
                {name: used_seconds(process) for name, process in ids.items()},
                len(bound.times),
            )
            await bound.until(bound=pods)
            used = {name: used_seconds(process) - before[name] for name, process in ids.items()}
            times = sorted(bound.times.values())
            low, high = ceil(pods * 0.05), ceil(pods * 0.95)
            await _cleared(session, bound)
    cores = {f"core seconds of {name}": seconds / (pods - done) for name, seconds in used.items()}
    return {"pods a second": (high - low) / (times[high - 1] - times[low - 1]), **cores}


async def latency(one: Contender, rate: int, seconds: float) -> dict[str, float]:
    """Percentiles in seconds, at so many pods a second."""
    created: dict[str, float] = {}
    async with (
        ApiSession(Credentials(one.cluster.kubeconfig)) as session,
        watching(session) as bound,
        asyncio.TaskGroup() as group,
    ):
        begun = time.monotonic()
        for number in range(ceil(rate * seconds)):
            await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
            name = f"pod-{number:05}"
            created[name] = time.monotonic()
            group.create_task(create(session, PODS, _pod(name, one.scheduler)))
        await bound.until(bound=len(created))
        await _cleared(session, bound)
    took = sorted(bound.times[name] - created[name] for name in created)
    return {
        f"p{part} at {rate} pods a second": took[ceil(part / 100 * len(took)) - 1]
        for part in (50, 99)
    }


def _control_plane(cluster: Cluster) -> dict[str, int]:
    return {name: cluster.processes_of(name)[0] for name in ("kube-apiserver", "etcd")}


Found = dict[str, list[dict[str, float]]]
"""By contender, one for each round."""


async def measured(contenders: Sequence[Contender], options: argparse.Namespace) -> Found:
    found: Found = {each.name: [] for each in contenders}
    for number in range(options.rounds + 1):
        # Each in another place of the round; the first round warms up.
        turn = number % len(contenders)
        for each in (*contenders[turn:], *contenders[:turn]):
            row = await throughput(each, options.pods if number else options.pods // 4)
            for rate in RATES if number else ():
                row |= await latency(each, rate, options.seconds)
            await asyncio.to_thread(each.stop)
            if number:
                found[each.name].append(row)
                print(f"round {number}, {each.name}: {_brief(row)}", flush=True)
    return found


def _brief(row: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in row.items())


def tables(found: Found) -> dict[str, list[Row]]:
    measures = list(dict.fromkeys(key for rows in found.values() for key in rows[0]))
    return {
        f"Times that of {REFERENCE}: median (least to most)": [
            {"": name, **{key: _ratio(rows, found[REFERENCE], key) for key in measures}}
            for name, rows in found.items()
        ],
        "Medians": [
            {"": name, **{key: _median(rows, key) for key in measures}}
            for name, rows in found.items()
        ],
    }


def _ratio(
    rows: Sequence[Mapping[str, float]], others: Sequence[Mapping[str, float]], key: str
) -> str:
    pairs = zip(rows, others, strict=True)
    ratios = [row[key] / other[key] for row, other in pairs if key in row and other.get(key)]
    if not ratios:
        return "-"
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _median(rows: Sequence[Mapping[str, float]], key: str) -> str:
    found = [row[key] for row in rows if key in row]
    return f"{median(found):.4g}" if found else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("nodes", 1000), ("pods", 2000), ("rounds", 5), ("seconds", 20)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N")
    parser.add_argument("--report", default="", metavar="NAME")
    options = parser.parse_args()
    options_of_both = replace(
        UNATTENDED, controllers=(*UNATTENDED.controllers, "garbage-collector-controller")
    )
    with ExitStack() as stack:
        plain = stack.enter_context(
            running(Cluster("bench-plain"), replace(options_of_both, components=False))
        )
        ours = stack.enter_context(running(Cluster("bench-ours"), options_of_both))
        for cluster in (plain, ours):
            asyncio.run(prepared(cluster, options.nodes))
        ours.apply(policy(options.pods))
        contenders: list[Contender] = [
            stock(plain, "stock"),
            stock(plain, REFERENCE, percentage=100),
            least(plain, "least extender"),
            Shipped("Spillover", ours),
        ]
        for each in contenders:
            stack.callback(each.close)
        found = asyncio.run(measured(contenders, options))
    name = options.report or f"scheduler-{options.nodes}"
    command = (
        f"./dev bench scheduler --nodes {options.nodes} --pods {options.pods}"
        f" --rounds {options.rounds} --seconds {options.seconds}"
    )
    title = f"kube-scheduler with Spillover, {options.nodes} nodes and {options.pods} pods"
    print(reports.write(name, title, command, tables(found), {"rounds": found}))


if __name__ == "__main__":
    main()
