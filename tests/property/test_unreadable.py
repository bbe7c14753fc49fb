"""Whatever one object contains, the reflector takes in all others: lists and watch lines with
objects that nobody can read among ordinary ones, in virtual time."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Set
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import looptime
import msgspec
import pytest

from spillover.api.kubernetes import PodObject
from spillover.core.model.pods import Pod, pod_from_wire, unreadable_pod
from spillover.kube.reading import Unreadable
from spillover.kube.reflector import Limits, Reflector
from spillover.kube.session import ApiSession

Object = dict[str, Any]
PATH = "/api/v1/pods"
DEEP = '{"f":' * 9_990 + "0" + "}" * 9_990


def pod(number: int, version: int) -> Object:
    return {
        "kind": "Pod",
        "metadata": {
            "name": f"pod-{number}",
            "namespace": "all",
            "uid": f"uid-{number}",
            "resourceVersion": str(version),
            "labels": {"app": "all"},
        },
        "spec": {
            "schedulerName": "s",
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}],
        },
        "status": {"phase": "Pending"},
    }


def bad(number: int, version: int, chance: Random) -> bytes:
    """The JSON of a pod that does not decode, or hardly."""
    broken = pod(number, version)
    container = broken["spec"]["containers"][0]
    match chance.randrange(7):
        case 0:
            container["resources"]["requests"]["cpu"] = chance.choice(["", "1K", "ten", "1e", "٣"])
        case 1:
            container["name"] = chance.choice([1, [], {}, True])
        case 2:
            broken["spec"] = chance.choice([[], "x", 7])
        case 3:
            broken["spec"]["priority"] = 2**70
        case 4:
            broken["status"] = {"conditions": [{"type": 1}]}
        case 5:
            broken["spec"]["tolerations"] = [{"key": None}]
        case _:
            text = json.dumps(broken)
            at = text.index('"labels"')
            return f'{text[:at]}"managedFields": [{DEEP}], {text[at:]}'.encode()
    return json.dumps(broken).encode()


class Server(ApiSession):
    """Objects as raw JSON, with every event since the beginning. A line may be anything; after it
    the API server ends the stream."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.lines: list[tuple[int, bytes]] = []
        self.version = 0
        self.news = asyncio.Event()

    def write(self, number: int, raw: bytes, kind: str = "MODIFIED", line: bytes = b"") -> None:
        self.stored[f"pod-{number}"] = raw
        if kind == "DELETED":
            del self.stored[f"pod-{number}"]
        event = b'{"type":"%s","object":%s}\n' % (kind.encode(), raw)
        self.lines.append((self.version, line or event))
        self.news.set()

    async def request(self, method: str, path: str, **_: object) -> bytes:
        assert (method, path) == ("GET", PATH)
        return b'{"kind":"PodList","metadata":{"resourceVersion":"%d"},"items":[%s]}' % (
            self.version,
            b",".join(self.stored.values()),
        )

    @asynccontextmanager
    async def stream(
        self, path: str, *, params: Mapping[str, str], idle_seconds: float
    ) -> AsyncGenerator[Any, None]:
        assert path == PATH
        assert idle_seconds > 0
        yield Lines(self, int(params["resourceVersion"]))


class Lines:
    def __init__(self, server: Server, version: int) -> None:
        self._server = server
        self._version = version

    async def iter_any(self) -> AsyncGenerator[bytes, None]:
        while True:
            self._server.news.clear()
            for version, line in self._server.lines:
                if version > self._version:
                    yield line
                    self._version = version
            await self._server.news.wait()


