"""The extender's HTTP interface, with requests as kube-scheduler 1.36 sent them (recorded/)."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Set
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from wiring import Wired

from builders import ack_policy, node, pod, virtual
from spillover.core.cache.cluster import ClusterCache
from spillover.core.decision.reasons import NOT_FIRST_CHOICE
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.policy import Policy, UnitKey
from spillover.kube.credentials import Credentials
from spillover.kube.reading import Unreadable
from spillover.kube.reflector import Reflector
from spillover.kube.session import ApiSession
from spillover.serving.health import Health, health_app

RECORDED = Path(__file__).parent / "recorded"
FILTER = (RECORDED / "filter-1.36.json").read_bytes()
BIND = (RECORDED / "bind-1.36.json").read_bytes()
UID = json.loads(BIND)["PodUID"]
JSON = {"Content-Type": "application/json"}


class Unused:
    """A sink that is never told anything."""

    def put(self, item: bytes) -> None: ...

    def drop(self, item: bytes) -> None: ...

    def key(self, item: bytes) -> bytes:
        return item

    def keep(self, listed: Set[bytes], version: int) -> None: ...

    def unreadable(self, found: Unreadable) -> None: ...


class Extender:
    """The extender's two applications around a cache that the test fills. No API server: what needs
    one is tested in tests/cluster and e2e."""

    def __init__(self) -> None:
        self.now = 0.0
        session = ApiSession(Credentials())
        self.watch = Reflector(
            session, "/api/v1/pods", bytes, Unused(), Random(1), lambda: self.now
        )  # never run: it stands for the first list and the last word of the API server
        self.watch.synced.set()
        cluster = ClusterCache(NodeConventions(), time.monotonic, time.time, lambda: 0.5)
        wired = Wired(session, cluster, [self.watch])
        self.scheduler = wired.scheduler
        self.client = TestClient(TestServer(wired.app))
        self.health = TestClient(
            TestServer(
                health_app(
                    Health(wired.ready.obstacle, wired.metrics.registry),
                    asyncio.get_running_loop(),
                )
            )
        )

    async def post(self, path: str, body: bytes) -> tuple[int, Any]:
        async with self.client.post(path, data=body, headers=JSON) as answer:
            return answer.status, json.loads(await answer.read())

    async def until_ready(self) -> None:
        """An answer is given again for a moment."""
        async with asyncio.timeout(10):
            while True:
                async with self.health.get("/readyz") as ready:
                    if ready.status == 200:
                        return
                await asyncio.sleep(0.02)


@pytest.fixture
async def extender() -> AsyncIterator[Extender]:
    extender = Extender()
    for each in ("prepaid-1", "prepaid-2"):
        extender.scheduler.cluster.put_node(node(each, pool="prepaid"))
    for each in ("postpaid-1", "postpaid-2"):
        extender.scheduler.cluster.put_node(node(each, pool="postpaid"))
    extender.scheduler.cluster.put_node(virtual("virtual"))
    async with extender.client, extender.health:
        yield extender


def inference(**unit: Any) -> Policy:
    """For the recorded pod: virtual nodes, then one pod on prepaid nodes."""
    policy = ack_policy(
        {"resource": "eci", **unit},
        {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}, "max": 1},
        selector={"app": "inference"},
    )
    return replace(policy, key=policy.key._replace(namespace="default"))


async def test_filter_answers_a_subset_of_the_names_and_reserves(extender: Extender) -> None:
    policy = inference(max=0)
    extender.scheduler.cluster.put_policy(policy)
    status, answer = await extender.post("/filter", FILTER)
    assert status == 200
    assert answer == {"NodeNames": ["prepaid-1", "prepaid-2"]}
    taken = extender.scheduler.cluster.ledger.usage(
        UnitKey(policy.key, policy.units[1].identity), ""
    ).pods
    assert taken == 1


async def test_filter_gives_every_rejected_node_its_reason_and_no_error(extender: Extender) -> None:
    policy = inference(max=0)
    extender.scheduler.cluster.put_policy(policy)
    extender.scheduler.place(
        pod("first", namespace="default", labels={"app": "inference"}), ["prepaid-1"]
    )
    status, answer = await extender.post("/filter", FILTER)
    full = "ecs is at its max of 1"
    none = "node(s) belong to no unit of ResourcePolicy policy"
    assert (status, answer) == (
        200,
        {
            "NodeNames": [],
            "FailedAndUnresolvableNodes": {
                "prepaid-1": full,
                "prepaid-2": full,
                "virtual": "eci is at its max of 0",
                "postpaid-1": none,
                "postpaid-2": none,
            },
        },
    )


async def test_a_pod_at_a_known_version_is_the_known_pod(extender: Extender) -> None:
    """What else the request says of this version is not read again."""
    metadata = json.loads(FILTER)["Pod"]["metadata"]
    extender.scheduler.cluster.put_policy(inference(max=0))
    known = pod(UID, namespace="default", labels={}, version=int(metadata["resourceVersion"]))
    extender.scheduler.cluster.put_pod(known)
    _, answer = await extender.post("/filter", FILTER)
    assert answer == {"NodeNames": ["prepaid-1", "postpaid-1", "prepaid-2", "postpaid-2"]}


async def test_a_nomination_that_only_the_scheduler_knows_is_read(extender: Extender) -> None:
    """It asks about the nominated node alone, and gets no answer yet."""
    request = json.loads(FILTER)
    request["Pod"]["status"]["nominatedNodeName"] = "postpaid-1"
    request["NodeNames"] = ["postpaid-1"]
    extender.scheduler.cluster.put_policy(
        replace(
            policy := ack_policy({"resource": "eci"}, {"resource": "ecs"}, selector={}),
            key=policy.key._replace(namespace="default"),
        )
    )
    version = int(request["Pod"]["metadata"]["resourceVersion"])
    extender.scheduler.cluster.put_pod(pod(UID, namespace="default", version=version))
    _, answer = await extender.post("/filter", json.dumps(request).encode())
    assert list(answer["FailedAndUnresolvableNodes"].values()) == [NOT_FIRST_CHOICE]


async def test_a_pod_without_a_policy_passes(extender: Extender) -> None:
    _, answer = await extender.post("/filter", FILTER)
    assert answer == {"NodeNames": ["prepaid-1", "postpaid-1", "prepaid-2", "postpaid-2"]}


async def test_a_pod_that_is_bound_already_is_a_scheduler_error_not_a_rejection(
    extender: Extender,
) -> None:
    extender.scheduler.cluster.put_pod(pod(UID, namespace="default", node="prepaid-1"))
    assert await extender.post("/filter", FILTER) == (200, {"Error": "the pod is bound already"})
    assert await extender.post("/bind", BIND) == (200, {"Error": "the pod is bound already"})


async def test_bind_of_a_pod_that_nobody_knows(extender: Extender) -> None:
    answer = {"Error": "the pod is not known to Spillover yet"}
    assert await extender.post("/bind", BIND) == (200, answer)


@pytest.mark.parametrize("path", ["/filter", "/bind"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"Pod": 7}', FILTER[:500], b'{"PodName": 1}', b"\xff"]
)
async def test_bad_requests_are_answered_with_what_is_wrong(
    extender: Extender, path: str, body: bytes
) -> None:
    status, answer = await extender.post(path, body)
    assert status == 400
    assert answer["error"].startswith(("FilterArgs: ", "BindArgs: "))
    assert extender.scheduler.cluster.ledger.reservations() == 0


async def test_a_pod_without_a_version_is_an_extender_error(extender: Extender) -> None:
    request = json.loads(FILTER)
    del request["Pod"]["metadata"]["resourceVersion"]
    status, answer = await extender.post("/filter", json.dumps(request).encode())
    assert status == 200
    assert answer["Error"].startswith("Pod.metadata.resourceVersion: ")


async def test_too_large_and_wrong_method(extender: Extender) -> None:
    body = io.BytesIO(b" " * (17 * 2**20))
    async with extender.client.post("/filter", data=body) as refused:
        assert refused.status == 413
        assert "error" in await refused.json()
    async with extender.client.get("/filter") as got:
        assert got.status == 405


async def test_filter_waits_for_the_first_lists(extender: Extender) -> None:
    extender.watch.synced.clear()
    asking = asyncio.create_task(extender.post("/filter", FILTER))
    async with extender.health.get("/readyz") as ready, extender.health.get("/healthz") as live:
        assert (ready.status, live.status) == (503, 200)
    assert not asking.done()
    extender.watch.synced.set()
    status, _ = await asking
    assert status == 200
    await extender.until_ready()


async def test_metrics(extender: Extender) -> None:
    await extender.post("/filter", FILTER)
    async with extender.health.get("/metrics") as answer:
        text = await answer.text()
    assert 'spillover_filter_decisions_total{outcome="passed"} 1.0' in text
    assert "spillover_filter_seconds_count 1.0" in text
    assert "spillover_reservations 1.0" in text


async def test_readiness_is_lost_with_the_api_server_and_comes_back(extender: Extender) -> None:
    extender.now = 151.0
    async with extender.health.get("/readyz") as ready, extender.health.get("/healthz") as live:
        assert (ready.status, live.status) == (503, 200)
        assert await ready.text() == "nothing heard of /api/v1/pods for 151 s\n"
    extender.now = 149.0
    await extender.until_ready()
