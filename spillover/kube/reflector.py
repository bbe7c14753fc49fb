"""Keeps a sink in step with one resource of the API server: list in pages, then watch, for ever.

    list ──ok──▶ watch ──stream ends, or breaks──▶ wait ──▶ watch from the last version seen
      ▲            │
      └── wait ◀───┴── 410 Gone: that version is no longer kept; or two streams without an event

Whatever one object contains, all others are taken in: what does not decode is counted, and the sink
says what stands for it.

Every wait is jittered, and longer after each failure in a row; a stream must last for a while to
end the row. What the API server asks for in Retry-After is the least.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Generic, NoReturn, Protocol, TypeVar

import aiohttp
import msgspec

from spillover.api.kubernetes import parse_version
from spillover.api.partial import decoded
from spillover.kube.backoff import Backoff
from spillover.kube.pages import ListMeta, Page, page
from spillover.kube.reading import Unreadable, readable
from spillover.kube.session import ApiError, ApiSession, NoAnswerError

_FIRST_WAIT = 0.2
_STEADY_SECONDS = 10.0
"""A stream that lasts this long ends a row of failures."""
_CATCH_UP_SECONDS = 0.2
_MOST_EMPTY_STREAMS = 2
"""In a row, without any event: then the list is read anew. An idle stream has bookmarks."""
_LONGEST_LINE = 32 * 2**20
_SLICE = 100

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """`page` is in objects, the rest in seconds: how long a stream is asked to last, drawn between
    two bounds, after how long a silence it is given up, and how long a wait may be. The API server
    sends a bookmark every minute, so a stream that is silent for much longer is dead."""

    page: int = 500
    stream: tuple[int, int] = (240, 480)
    silence: float = 150.0
    longest_wait: float = 5.0


class Sink(Protocol[T]):
    """Takes in what the reflector sees, each call in one step of the event loop."""

    def put(self, item: T) -> None: ...

    def drop(self, item: T) -> None: ...

    def keep(self, items: list[T], version: int) -> None:
        """A complete list at `version`, all of it put before: whatever else is known is gone."""

    def unreadable(self, found: Unreadable) -> T | None:
        """There is such an object, and it does not decode. Returns what stands for it and is put,
        or None, where it is as if there were none: then the sink has dropped what it knew."""


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Bookmark(msgspec.Struct):
    metadata: ListMeta


class _Uid(msgspec.Struct):
    uid: str = ""


class _Named(msgspec.Struct):
    metadata: _Uid


class _Failure(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""


class _ExpiredError(Exception):
    """The version to resume from is no longer kept (410 Gone)."""


class Reflector(Generic[T]):
    """`path` is the collection, such as /api/v1/pods. `decode` turns the JSON of one of its objects
    into an item; whatever it raises makes the object an unreadable one. `clock` gives seconds and
    never goes back. `select` are parameters that narrow the collection."""

    def __init__(
        self,
        session: ApiSession,
        path: str,
        decode: Callable[[bytes | msgspec.Raw], T],
        sink: Sink[T],
        random: Random,
        clock: Callable[[], float],
        limits: Limits = Limits(),
        select: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.path = path
        self.synced = asyncio.Event()
        self.relists = 0
        self.trouble = ""
        """Why the last try failed; empty since the API server was last heard of."""
        self.unreadable: dict[str, Unreadable] = {}
        """The objects that do not decode, by uid. As many as there are."""
        self._empty_streams = 0
        self._version: str | None = None
        self._heard = clock()
        self._opened: float | None = None
        self._in_pages = True
        self._session = session
        self._sink = sink
        self._decode = decode
        self._events = msgspec.json.Decoder(_Event)
        self._named = msgspec.json.Decoder(_Named)
        self._bookmarks = msgspec.json.Decoder(_Bookmark)
        self._backoff = Backoff(_FIRST_WAIT, limits.longest_wait, random)
        self._random = random
        self._clock = clock
        self.limits = limits
        self._select = select

    def is_current(self) -> bool:
        """Whether a stream is open, for long enough that what had happened before has come."""
        opened = self._opened
        return opened is not None and self._clock() - opened >= _CATCH_UP_SECONDS

    def silence(self) -> float:
        """Seconds since the API server was last heard of."""
        return self._clock() - self._heard

    def _hear(self) -> None:
        self._heard = self._clock()
        self.trouble = ""

    async def run(self) -> None:
        """Never returns. Faults of API server or network are waited out; bugs are raised."""
        while True:
            least = 0.0
            try:
                if self._version is None:
                    self._version = await self._list()
                await self._watch(self._version)
            except _ExpiredError:
                _log.info("relisting %s: the watch's version has expired", self.path)
                self._version = None
            except ApiError as error:
                _log.warning("%s: %s", self.path, error)
                self.trouble = str(error)
                least = error.retry_after
            except NoAnswerError as error:
                _log.warning("%s: %s", self.path, error)
                self.trouble = str(error)
            await asyncio.sleep(max(least, self._backoff.next()))

    async def _list(self) -> str:
        """Feeds a complete, consistent list to the sink and returns its version."""
        self.relists += 1
        items: list[T] = []
        unreadable: dict[str, Unreadable] = {}
        pages = {"limit": str(self.limits.page)} if self._in_pages else {}
        params = {**self._select, **pages}
        while True:
            part = await self._page(params)
            for index, raw in enumerate(part.items or ()):
                item = self._decoded(raw, unreadable)
                if item is not None:
                    items.append(item)
                await _breathe(index)
            if not part.metadata.continue_:
                break
            params["continue"] = part.metadata.continue_
        version = self._number(part.metadata.resource_version)
        self._in_pages = True
        self._hear()
        for index, item in enumerate(items):
            self._sink.put(item)
            await _breathe(index)
        self._sink.keep(items, version)
        self.unreadable = unreadable
        self._empty_streams = 0
        self.synced.set()
        return part.metadata.resource_version

    async def _page(self, params: dict[str, str]) -> Page:
        try:
            found = page(await self._session.request("GET", self.path, params=params))
        except ApiError as error:
            if error.status != 410:
                raise
            # The list took longer than its version is kept: the next one comes in one piece.
            self._in_pages = False
            raise _ExpiredError from error
        except msgspec.MsgspecError as error:
            raise NoAnswerError(f"list {self.path}: not a list: {error}") from error
        if not found.kind.endswith("List"):
            raise NoAnswerError(f"list {self.path}: not a list but a {found.kind[:40]!r}")
        return found

    async def _watch(self, version: str) -> None:
        """Feeds events to the sink until the stream ends."""
        params = {
            **self._select,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(self._random.randint(*self.limits.stream)),
        }
        begun = last = self._clock()
        taken = 0
        try:
            async with self._session.stream(
                self.path, params=params, idle_seconds=self.limits.silence
            ) as content:
                self._hear()
                self._opened = self._heard
                self._empty_streams += 1
                async for line in _lines(content):
                    self._take(line)
                    self._hear()
                    last = self._heard
                    self._empty_streams = 0
                    await _breathe(taken)
                    taken += 1
        except ApiError as error:
            raise (_ExpiredError() if error.status == 410 else error) from error
        finally:
            self._opened = None
            if self._empty_streams >= _MOST_EMPTY_STREAMS:
                # The next event is one that the API server cannot send: it ends the stream at it.
                self._version = None
            if last - begun > _STEADY_SECONDS:
                self._backoff.reset()

    def _take(self, line: bytes) -> None:
        """Applies one event, and remembers its version: a later watch goes on from there."""
        try:
            event = decoded(line, self._events.decode)
            if event.type == "ERROR":
                self._fail(event.object)
            version = self._bookmarks.decode(event.object).metadata.resource_version
        except msgspec.MsgspecError as error:
            raise NoAnswerError(f"watch {self.path}: not an event: {error}") from error
        self._number(version)
        match event.type:
            case "ADDED" | "MODIFIED":
                if (item := self._decoded(event.object, self.unreadable)) is not None:
                    self._sink.put(item)
            case "DELETED":
                gone: dict[str, Unreadable] = {}
                if (item := self._decoded(event.object, gone)) is not None:
                    self._sink.drop(item)
                self._forget(event.object)
            case "BOOKMARK":
                pass
            case other:
                raise NoAnswerError(f"watch {self.path}: an event of type {other[:40]!r}")
        self._version = version

    def _fail(self, status: msgspec.Raw) -> NoReturn:
        failure = msgspec.json.decode(status, type=_Failure)
        if failure.code == 410:
            raise _ExpiredError
        raise ApiError(failure.code, failure.reason, failure.message)

    def _number(self, version: str) -> int:
        try:
            return parse_version(version)
        except ValueError as error:
            raise NoAnswerError(f"{self.path}: {error}") from error

    def _decoded(self, raw: msgspec.Raw, unreadable: dict[str, Unreadable]) -> T | None:
        """What is put. Notes in `unreadable` what does not decode."""
        item = readable(raw, self._decode)
        if isinstance(item, Unreadable):
            uid = item.identity.uid
            if uid not in self.unreadable:
                _log.error(
                    "unreadable object",
                    extra={
                        "path": self.path,
                        "namespace": item.identity.namespace,
                        "object": item.identity.name,
                        "reason": item.reason,
                    },
                )
            unreadable[uid] = item
            return self._sink.unreadable(item)
        if unreadable:
            self._forget(raw)
        return item

    def _forget(self, raw: msgspec.Raw) -> None:
        """The object can be read, or is gone."""
        if self.unreadable:
            named = decoded(raw, self._named.decode)
            self.unreadable.pop(named.metadata.uid, None)


async def _breathe(index: int) -> None:
    """Lets requests in between, every so often in a long loop."""
    if index % _SLICE == _SLICE - 1:
        await asyncio.sleep(0)


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
