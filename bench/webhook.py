"""How much longer a pod's admission takes than the least that a webhook can do.

Two paths of one server on TLS, asked in turn at a fixed rate: the webhook's own, with 100 policies,
and one that decodes the review and allows it. Prints p50 and p99 of both and their ratios.
"""

import asyncio
import json
import multiprocessing
import socket
import ssl
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import aiohttp
import msgspec
import uvloop
from aiohttp import web

from certificates.making import new_authority, new_certificate
from harness import reports
from spillover.api import ack
from spillover.api.admission import AdmissionAnswer, AdmissionResponse, AdmissionReview
from spillover.api.kubernetes import TemplatedWorkload
from spillover.core.admission.mutate import AdmissionDefaults
from spillover.core.cache.policy_index import PolicyIndex
from spillover.core.dialects import load
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.nodes import NodeIndex
from spillover.kube.binding_keys import PolicyJudge
from spillover.kube.readiness import Readiness
from spillover.serving.certificates import Served
from spillover.serving.http import serve
from webhook.admitting import Admitting
from webhook.app import admission_app
from webhook.crowded import CrowdedNamespaces
from webhook.metrics import Metrics
from webhook.namespaces import Namespaces
from webhook.reviewing import Reviewing

POLICIES = 100
RATE = 200.0
SECONDS = 20.0
PATHS = ("/mutate/pods", "/least")


def policy(number: int) -> dict[str, Any]:
    units = [
        {"resource": "ecs", "max": 10, "podLabels": {"tier": "x"}},
        {"resource": "eci", "podLabels": {"tier": "x", "alibabacloud.com/eci": "true"}},
    ]
    return {
        "metadata": {"name": f"policy-{number}", "namespace": "ns", "uid": str(number),
                     "creationTimestamp": f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z"},
        "spec": {"selector": {"app": f"app-{number}"}, "units": units},
    }  # fmt: skip


def review(chance: Random) -> bytes:
    """A pod of some size, under a policy."""
    variables = [{"name": f"E{number}", "value": "x" * 40} for number in range(20)]
    requests = {"cpu": "1", "memory": "4Gi", "nvidia.com/gpu": "1"}
    container = {"image": "registry.example.com/model:1", "env": variables}
    containers = [
        {"name": f"c-{number}", "resources": {"requests": requests}, **container}
        for number in range(3)
    ]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "app-",
            "labels": {"app": f"app-{chance.randrange(POLICIES)}"},
        },
        "spec": {"schedulerName": "default-scheduler", "containers": containers},
    }
    request = {"uid": "x", "operation": "CREATE", "namespace": "ns", "object": pod}
    whole = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(whole).encode()


async def no_workloads(_: str) -> list[TemplatedWorkload]:
    return []


async def least(request: web.Request) -> web.Response:
    review = msgspec.json.decode(await request.read(), type=AdmissionReview)
    answer = AdmissionAnswer(AdmissionResponse(review.request.uid, allowed=True))
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


async def server(port: int) -> None:
    policies = PolicyIndex()
    for number in range(POLICIES):
        policies.put(load(policy(number), ack.GROUP))
    nodes = NodeIndex(NodeConventions())
    app = admission_app(
        Admitting(policies, Namespaces(), CrowdedNamespaces(lambda: 0.0), AdmissionDefaults(), ()),
        Reviewing(policies, nodes, PolicyJudge(), no_workloads),
        Readiness([]),
        Metrics(lambda: 0.0, ()),
    )
    app.add_routes([web.post("/least", least)])
    served = Served()
    now = datetime.now(UTC)
    authority = new_authority(now, timedelta(days=1))
    served.load(new_certificate(authority, ["127.0.0.1"], now, timedelta(days=1)))
    await serve(app, "127.0.0.1", port, tls=served.context)


def run_server(port: int) -> None:
    uvloop.run(server(port))


async def measure(port: int) -> dict[str, list[float]]:
    """Latencies in seconds, by path."""
    chance = Random(1)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    found: dict[str, list[float]] = {path: [] for path in PATHS}
    bodies = [review(chance) for _ in range(50)]
    url = f"https://127.0.0.1:{port}"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:

        async def ask(path: str, at: float) -> None:
            await asyncio.sleep(at - time.perf_counter())
            begun = time.perf_counter()
            async with session.post(url + path, data=chance.choice(bodies)) as answer:
                await answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{path}: {answer.status}")
            found[path].append(time.perf_counter() - begun)

        await wait_for(session, url)
        start = time.perf_counter() + 0.5
        async with asyncio.TaskGroup() as group:
            for turn in range(int(RATE * SECONDS)):
                for offset, path in enumerate(PATHS):
                    group.create_task(ask(path, start + (turn + offset / 2) / RATE))
    return {path: times[int(RATE) :] for path, times in found.items()}  # without the first second


async def wait_for(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                async with session.get(url):
                    return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)


def percentile(times: list[float], share: int) -> float:
    return statistics.quantiles(times, n=100)[share - 1]


def main() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=run_server, args=(port,))
    process.start()
    try:
        found = uvloop.run(measure(port))
    finally:
        process.terminate()
        process.join(10)
    ours, least_ = (found[path] for path in PATHS)
    rows = [
        {
            "percentile": str(share),
            "webhook, ms": f"{percentile(ours, share) * 1e3:.2f}",
            "least, ms": f"{percentile(least_, share) * 1e3:.2f}",
            "times": f"{percentile(ours, share) / percentile(least_, share):.2f}",
        }
        for share in (50, 99)
    ]
    heading = f"{len(ours)} reviews to each, {RATE:.0f} a second, {POLICIES} policies"
    title = "The webhook's answer for a pod"
    data = {
        "percentiles, seconds": {
            "webhook": statistics.quantiles(ours, n=100),
            "least": statistics.quantiles(least_, n=100),
        }
    }
    print(reports.write("webhook", title, "./dev bench webhook", {heading: rows}, data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
