"""The reflector against an API server and a network that fail in every way, in virtual time: once
they behave again it has missed nothing, and meanwhile it does not storm them."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Set
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any, cast

import aiohttp
import looptime
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillover.kube.credentials import Credentials
from spillover.kube.reading import Unreadable
from spillover.kube.reflector import Limits, Reflector
from spillover.kube.session import ApiError, ApiSession, NoAnswerError

Object = dict[str, Any]

PAGE = 3
BOOKMARK_SECONDS = 60.0
LONGEST_SILENCE = 150.0
MOST_REQUESTS_IN_TEN_SECONDS = 60
"""Up to three pages and a watch for each try, and of those about a dozen: five while the waits grow
to 5 s, then one in 2.5 s on average."""

REQUEST_FAULTS = ["none", "lost", "429", "500", "410", "html", "wrong-kind", "no-version"]
STREAM_FAULTS = ["none", "none", "cut", "torn", "silent", "html", "410", "500", "unknown"]


class ModelSession(ApiSession):
    """An API server with ConfigMaps, and the network before it. `faults` are dealt out to requests
    one by one; when they are used up, all is well, unless `forgetful`: then no list stays until its
    second page is asked for."""

    def __init__(self, loop_time: Any, *, forgetful: bool) -> None:
        super().__init__(Credentials())
        self.forgetful = forgetful
        self.starts = 0
        self.opened = 0
        self.now = loop_time
        self.version = 10
        self.oldest = 0
        self.objects: dict[str, Object] = {}
        self.history: list[tuple[int, str, Object]] = []
        self.snapshots: dict[str, tuple[list[Object], int]] = {}
        self.faults: list[tuple[str, str, int]] = []
        self.times: list[float] = []
        self.changed = asyncio.Condition()

    def fault(self) -> tuple[str, str, int]:
        """For a request, for a stream, and how far the stream gets."""
        self.times.append(self.now())
        return self.faults.pop() if self.faults else ("none", "none", 0)

    # --- what users do ---------------------------------------------------------------------------

    async def write(self, name: str, *, delete: bool) -> None:
        self.version += 1
        there = name in self.objects
        if delete and not there:
            return
        metadata = {"name": name, "resourceVersion": str(self.version)}
        item: Object = {"metadata": metadata, "data": {"at": str(self.version)}}
        kind = "DELETED" if delete else ("MODIFIED" if there else "ADDED")
        if delete:
            del self.objects[name]
        else:
            self.objects[name] = item
        self.history.append((self.version, kind, item))
        async with self.changed:
            self.changed.notify_all()

    async def restart(self) -> None:
        """Streams end, and all but the present is forgotten: an older version is a 410."""
        self.starts += 1
        self.oldest = self.version
        self.snapshots.clear()
        async with self.changed:
            self.changed.notify_all()

    # --- what the reflector asks -----------------------------------------------------------------

    async def request(  # type: ignore[override]  # the reflector uses no more
        self, method: str, path: str, *, params: Mapping[str, str] | None = None
    ) -> bytes:
        assert (method, path) == ("GET", "/things")
        fault, _, _ = self.fault()
        await asyncio.sleep(0.01)
        match fault:
            case "lost":
                raise NoAnswerError("lost")
            case "429":
                raise ApiError(429, "TooManyRequests", "", retry_after=1.0)
            case "500" | "410":
                raise ApiError(int(fault), "", "")
            case "html":
                return b"<html>bad gateway</html>"
            case "wrong-kind":
                return b'{"kind": "Status", "metadata": {"resourceVersion": "99"}}'
            case "no-version":
                return b'{"kind": "ThingList", "metadata": {}, "items": []}'
        return self._page(params or {})

    def _page(self, params: Mapping[str, str]) -> bytes:
        token = params.get("continue", "")
        if token and (self.forgetful or token not in self.snapshots):
            raise ApiError(410, "Expired", "")
        items, version = self.snapshots.get(token, (list(self.objects.values()), self.version))
        limit = int(params.get("limit", "1000000"))
        metadata = {"resourceVersion": str(version)}
        if items[limit:]:
            metadata["continue"] = f"{version}-{len(items[limit:])}"
            self.snapshots[metadata["continue"]] = (items[limit:], version)
        return json.dumps(
            {"kind": "ThingList", "metadata": metadata, "items": items[:limit]}
        ).encode()

    @asynccontextmanager
    async def stream(
        self, path: str, *, params: Mapping[str, str], idle_seconds: float
    ) -> AsyncGenerator[aiohttp.StreamReader, None]:
        assert path == "/things"
        status, fault, length = self.fault()
        await asyncio.sleep(0.01)
        if status in ("429", "500", "410"):
            raise ApiError(int(status), "", "")
        if status == "lost":
            raise NoAnswerError("lost")
        since = int(params["resourceVersion"])
        if since < self.oldest:
            fault, length = "410", 0
        ends = self.now() + int(params["timeoutSeconds"])
        content = _Content(self, since, fault, length, idle_seconds, ends)
        self.opened += 1
        yield cast("aiohttp.StreamReader", content)


class _Content:
    """The lines of one stream, in pieces; after `length` of them the fault."""

    def __init__(
        self,
        session: ModelSession,
        since: int,
        fault: str,
        length: int,
        idle: float,
        ends: float,
    ) -> None:
        self._session = session
        self._since = since
        self._fault = fault
        self._length = length
        self._idle = idle
        self._ends = ends
        self._begun = session.starts

    async def iter_any(self) -> AsyncGenerator[bytes, None]:
        sent = 0
        while self._fault == "none" or sent < self._length:
            line = await self._next_line()
            if not line:
                return  # its time is over
            yield line[: len(line) // 2]
            yield line[len(line) // 2 :]
            sent += 1
        match self._fault:
            case "cut":
                return
            case "torn":
                yield (await self._next_line())[:-7]
                raise NoAnswerError("reset")
            case "silent":
                await asyncio.sleep(self._idle)
                raise NoAnswerError("silent")
            case "html":
                yield b"<html>bad gateway</html>\n"
            case "unknown":
                yield b'{"type": "WHAT", "object": {"metadata": {"resourceVersion": "999999"}}}\n'
            case code:
                status = {"kind": "Status", "code": int(code), "reason": "", "message": ""}
                yield json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"

    async def _next_line(self) -> bytes:
        """The next event, a bookmark after a minute without one, or nothing at the stream's end."""
        session = self._session
        left = max(0.0, self._ends - session.now())
        try:
            async with asyncio.timeout(min(left, BOOKMARK_SECONDS)), session.changed:
                await session.changed.wait_for(
                    lambda: session.version > self._since or session.starts > self._begun
                )
        except TimeoutError:
            if session.now() >= self._ends - 0.001:
                return b""
            bookmark = {"metadata": {"resourceVersion": str(self._since)}}
            return json.dumps({"type": "BOOKMARK", "object": bookmark}).encode() + b"\n"
        if session.starts > self._begun:
            raise NoAnswerError("reset")
        for version, kind, item in session.history:
            if version > self._since:
                self._since = version
                return json.dumps({"type": kind, "object": item}).encode() + b"\n"
        self._since = session.version
        return await self._next_line()


