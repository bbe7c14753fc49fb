"""Keeps the last seven days of each workload's load: read once, then only what is new.

One query of 10,080 points at the first look, one of a few points at each later look.
"""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from cachetools import LRUCache

from spillover.ahpa.prometheus import Prometheus, PrometheusError, Source
from spillover.ahpa.queries import LOAD, MARK, PODS
from spillover.forecast.history import POINTS, History

MOST_HISTORIES = 2000
"""80 kB each."""
_REREAD = 5
"""Samples that are read again: Prometheus may have got them late."""


@dataclass(slots=True)
class _Kept:
    history: History
    expression: str
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    is_read: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What Prometheus has of a workload."""

    history: History
    load: float | None
    """The newest sample; None if there is none now."""
    pods: int
    """How many pods `load` is of."""


class Histories:
    """The histories of workloads, by any key. `now` returns seconds since 1970, `source` where
    Prometheus is, or None if nobody has said so. `step` are the seconds between two samples."""

    def __init__(
        self,
        prometheus: Prometheus,
        source: Callable[[], Source | None],
        now: Callable[[], float],
        step: int,
    ) -> None:
        self._prometheus = prometheus
        self._source = source
        self._now = now
        self._step = step
        self._kept: LRUCache[Hashable, _Kept] = LRUCache(MOST_HISTORIES)

    async def read(self, key: Hashable, expression: str) -> Reading:
        """Reads what is new. Raises PrometheusError."""
        kept = self._kept.get(key)
        if kept is None or kept.expression != expression:
            before = kept
            kept = _Kept(History.empty(int(self._now()), self._step), expression)
            if before is not None and before.is_read:
                # Another ReplicaSet: the pods of before are still the same workload's.
                kept.history, kept.is_read = before.history, True
            self._kept[key] = kept
        async with kept.turn:  # the chart may ask at the same time
            return await self._read(kept)

    async def _read(self, kept: _Kept) -> Reading:
        source = self._source()
        if source is None:
            raise PrometheusError("no address of Prometheus is set")
        history = kept.history
        end = int(self._now())
        end -= end % self._step
        first = end - (POINTS - 1) * self._step
        begin = first if not kept.is_read else max(first, history.end - _REREAD * self._step)
        found = await self._prometheus.range(source, kept.expression, begin, end, self._step, MARK)
        load, pods = found.get(LOAD, {}), found.get(PODS, {})
        kept.history = history.extended(end, load, pods)
        kept.is_read = True
        newest = max(load, default=0)
        if newest < end - self._step:  # the last sample may not be there yet
            return Reading(kept.history, None, 0)
        return Reading(kept.history, load[newest], round(pods.get(newest, 0.0)))

    def forget(self, key: Hashable) -> None:
        self._kept.pop(key, None)
