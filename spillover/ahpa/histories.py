"""Keeps the last seven days of each workload's load: read once, then only what is new.

One query of 10,080 points at the first look, one of a few points at each later look.
"""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from cachetools import LRUCache

from spillover.ahpa.prometheus import NoAnswerInTimeError, Prometheus, PrometheusError, Source
from spillover.ahpa.queries import LOAD, MARK, PODS
from spillover.forecast.history import POINTS, History
from spillover.forecast.season import ENOUGH

MOST_HISTORIES = 2000
"""80 kB each."""
_REREAD = 5
"""Samples that are read again: Prometheus may have got them late."""
_WHOLE_AGAIN_SECONDS = 3600.0
"""While too little is known, everything is read again so often: Prometheus may have been filled."""
_FIRST_PAUSE, _LONGEST_PAUSE = 60.0, 600.0
"""After a query that took too long, in seconds. Others are not delayed by it."""


@dataclass(slots=True)
class _Kept:
    history: History
    source: Source
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    whole_at: float | None = None
    """When all seven days were read last."""
    pause: float = 0.0
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What Prometheus has of a workload."""

    history: History
    load: float | None
    """The newest sample; None if there is none now."""
    pods: int
    """How many pods `load` is of."""


class Histories:
    """The histories of workloads, by any key. `now` returns seconds since 1970, `clock` seconds
    that never go back, `source` where Prometheus is, or None if nobody has said so. `step` are the
    seconds between two samples."""

    def __init__(
        self,
        prometheus: Prometheus,
        source: Callable[[], Source | None],
        now: Callable[[], float],
        clock: Callable[[], float],
        step: int,
    ) -> None:
        self._prometheus = prometheus
        self._source = source
        self._now = now
        self._clock = clock
        self._step = step
        self._kept: LRUCache[Hashable, _Kept] = LRUCache(MOST_HISTORIES)

    async def read(self, key: Hashable, expression: str) -> Reading:
        """Reads what is new. The key stands for a load: the expression may name other pods of it
        than before. Raises PrometheusError."""
        source = self._known_source()
        kept = self._kept.get(key)
        if kept is None or kept.source != source:
            kept = self._kept[key] = _Kept(History.empty(int(self._now()), self._step), source)
        async with kept.turn:  # the chart may ask at the same time
            return await self._read(kept, expression)

    async def newest(self, expression: str) -> tuple[float | None, int]:
        """The newest sample of a load without a history, and how many pods it is of. Raises
        PrometheusError."""
        end = self._last_step()
        source, begin = self._known_source(), end - self._step
        found = await self._prometheus.range(source, expression, begin, end, self._step, MARK)
        return _newest(found.get(LOAD, {}), found.get(PODS, {}), end - self._step)

    async def _read(self, kept: _Kept, expression: str) -> Reading:
        if self._clock() < kept.not_before:
            raise PrometheusError("the last query took too long: the next one waits")
        end = self._last_step()
        if kept.history.end > end + self._step:  # the clock has gone back
            kept.history, kept.whole_at = History.empty(end, self._step), None
        begin = first = end - (POINTS - 1) * self._step
        if not self._is_whole_due(kept):
            begin = max(first, kept.history.end - _REREAD * self._step)
        try:
            found = await self._prometheus.range(
                kept.source, expression, begin, end, self._step, MARK
            )
        except NoAnswerInTimeError:
            kept.pause = min(_LONGEST_PAUSE, 2 * kept.pause or _FIRST_PAUSE)
            kept.not_before = self._clock() + kept.pause
            raise
        kept.pause = 0.0
        load, pods = found.get(LOAD, {}), found.get(PODS, {})
        kept.history = kept.history.extended(end, load, pods)
        if begin == first:
            kept.whole_at = self._clock()
        return Reading(kept.history, *_newest(load, pods, end - self._step))

    def _is_whole_due(self, kept: _Kept) -> bool:
        if kept.whole_at is None:
            return True
        is_old = self._clock() - kept.whole_at >= _WHOLE_AGAIN_SECONDS
        return is_old and kept.history.share < ENOUGH

    def _known_source(self) -> Source:
        source = self._source()
        if source is None:
            raise PrometheusError("no address of Prometheus is set")
        return source

    def _last_step(self) -> int:
        end = int(self._now())
        return end - end % self._step


def _newest(load: dict[int, float], pods: dict[int, float], least: int) -> tuple[float | None, int]:
    """The last sample may not be there yet; one before `least` is too old."""
    at = max(load, default=0)
    return (load[at], round(pods.get(at, 0.0))) if at >= least else (None, 0)
