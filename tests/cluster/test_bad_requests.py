"""Whatever is sent to the extender is answered, never with a 5xx, and what is refused changes
nothing. On a real API server, for a mutated request may be a right one."""

import asyncio
import copy
import gzip
import io
import json
import logging
import socket
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wiring import Wired

from builders import ack_policy, node, virtual
from extender.app import LARGEST_REQUEST
from harness.cluster import Cluster
from mutations import mutated
from spillover.api.kubernetes import PodObject
from spillover.core.cache.cluster import ClusterCache
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.pods import pod_from_wire
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiSession
from spillover.serving.http import serve
from subject import Subject

RECORDED = Path(__file__).parents[1] / "contract" / "recorded"
FILTER = json.loads((RECORDED / "filter-1.36.json").read_bytes())
BIND = json.loads((RECORDED / "bind-1.36.json").read_bytes())
BATCH = 50

Change = Callable[[Random, bytes], bytes]


CONVENTIONS = NodeConventions(schedulers=frozenset({"nobody", "spillover-scheduler"}))


class Target:
    """The extender's application with a cache of one policy, three nodes and one pod."""

    def __init__(self, session: ApiSession) -> None:
        cluster = ClusterCache(CONVENTIONS, time.monotonic, time.time, lambda: 0.5)
        wired = Wired(session, cluster)
        self.scheduler, self.app = wired.scheduler, wired.app
        for each in (node("prepaid-1", pool="prepaid"), node("postpaid-1"), virtual("virtual")):
            cluster.put_node(each)
        cluster.put_policy(ack_policy({"resource": "eci", "max": 3}))
        self.client = aiohttp.ClientSession()
        self.port = _free_port()
        self.requests = self.refused = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answers(self) -> None:
        """Waits until it is served."""
        async with asyncio.timeout(10):
            while True:
                try:
                    async with self.client.get(self.url):
                        return
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.01)

    def state(self) -> tuple[int, int, int]:
        ledger = self.scheduler.cluster.ledger
        return ledger.reservations(), ledger.bindings(), len(self.scheduler.cluster.waiting)

    async def send(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        """Sends it and checks what holds for every request."""
        before = self.state()
        data = io.BytesIO(body)
        async with self.client.request(
            method, self.url + path, data=data, headers=headers
        ) as answer:
            content = await answer.read()
        self.requests += 1
        assert answer.status < 500, (answer.status, content, method, path, body[:2000])
        if answer.status != 200 or b'"Error"' in content:
            self.refused += 1
            assert self.state() == before, (content, body[:2000])
        if answer.status != 200 and method != "HEAD" and b"Bad Request" not in content:
            assert json.loads(content)["error"], (answer.status, content)
        return answer.status, content


@asynccontextmanager
async def target(cluster: Cluster) -> AsyncIterator[Target]:
    async with ApiSession(Credentials(cluster.kubeconfig)) as session:
        it = Target(session)
        async with it.client:
            serving = asyncio.create_task(serve(it.app, "127.0.0.1", it.port))
            await it.answers()
            yield it
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- one by one ----------------------------------------------------------------------------------


def without(document: Any, key: str, **more: Any) -> bytes:
    return json.dumps({**{k: v for k, v in document.items() if k != key}, **more}).encode()


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/filter", b"", "FilterArgs: "),
        ("/filter", json.dumps(FILTER).encode()[:700], "FilterArgs: "),
        ("/filter", b"\xff\xfe", "FilterArgs: "),
        ("/filter", b"[" * 100_000, "FilterArgs: "),
        ("/filter", without(FILTER, "Pod"), "FilterArgs: Object missing required field `Pod`"),
        ("/filter", without(FILTER, "Pod", Pod=None), "FilterArgs: Expected `object`, got `null`"),
        (
            "/filter",
            without(FILTER, "NodeNames", Nodes={"items": []}),
            "the scheduler's configuration must say nodeCacheCapable: true",
        ),
        (
            "/filter",
            without(FILTER, "NodeNames", NodeNames=None, Nodes={"items": []}),
            "the scheduler's configuration must say nodeCacheCapable: true",
        ),
        ("/filter", without(FILTER, "NodeNames", NodeNames=[1]), "Expected `str`, got `int`"),
        ("/bind", without(BIND, "Node"), "BindArgs: Object missing required field `Node`"),
        ("/bind", without(BIND, "Node", Node=7), "BindArgs: Expected `str`, got `int`"),
    ],
)
async def test_a_bad_request_is_a_400_that_says_what_is_wrong(
    bare_cluster: Cluster, path: str, body: bytes, says: str
) -> None:
    async with target(bare_cluster) as it:
        status, content = await it.send("POST", path, body, {})
        assert status == 400
        assert says in json.loads(content)["error"]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("resourceVersion", "", "Pod.metadata.resourceVersion: '' is not a version"),
        ("resourceVersion", "-1", "Pod.metadata.resourceVersion: '-1' is not a version"),
        ("resourceVersion", "9" * 30, "is not a version"),
        ("uid", "", "Pod.metadata.uid is missing"),
        ("name", "", "Pod.metadata.name is missing"),
        ("namespace", None, "Pod.metadata.namespace is missing"),
    ],
)
async def test_a_pod_that_no_api_server_sends_is_an_extender_error(
    bare_cluster: Cluster, field: str, value: str | None, says: str
) -> None:
    request = copy.deepcopy(FILTER)
    request["Pod"]["metadata"].pop(field)
    if value is not None:
        request["Pod"]["metadata"][field] = value
    async with target(bare_cluster) as it:
        status, content = await it.send("POST", "/filter", json.dumps(request).encode(), {})
        assert status == 200
        assert says in json.loads(content)["Error"]


