"""Bindings a second through the extender, beside Bindings that the same client writes itself, with
1, 16 and 64 under way, on a real API server. Each pod goes through filter first. Both have the
account of Spillover's scheduler, write the same annotations, and send at most 16 requests at a time
to the API server.

`./dev bench bind [--pods N] [--rounds N]`
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from statistics import median

import aiohttp
import msgspec

from harness import reports, scenes
from harness.cluster import Cluster, running
from harness.containers import extender
from harness.population import UNATTENDED, at_once, create
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiSession

NAMESPACE = "bind"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
NODES = 100
SCHEDULER = "nobody"
"""No kube-scheduler has a profile of this name: the benchmark itself asks for each pod."""
UNDER_WAY = (1, 16, 64)
PORT = 8888
_ANNOTATIONS = {
    "controller.kubernetes.io/pod-deletion-cost": "100",
    "spillover.dev/deletion-cost": "100",
    "spillover.dev/policy": "scheduling.alibabacloud.com/app",
    "spillover.dev/unit": "ecs-0000000000",
}
_UNITS: list[scenes.Object] = [
    {"resource": "ecs", "nodeSelector": {"pool": "a"}, "max": 10_000},
    {"resource": "ecs"},
]


class _Meta(msgspec.Struct):
    name: str
    uid: str


class _Pod(msgspec.Struct):
    metadata: _Meta


async def created(session: ApiSession, name: str) -> tuple[_Meta, bytes]:
    body = scenes.pod(NAMESPACE, name, SCHEDULER, gpus=0, labels={"app": NAMESPACE})
    text = await session.request("POST", PODS, body=body)
    return msgspec.json.decode(text, type=_Pod).metadata, text


async def seconds(
    under_way: int, bind: Callable[[_Meta], Awaitable[None]], pods: Iterable[_Meta]
) -> float:
    """Until all are bound."""
    waiting = iter(pods)

    async def one() -> None:
        for each in waiting:
            await bind(each)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(under_way):
            group.create_task(one())
    return time.perf_counter() - begun


class Ways:
    """The two ways to bind."""

    def __init__(self, session: ApiSession, http: aiohttp.ClientSession, url: str) -> None:
        """`session` is one of the scheduler's account."""
        self._session = session
        self._http = http
        self._url = url
        self._names = [f"node-{number}" for number in range(NODES)]

    async def filtered(self, pod: bytes) -> None:
        body = {"Pod": msgspec.json.decode(pod), "NodeNames": self._names}
        answer = await self._posted("filter", body)
        if answer.get("Error") or not answer.get("NodeNames"):
            raise RuntimeError(str(answer))

    async def through_extender(self, pod: _Meta) -> None:
        body = {"PodName": pod.name, "PodNamespace": NAMESPACE, "PodUID": pod.uid,
                "Node": self._names[0]}  # fmt: skip
        answer = await self._posted("bind", body)
        if answer.get("Error"):
            raise RuntimeError(str(answer))

    async def itself(self, pod: _Meta) -> None:
        await self._session.request(
            "POST", f"{PODS}/{pod.name}/binding",
            body={"apiVersion": "v1", "kind": "Binding",
                  "metadata": {"name": pod.name, "annotations": _ANNOTATIONS},
                  "target": {"kind": "Node", "name": self._names[0]}},
        )  # fmt: skip

    async def _posted(self, verb: str, body: object) -> scenes.Object:
        url = f"{self._url}/{verb}"
        async with self._http.post(url, data=msgspec.json.encode(body)) as answer:
            found: scenes.Object = msgspec.json.decode(await answer.read())
            return found


async def measured(cluster: Cluster, pods: int, rounds: int) -> dict[int, list[list[float]]]:
    """Bindings a second by how many are under way: by the extender, and by the client itself."""
    url = f"http://{extender(cluster).address}:{PORT}"
    found: dict[int, list[list[float]]] = {each: [[], []] for each in UNDER_WAY}
    connector = aiohttp.TCPConnector(limit=0)
    account = extender(cluster).folder / "extender.kubeconfig"
    async with (
        ApiSession(Credentials(cluster.kubeconfig)) as session,
        ApiSession(Credentials(account)) as own_session,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        ways = Ways(own_session, http, url)
        for number in range(rounds + 1):
            for under_way in UNDER_WAY:
                prefix = f"pod-{number}-{under_way}"
                ours = [await created(session, f"{prefix}-ours-{each}") for each in range(pods)]
                own = [await created(session, f"{prefix}-own-{each}") for each in range(pods)]
                for _, text in ours:
                    await ways.filtered(text)
                turns = [(0, ways.through_extender, ours), (1, ways.itself, own)]
                for which, bind, these in turns if number % 2 else reversed(turns):
                    took = await seconds(under_way, bind, [pod for pod, _ in these])
                    if number:  # the first round warms up
                        found[under_way][which].append(pods / took)
            await session.request("DELETE", PODS, params={"gracePeriodSeconds": "0"}, seconds=120)
    return found


async def filled(cluster: Cluster) -> None:
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.kubectl("wait", "--for=create", "sa/default", "-n", NAMESPACE, "--timeout=60s")
    cluster.apply(
        scenes.policy(scenes.ACK, NAMESPACE, "app", selector={"app": NAMESPACE}, units=_UNITS)
    )
    nodes = [scenes.node(f"node-{n}", managed=False, labels={"pool": "a"}) for n in range(NODES)]
    async with ApiSession(Credentials(cluster.kubeconfig)) as session:
        await at_once(create(session, "/api/v1/nodes", each) for each in nodes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("pods", 300), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N")
    options = parser.parse_args()
    own = replace(UNATTENDED, extender_arguments=(f"--schedulers={SCHEDULER}",))
    with running(Cluster("bench-bind"), own) as cluster:
        asyncio.run(filled(cluster))
        found = asyncio.run(measured(cluster, options.pods, options.rounds))
    rows = [
        {
            "under way": str(under_way),
            "through the extender": f"{median(ours):.0f}",
            "by the client itself": f"{median(own):.0f}",
            "times": f"{median(a / b for a, b in zip(ours, own, strict=True)):.2f}",
        }
        for under_way, (ours, own) in found.items()
    ]
    command = f"./dev bench bind --pods {options.pods} --rounds {options.rounds}"
    data = {"rounds": {str(key): value for key, value in found.items()}}
    print(reports.write("bind", "Bindings", command, {"Bindings a second": rows}, data))


if __name__ == "__main__":
    main()
