"""Keeps a sink in step with one resource of the API server: list in pages, then watch.

    list ──ok──▶ watch ──stream breaks──▶ wait ──▶ watch from the last version seen
      ▲            │
      └── wait ◀───┴── 410 Gone: that version is no longer kept; or two streams without an event

A collection that may not exist, because its CRD is not installed, counts as empty while the API
server answers 404. The reflector lists again every few seconds until the collection exists.

The API server ends each stream after the time that the request names. Before that the reflector
opens the next stream, and it closes the old one when the new one has caught up, so that
`is_current` stays true. For a moment the reflector reads both streams. It skips an event that the
other stream has already delivered, by its version.

An object that does not decode does not stop the others: the reflector counts it, and the sink
decides which item replaces it.

Every wait is jittered, and grows with each failure in a row. Only a stream that lasts for a while
resets the wait. The wait is at least the Retry-After of the API server.
"""

import asyncio
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Hashable,
    Mapping,
    Sequence,
    Set,
)
from contextlib import aclosing
from dataclasses import dataclass
from math import inf
from random import Random
from types import MappingProxyType
from typing import Any, Generic, NoReturn, Protocol, TypeVar

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
"""A stream that lasts this long resets the backoff. The next stream follows without a wait."""
_CATCH_UP_SECONDS = 0.2
_LOOK_SECONDS = 0.01
_RENEWED = 0.8
"""The next stream is opened after this part of the requested duration of a stream."""
_MOST_EMPTY_STREAMS = 2
"""After this many streams in a row without any event, the reflector lists again. A healthy idle
stream has bookmarks."""
_ABSENT_SECONDS = 2.0
"""The time between two lists of a collection that does not exist. Pods are placed without its
policies until then."""
_MOST_DOUBTFUL = 2
"""So many answers in a row that the collection does not exist are believed."""
_LONGEST_LINE = 32 * 2**20
_SLICE = 100
_SLICE_SECONDS = 0.005
"""A slice ends after _SLICE objects or this time. Time counts too, because one policy of a hundred
units takes longer to read than a hundred pods."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a reflector."""

    page: int = 1000
    """The size of a page of the list, in objects."""
    stream: tuple[int, int] = (240, 480)
    """The bounds, in seconds, between which the requested duration of a stream is drawn."""
    silence: float = 150.0
    """A stream is given up after a silence of this many seconds. The API server sends a bookmark
    every minute, so a stream that is silent for much longer is dead."""
    longest_wait: float = 5.0
    """The longest wait between two tries, in seconds."""


class Sink(Protocol[T]):
    """Receives what the reflector reads. Each call runs in one step of the event loop."""

    def put(self, item: T) -> None: ...

    def drop(self, item: T) -> None: ...

    def key(self, item: T) -> Hashable:
        """What tells the item from all others of the collection."""

    def keep(self, listed: Set[Any], version: int) -> None:
        """`listed` has the key of each object of the complete list at `version`. `put` was called
        for each of them before. All other known objects are deleted."""

    def unreadable(self, found: Unreadable) -> T | None:
        """The object exists and does not decode. Returns the item that replaces it, which is then
        put. Returns None if the object counts as absent; the sink has then dropped its own entry
        for it."""


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