async def test_wrong_verbs_and_paths(bare_cluster: Cluster) -> None:
    async with target(bare_cluster) as it:
        for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD"):
            assert (await it.send(method, "/filter", b"", {}))[0] == 405
        assert (await it.send("POST", "/prioritize", b"{}", {}))[0] == 404


async def test_20_mb(bare_cluster: Cluster) -> None:
    async with target(bare_cluster) as it:
        assert (await it.send("POST", "/filter", b" " * 20_000_000, {}))[0] == 413
        # What is small on the way and large in memory is not unpacked.
        bomb = gzip.compress(b" " * (LARGEST_REQUEST + 1))
        headers = {"Content-Encoding": "gzip"}
        assert (await it.send("POST", "/filter", bomb, headers))[0] == 415


async def test_unknown_fields_pods_and_nodes_are_handled(bare_cluster: Cluster) -> None:
    request = copy.deepcopy(FILTER)
    request["Later"] = {"version": 2}
    request["Pod"]["spec"]["later"] = [{}]
    request["NodeNames"] = ["prepaid-1", "unheard-of"]
    async with target(bare_cluster) as it:
        status, content = await it.send("POST", "/filter", json.dumps(request).encode(), {})
        assert (status, json.loads(content)) == (200, {"NodeNames": ["prepaid-1"]})
        request["NodeNames"] = ["unheard-of"]
        _, content = await it.send("POST", "/filter", json.dumps(request).encode(), {})
        failed = json.loads(content)["FailedAndUnresolvableNodes"]
        assert failed == {"unheard-of": "node(s) not known to Spillover yet"}


