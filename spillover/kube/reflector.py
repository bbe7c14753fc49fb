"""Keeps a sink in step with one resource of the API server: list in pages, then watch, for ever.

    list ──ok──▶ watch ──stream ends, or breaks──▶ wait ──▶ watch from the last version seen
      ▲            │
      └── wait ◀───┴── 410 Gone: that version is no longer kept

Every wait is jittered, and longer after each failure in a row.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from random import Random
from typing import Generic, NoReturn, Protocol, TypeVar

import aiohttp
import msgspec

from spillover.kube.backoff import Backoff
from spillover.kube.session import ApiError, ApiSession, NoAnswerError

_PAGE = 500
_STREAM_SECONDS = (240, 480)
_IDLE_SECONDS = 150.0
"""The API server sends a bookmark every minute: a stream this silent is dead."""
_LONGEST_LINE = 32 * 2**20
_SLICE = 500

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Sink(Protocol[T]):
    """Takes in what the reflector sees, each call in one step of the event loop."""

    def put(self, item: T) -> None: ...

    def drop(self, item: T) -> None: ...

    def keep(self, items: list[T], version: int) -> None:
        """A complete list at `version`, all of it put before: whatever else is known is gone."""


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Bookmark(msgspec.Struct):
    metadata: _ListMeta


class _Failure(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""


class _ExpiredError(Exception):
    """The version to resume from is no longer kept (410 Gone)."""


class Reflector(Generic[T]):
    """`path` is the collection, such as /api/v1/pods; `item` the type of its objects."""

    def __init__(
        self, session: ApiSession, path: str, item: type[T], sink: Sink[T], random: Random
    ) -> None:
        self.path = path
        self.synced = asyncio.Event()
        self.relists = 0
        self._version: str | None = None
        self._session = session
        self._sink = sink
        self._decoder = msgspec.json.Decoder(item)
        self._lists = msgspec.json.Decoder(_List)
        self._events = msgspec.json.Decoder(_Event)
        self._backoff = Backoff(first=0.2, longest=20.0, random=random)
        self._random = random

    async def run(self) -> None:
        """Never returns. Faults of API server or network are waited out; bugs are raised."""
        while True:
            try:
                if self._version is None:
                    self._version = await self._list()
                await self._watch(self._version)
            except _ExpiredError:
                _log.info("relisting %s: the watch's version has expired", self.path)
                self._version = None
            except (ApiError, NoAnswerError) as error:
                _log.warning("%s: %s", self.path, error)
            await asyncio.sleep(self._backoff.next())

    async def _list(self) -> str:
        """Feeds a complete, consistent list to the sink and returns its version."""
        self.relists += 1
        items: list[T] = []
        params = {"limit": str(_PAGE)}
        while True:
            try:
                page = self._lists.decode(
                    await self._session.request("GET", self.path, params=params)
                )
            except ApiError as error:
                raise (_ExpiredError() if error.status == 410 else error) from error
            except msgspec.MsgspecError as error:
                raise NoAnswerError(f"list {self.path}: not a list: {error}") from error
            items.extend(self._decoded(raw) for raw in page.items or ())
            if not page.metadata.continue_:
                break
            params["continue"] = page.metadata.continue_
        for index, item in enumerate(items):
            self._sink.put(item)
            if index % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)  # let requests in between
        self._sink.keep(items, int(page.metadata.resource_version))
        self.synced.set()
        return page.metadata.resource_version

    async def _watch(self, version: str) -> None:
        """Feeds events to the sink until the stream ends."""
        params = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(self._random.randint(*_STREAM_SECONDS)),
        }
        try:
            async with self._session.stream(
                self.path, params=params, idle_seconds=_IDLE_SECONDS
            ) as content:
                async for line in _lines(content):
                    self._take(line)
                    self._backoff.reset()
        except ApiError as error:
            raise (_ExpiredError() if error.status == 410 else error) from error

    def _take(self, line: bytes) -> None:
        """Applies one event, and remembers its version: a later watch goes on from there."""
        try:
            event = self._events.decode(line)
            if event.type == "ERROR":
                self._fail(event.object)
            version = msgspec.json.decode(event.object, type=_Bookmark).metadata.resource_version
        except msgspec.MsgspecError as error:
            raise NoAnswerError(f"watch {self.path}: not an event: {error}") from error
        match event.type:
            case "ADDED" | "MODIFIED":
                self._sink.put(self._decoded(event.object))
            case "DELETED":
                self._sink.drop(self._decoded(event.object))
        self._version = version

    def _fail(self, status: msgspec.Raw) -> NoReturn:
        failure = msgspec.json.decode(status, type=_Failure)
        if failure.code == 410:
            raise _ExpiredError
        raise ApiError(failure.code, failure.reason, failure.message)

    def _decoded(self, raw: msgspec.Raw) -> T:
        try:
            return self._decoder.decode(raw)
        except msgspec.MsgspecError as error:
            raise NoAnswerError(f"{self.path}: not such an object: {error}") from error


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines. What follows the last line break is the torn end of a broken stream."""
    pending = bytearray()
    async for chunk in content.iter_any():
        pending += chunk
        *lines, rest = pending.split(b"\n")
        for line in lines:
            if line:
                yield bytes(line)
        pending = bytearray(rest)
        if len(pending) > _LONGEST_LINE:
            raise NoAnswerError(f"a line of more than {_LONGEST_LINE} bytes")