@dataclass(eq=False, slots=True)
class _Stream:
    """One watch request."""

    seconds: int
    """The requested duration."""
    task: asyncio.Task[None] | None = None
    opened: float | None = None
    """The time when the answer began, or None before that."""
    renew_at: float = inf
    """The time from which the next stream is opened."""
    version: int = 0
    """The version of its last event."""

    async def end(self) -> None:
        """Cancels the stream and waits for its end."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)


class Reflector(Generic[T]):
    """Keeps `sink` in step with one collection.

    `path` is the path of the collection, such as /api/v1/pods. `decode` turns the JSON of one
    object into an item; an object for which it raises any exception is unreadable. `clock` returns
    seconds and never goes back. `select` are query parameters that narrow the collection.
    `may_be_absent`: the collection exists only while its CRD is installed. The first list begins
    when those of `after` are complete."""

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
        *,
        may_be_absent: bool = False,
        after: Sequence["Reflector[Any]"] = (),
    ) -> None:
        self.path = path
        self._after = after
        self.synced = asyncio.Event()
        self.relists = 0
        self.trouble = ""
        """Why the last try failed. Empty after the next data from the API server."""
        self.unreadable: dict[str, Unreadable] = {}
        """The objects that do not decode, by uid. Bounded only by the number of objects."""
        self._empty_streams = 0
        self._version: int | None = None
        self._heard = clock()
        self._open: set[_Stream] = set()
        self._least = 0.0  # what the API server asked for, before the next stream is opened
        self._slice_ends = 0.0
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
        self._may_be_absent = may_be_absent
        self._absences = 0
        self._absent_at = -inf  # when the API server last said that the collection does not exist

    def is_current(self) -> bool:
        """Returns whether a stream has been open for long enough to have delivered all events from
        before it was opened, or whether the collection does not exist."""
        is_absent = self._clock() - self._absent_at < 2 * _ABSENT_SECONDS
        return is_absent or any(map(self._has_caught_up, self._open))

    def _has_caught_up(self, stream: _Stream) -> bool:
        opened = stream.opened
        return opened is not None and self._clock() - opened >= _CATCH_UP_SECONDS

    async def _breathe(self, index: int) -> None:
        """Lets other tasks run in between, at regular intervals in a long loop."""
        if index % _SLICE == _SLICE - 1 or self._clock() >= self._slice_ends:
            await asyncio.sleep(0)
            self._slice_ends = self._clock() + _SLICE_SECONDS

    def silence(self) -> float:
        """The seconds since the last data from the API server."""
        return self._clock() - self._heard

    def _hear(self) -> None:
        self._heard = self._clock()
        self.trouble = ""

    async def run(self) -> None:
        """Never returns. Tries again after faults of the API server or the network. Raises the
        exceptions of bugs."""
        for earlier in self._after:
            await earlier.synced.wait()
        while True:
            least = 0.0
            try:
                if self._version is None:
                    self._version = await self._list()
                begun = self._clock()
                await self._watch()
                if self._clock() - begun > _STEADY_SECONDS:
                    continue
            except _ExpiredError:
                _log.info("relisting %s: the watch's version has expired", self.path)
                self._version = None
            except ApiError as error:
                if error.status == 404 and self._may_be_absent:
                    self._hear_of_absence()
                    least = _ABSENT_SECONDS
                    self._backoff.reset()
                else:
                    _log.warning("%s: %s", self.path, error)
                    self.trouble = str(error)
                    least = error.retry_after
            except NoAnswerError as error:
                _log.warning("%s: %s", self.path, error)
                self.trouble = str(error)
            await asyncio.sleep(max(least, self._backoff.next()))

    async def _list(self) -> int:
        """Feeds a complete, consistent list to the sink and returns its version. Each object is put
        when its page is there: only the keys of a large list are kept until its end."""
        if not self._absences:
            self.relists += 1
        listed: set[Hashable] = set()
        unreadable: dict[str, Unreadable] = {}
        async with aclosing(self._pages()) as pages:
            async for part in pages:
                for index, raw in enumerate(part.items or ()):
                    item = self._decoded(raw, unreadable)
                    if item is not None:
                        listed.add(self._sink.key(item))
                        self._sink.put(item)
                    await self._breathe(index)
        version = self._number(part.metadata.resource_version)
        if self._absences:
            self.relists += 1  # the collection exists now
        self._absent_at = -inf
        self._absences = 0
        self._in_pages = True
        self._hear()
        self._sink.keep(listed, version)
        self.unreadable = unreadable
        self._empty_streams = 0
        self.synced.set()
        return version

    async def _pages(self) -> AsyncGenerator[Page, None]:
        """The pages of a list. The API server makes the next page while one is read."""
        limit = {"limit": str(self.limits.page)} if self._in_pages else {}
        ahead = asyncio.create_task(self._page({**self._select, **limit}))
        try:
            while True:
                part = await ahead
                more = part.metadata.continue_
                if more:
                    params = {**self._select, **limit, "continue": more}
                    ahead = asyncio.create_task(self._page(params))
                yield part
                if not more:
                    return
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    def _hear_of_absence(self) -> None:
        """The API server has said that the collection does not exist. Where objects are known, only
        the second such answer in a row counts: the first may be another server's."""
        self._hear()
        self._absences += 1
        self._version = None
        if self.synced.is_set() and self._absences < _MOST_DOUBTFUL:
            return
        if self._absent_at == -inf:
            _log.info("%s does not exist: its CRD is not installed", self.path)
            self._sink.keep(frozenset(), 0)
        self._absent_at = self._heard
        self._empty_streams = 0
        self.unreadable = {}
        self.synced.set()

    async def _page(self, params: dict[str, str]) -> Page:
        try:
            found = page(await self._session.request("GET", self.path, params=params))
        except ApiError as error:
            if error.status != 410:
                raise
            # The list took longer than the API server keeps its version: the next list is
            # requested in one piece.
            self._in_pages = False
            raise _ExpiredError from error
        except msgspec.MsgspecError as error:
            raise NoAnswerError(f"list {self.path}: not a list: {error}") from error
        if not found.kind.endswith("List"):
            raise NoAnswerError(f"list {self.path}: not a list but a {found.kind[:40]!r}")
        return found

    async def _watch(self) -> None:
        """Feeds events to the sink until a stream ends and no other stream can replace it."""
        current, following = self._start(), None
        try:
            while True:
                await self._wait(current, following)
                if following is None:
                    if self._has_ended(current):
                        return
                    if self._clock() >= current.renew_at:
                        following = self._start()
                elif self._is_over(following):
                    current.renew_at = self._clock() + max(self._least, self._backoff.next())
                    following = None
                elif self._is_over(current) or self._has_caught_up(following):
                    await current.end()
                    current, following = following, None
        finally:
            for stream in (current, following):
                if stream is not None:
                    await stream.end()
            if self._empty_streams >= _MOST_EMPTY_STREAMS:
                # The API server may be unable to send the next event, and end each stream there.
                self._version = None

    def _start(self) -> _Stream:
        stream = _Stream(self._random.randint(*self.limits.stream))
        stream.task = asyncio.create_task(self._follow(stream))
        return stream

    async def _wait(self, current: _Stream, following: _Stream | None) -> None:
        """Waits until one of the streams ends, or until the next look at them is due."""
        tasks = {s.task for s in (current, following) if s is not None and s.task is not None}
        seconds = _CATCH_UP_SECONDS
        if following is None and current.renew_at < inf:
            seconds = max(_LOOK_SECONDS, current.renew_at - self._clock())
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    def _has_ended(self, stream: _Stream) -> bool:
        """Returns whether the stream has ended. Raises the error that has ended it, if it was not
        ended normally by the API server."""
        if stream.task is None or not stream.task.done():
            return False
        stream.task.result()
        return True

    def _is_over(self, stream: _Stream) -> bool:
        """Returns the same as `_has_ended`, but logs an error: there is another stream. If that one
        ends too, the next request finds out whether the version has expired."""
        self._least = 0.0
        try:
            return self._has_ended(stream)
        except _ExpiredError:
            _log.info("%s: the watch's version has expired", self.path)
        except ApiError as error:
            _log.warning("%s: %s", self.path, error)
            self._least = error.retry_after
        except NoAnswerError as error:
            _log.warning("%s: %s", self.path, error)
        return True

    async def _follow(self, stream: _Stream) -> None:
        """Feeds the events of one stream to the sink until it ends."""
        params = {
            **self._select,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(self._version),
            "timeoutSeconds": str(stream.seconds),
        }
        begun = last = self._clock()
        taken = 0
        try:
            async with self._session.stream(
                self.path, params=params, idle_seconds=self.limits.silence
            ) as content:
                self._hear()
                stream.opened = self._heard
                stream.renew_at = self._heard + _RENEWED * stream.seconds
                self._open.add(stream)
                self._empty_streams += 1
                async for line in _lines(content):
                    self._take(line, stream)
                    self._hear()
                    last = self._heard
                    self._empty_streams = 0
                    await self._breathe(taken)
                    taken += 1
        except ApiError as error:
            raise (_ExpiredError() if error.status == 410 else error) from error
        finally:
            self._open.discard(stream)
            if last - begun > _STEADY_SECONDS:
                self._backoff.reset()

    def _take(self, line: bytes, stream: _Stream) -> None:
        """Applies one event and stores its version. A later watch resumes from this version."""
        try:
            event = decoded(line, self._events.decode)
            if event.type == "ERROR":
                self._fail(event.object)
            version = self._bookmarks.decode(event.object).metadata.resource_version
        except msgspec.MsgspecError as error:
            raise NoAnswerError(f"watch {self.path}: not an event: {error}") from error
        number = self._number(version)
        if number < stream.version:
            raise _ExpiredError  # the API server has gone back, to a backup of its store
        stream.version = number
        if self._version is not None and number <= self._version:
            return  # another stream has delivered it
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
        self._version = number

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
        """The item to put, or None. Adds an object that does not decode to `unreadable`."""
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
        """Removes an object that now decodes, or is deleted, from `unreadable`."""
        if self.unreadable:
            named = decoded(raw, self._named.decode)
            self.unreadable.pop(named.metadata.uid, None)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yields complete lines. Text after the last line break is dropped: it is an incomplete line of
    a broken stream."""
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