async def test_a_client_that_hangs_up_does_not_stop_its_binding(
    bare_cluster: Cluster, namespace: str
) -> None:
    one = Subject(bare_cluster, namespace, "one", labels={"app": "none"})
    async with target(bare_cluster) as it:
        it.scheduler.cluster.put_pod(_as_seen(one))
        body = json.dumps(
            {
                "PodName": "one",
                "PodNamespace": namespace,
                "PodUID": one.now()["metadata"]["uid"],
                "Node": "prepaid-1",
            }
        ).encode()
        _, writer = await asyncio.open_connection("127.0.0.1", it.port)
        writer.write(b"POST /bind HTTP/1.1\r\nHost: it\r\nContent-Length: %d\r\n\r\n" % len(body))
        writer.write(body)
        await writer.drain()
        writer.transport.abort()
        async with asyncio.timeout(30):
            while await asyncio.to_thread(one.node) != "prepaid-1":  # noqa: ASYNC110 - nor kubectl
                await asyncio.sleep(0.1)
            while it.scheduler.cluster.ledger.bindings():  # noqa: ASYNC110 - the ledger tells nobody
                await asyncio.sleep(0.02)
        uid = one.now()["metadata"]["uid"]
        assert it.scheduler.cluster.ledger.is_bound(uid)


# --- by chance -----------------------------------------------------------------------------------


def request(chance: Random, documents: dict[str, Any]) -> tuple[str, str, bytes, dict[str, str]]:
    path = chance.choice(list(documents))
    method = chance.choice(["POST"] * 30 + ["GET", "PUT", "HEAD", "DELETE", "OPTIONS"])
    body = mutated(chance, documents[chance.choice([path] * 9 + list(documents))])
    headers = {}
    match chance.randrange(20):
        case 0:
            headers["Content-Encoding"] = chance.choice(["gzip", "deflate", "br", "zstd", "no"])
        case 1:
            headers["Content-Encoding"] = "deflate"
            body = zlib.compress(body)[: chance.choice([None, 20, -3])]
        case 2:
            headers["Content-Type"] = chance.choice(["text/plain", "multipart/form-data", "x", ""])
        case 3:
            path = chance.choice(["/", "/filter/", "/filter?x=%00", "/bind#", "/metrics", "//bind"])
        case 4:
            headers["Expect"] = "100-continue"
    return method, path, body, headers


class Complaints(logging.Handler):
    """Everything that is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(self.format(record))


@pytest.mark.timeout(3000)  # of the full count
def test_mutated_requests(bare_cluster: Cluster, namespace: str, *, full: bool) -> None:
    one = Subject(bare_cluster, namespace, "one", labels={"app": "none"})
    seen = _as_seen(one)
    ours = copy.deepcopy(FILTER)
    ours["Pod"]["metadata"] |= {  # a pod that the watch has yet to show
        "namespace": "ns", "labels": {"app": "app"}, "resourceVersion": str(seen.version + 1000),
    }  # fmt: skip
    ours["NodeNames"] = ["virtual", "prepaid-1"]
    bind = {"PodName": "one", "PodNamespace": namespace, "PodUID": seen.uid, "Node": "prepaid-1"}
    complaints = Complaints()
    logging.getLogger().addHandler(complaints)
    try:
        with asyncio.Runner() as runner:
            context = target(bare_cluster)
            it = runner.run(context.__aenter__())
            it.scheduler.cluster.put_pod(seen)

            async def send(chance: Random) -> None:
                for _ in range(BATCH):
                    try:
                        await it.send(*request(chance, {"/filter": ours, "/bind": bind}))
                    except (aiohttp.InvalidURL, ValueError):
                        continue  # the client itself refuses to send it

            @settings(max_examples=2000 if full else 60, deadline=None, database=None)
            @given(st.integers(0, 2**64))
            def explore(seed: int) -> None:
                runner.run(send(Random(seed)))

            explore()
            runner.run(context.__aexit__(None, None, None))
    finally:
        logging.getLogger().removeHandler(complaints)
    print(f"{it.requests} requests answered, {it.refused} of them refused")
    assert it.requests >= BATCH * (1900 if full else 50)
    assert complaints.records == []


def _as_seen(subject: Subject) -> Any:
    return pod_from_wire(msgspec.json.decode(json.dumps(subject.now()), type=PodObject))