class Mirror:
    """What the reflector has told, by name."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.newest: dict[str, int] = {}

    def put(self, item: Object) -> None:
        self._grows(item)
        self.objects[item["metadata"]["name"]] = item

    def drop(self, item: Object) -> None:
        self._grows(item)
        self.objects.pop(item["metadata"]["name"], None)

    def _grows(self, item: Object) -> None:
        """No object goes back to what it was, whichever stream or list brings it."""
        name, version = item["metadata"]["name"], int(item["metadata"]["resourceVersion"])
        assert version >= self.newest.get(name, 0)
        self.newest[name] = version

    def unreadable(self, found: Unreadable) -> None:
        raise AssertionError(f"nothing here is unreadable: {found}")

    def key(self, item: Object) -> str:
        name: str = item["metadata"]["name"]
        return name

    def keep(self, listed: Set[str], version: int) -> None:
        assert version > 0
        self.objects = {name: item for name, item in self.objects.items() if name in listed}


names = st.sampled_from([f"thing-{n}" for n in range(8)])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), names),
        st.tuples(st.just("delete"), names),
        st.tuples(st.just("restart"), st.just("")),
        st.tuples(st.just("wait"), st.sampled_from(["0.01", "0.3", "3", "70", "200"])),
    ),
    max_size=40,
)
faults = st.lists(
    st.tuples(st.sampled_from(REQUEST_FAULTS), st.sampled_from(STREAM_FAULTS), st.integers(0, 4)),
    max_size=40,
)


streams = st.sampled_from([(5, 10), (240, 480)])
"""Renewed among the faults, or hardly ever."""


async def play(
    steps: list[tuple[str, str]],
    faults: list[tuple[str, str, int]],
    seed: int,
    *,
    forgetful: bool,
    stream: tuple[int, int],
) -> None:
    clock = asyncio.get_running_loop().time
    session, mirror = ModelSession(clock, forgetful=forgetful), Mirror()
    session.faults = list(faults)
    decode = partial(msgspec.json.decode, type=dict[str, Any])
    limits = Limits(page=PAGE, silence=LONGEST_SILENCE, stream=stream)
    reflector = Reflector(session, "/things", decode, mirror, Random(seed), clock, limits)
    running = asyncio.create_task(reflector.run())
    for step, what in steps:
        match step:
            case "write" | "delete":
                await session.write(what, delete=step == "delete")
            case "restart":
                await session.restart()
            case "wait":
                await asyncio.sleep(float(what))
    session.faults.clear()
    # A silent stream is given up, a wait ends, and a list takes a moment.
    await asyncio.sleep(LONGEST_SILENCE + 60)
    running.cancel()
    (error,) = await asyncio.gather(running, return_exceptions=True)
    assert isinstance(error, asyncio.CancelledError), error
    assert reflector.synced.is_set()
    assert mirror.objects == session.objects
    for index, begun in enumerate(session.times):
        within = sum(1 for time in session.times[index:] if time < begun + 10)
        assert within <= MOST_REQUESTS_IN_TEN_SECONDS


@pytest.mark.timeout(1800)  # of the full count
@pytest.mark.filterwarnings("ignore::looptime.TimeWarning")
def test_nothing_is_missed_whatever_fails(*, full: bool) -> None:
    @settings(max_examples=20_000 if full else 600, deadline=None)
    @given(steps, faults, st.integers(0, 2**16), st.booleans(), streams)
    def explore(
        steps: list[tuple[str, str]],
        faults: list[tuple[str, str, int]],
        seed: int,
        forgetful: bool,
        stream: tuple[int, int],
    ) -> None:
        with asyncio.Runner(loop_factory=partial(looptime.new_event_loop, start=0)) as runner:
            runner.run(play(steps, faults, seed, forgetful=forgetful, stream=stream))

    explore()


@pytest.mark.filterwarnings("ignore::looptime.TimeWarning")
def test_watches_are_renewed_without_a_gap() -> None:
    """Twenty times, beside 50 changes a second: it is current throughout, and takes in each change
    once and in order."""
    with asyncio.Runner(loop_factory=partial(looptime.new_event_loop, start=0)) as runner:
        runner.run(renewed())


async def renewed() -> None:
    clock = asyncio.get_running_loop().time
    session = ModelSession(clock, forgetful=False)
    versions: list[int] = []

    class Told(Mirror):
        def put(self, item: Object) -> None:
            versions.append(int(item["metadata"]["resourceVersion"]))
            super().put(item)

    mirror = Told()
    decode = partial(msgspec.json.decode, type=dict[str, Any])
    limits = Limits(page=PAGE, stream=(5, 10))
    reflector = Reflector(session, "/things", decode, mirror, Random(1), clock, limits)
    running = asyncio.create_task(reflector.run())
    async with asyncio.timeout(300):
        await reflector.synced.wait()
        await asyncio.sleep(1)
        first, number = session.opened, 0
        while session.opened < first + 20:
            await session.write(f"thing-{number % 8}", delete=False)
            await asyncio.sleep(0.02)
            number += 1
            assert reflector.is_current(), f"after {number} changes"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert mirror.objects == session.objects
    assert versions == list(range(versions[0], session.version + 1))
    assert reflector.relists == 1