class Pods:
    """A sink, with what stands for pods that do not decode."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self.bad: set[str] = set()

    def put(self, item: Pod) -> None:
        self.known[item.name] = item.version
        (self.bad.add if item.unreadable else self.bad.discard)(item.name)

    def drop(self, item: Pod) -> None:
        self.known.pop(item.name, None)
        self.bad.discard(item.name)

    def key(self, item: Pod) -> str:
        return item.name

    def keep(self, listed: Set[str], version: int) -> None:
        assert version >= 0
        for name in self.known.keys() - listed:
            del self.known[name]

    def unreadable(self, found: Unreadable) -> Pod:
        return unreadable_pod(found.identity, found.reason, None)


def decode(raw: bytes | msgspec.Raw) -> Pod:
    return pod_from_wire(msgspec.json.decode(raw, type=PodObject))


def make(server: Server, sink: Pods) -> Reflector[Pod]:
    clock = asyncio.get_running_loop().time
    return Reflector(server, PATH, decode, sink, Random(1), clock, Limits(silence=100.0))


async def until(what: Any, seconds: float = 600.0) -> None:
    async with asyncio.timeout(seconds):
        while not what():  # noqa: ASYNC110 - in virtual time
            await asyncio.sleep(0.05)


def in_virtual_time(main: Any) -> None:
    loop = looptime.new_event_loop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main)


def test_objects_that_do_not_decode_keep_no_others_back(*, full: bool) -> None:
    """Events, and a list at the end of them."""
    count = 100_000 if full else 4_000
    in_virtual_time(events(count))


async def events(count: int) -> None:
    chance = Random(11)
    server, sink = Server(), Pods()
    reflector = make(server, sink)
    running = asyncio.create_task(reflector.run())
    await until(reflector.synced.is_set)
    broken: set[int] = set()
    for server.version in range(1, count + 1):
        number = chance.randrange(60)
        kind = "DELETED" if chance.random() < 0.1 and f"pod-{number}" in server.stored else "ADDED"
        if chance.random() < 0.5:
            server.write(number, bad(number, server.version, chance), kind)
            broken.add(number)
        else:
            raw = json.dumps(pod(number, server.version)).encode()
            server.write(number, raw, kind)
            broken.discard(number)
        if kind == "DELETED":
            broken.discard(number)
        if server.version % 50 == 0:
            await until(lambda: sink.known == newest(server))
            assert {f"pod-{n}" for n in broken} >= sink.bad
            assert {found.identity.name for found in reflector.unreadable.values()} == sink.bad
            del server.lines[:]
    running.cancel()
    again = Pods()
    second = make(server, again)
    running = asyncio.create_task(second.run())
    await until(second.synced.is_set)
    assert again.known == newest(server)
    assert again.bad == sink.bad
    running.cancel()


def newest(server: Server) -> dict[str, int]:
    """By name, found without decoding."""
    key = b'"resourceVersion": "'
    return {
        name: int(raw[(at := raw.index(key) + len(key)) : raw.index(b'"', at)])
        for name, raw in server.stored.items()
    }


@pytest.mark.parametrize("line", [b'{"type":"MODI\n', b"\xff\xfe\n", b"[]\n", b"{}\n", b""])
def test_a_line_that_ends_every_stream_is_passed_by_a_list(line: bytes) -> None:
    """The API server cannot send an event, and ends the stream at it, again and again."""
    in_virtual_time(poisoned(line))


async def poisoned(line: bytes) -> None:
    server, sink = Server(), Pods()
    reflector = make(server, sink)
    running = asyncio.create_task(reflector.run())
    await until(reflector.synced.is_set)
    server.version = 1
    server.write(1, json.dumps(pod(1, 1)).encode())
    await until(lambda: sink.known == {"pod-1": 1})
    server.version = 2
    server.write(2, json.dumps(pod(2, 2)).encode(), line=line or b'{"type":"ERROR","object":{}}\n')
    server.version = 3
    server.write(3, json.dumps(pod(3, 3)).encode())
    await until(lambda: sink.known == {"pod-1": 1, "pod-2": 2, "pod-3": 3}, 60)
    assert reflector.relists == 2
    running.cancel()


async def test_a_page_with_one_bad_object_is_read_but_for_that() -> None:
    server, sink = Server(), Pods()
    server.version = 9
    for number in range(5):
        server.stored[f"pod-{number}"] = json.dumps(pod(number, number + 1)).encode()
    server.stored["pod-2"] = bad(2, 3, Random(3))
    reflector = make(server, sink)
    running = asyncio.create_task(reflector.run())
    async with asyncio.timeout(10):
        await reflector.synced.wait()
    assert sink.known == {f"pod-{number}": number + 1 for number in range(5)}
    assert [found.identity.name for found in reflector.unreadable.values()] == ["pod-2"]
    running.cancel()
