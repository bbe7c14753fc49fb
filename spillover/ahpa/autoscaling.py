"""Looks at every AdvancedHorizontalPodAutoscaler once in a period, and scales what it is for.

    read the target ─▶ read the load ─▶ forecast, if it is time ─▶ decide ─▶ write, if it is asked
         │                  │                                                    │
         └── not there:     └── Prometheus does not answer: the last number      ├── only the
             nothing moves      is held for a while, then nothing moves          │   leading replica
                                                                                 └── never what
                                                                                     another scales

What one object causes, an error too, concerns that object only.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from typing import Any, Protocol

from spillover.ahpa.aiming import Aim, Aims, ObstacleError
from spillover.ahpa.loads import Loads, basis
from spillover.ahpa.minimums import Minimums
from spillover.ahpa.scaling import Scaler, own_minimum
from spillover.ahpa.status import Obstacle, Problem, Seen
from spillover.ahpa.tracks import Track
from spillover.ahpa.workloads import Stored, View, age
from spillover.core.autoscaling.autoscaler import (
    Autoscaler,
    AutoscalerKey,
    InvalidAutoscaler,
    Strategy,
)
from spillover.core.autoscaling.bounds import in_force
from spillover.forecast.decision import Decision
from spillover.forecast.history import SAMPLES
from spillover.forecast.season import Forecast
from spillover.kube.session import ApiError, NoAnswerError

MOST_IN_NAMESPACE = 100
MOST_OBJECTS = 1500
"""Of the cluster. Their histories must find room."""
_AT_ONCE = 8

_log = logging.getLogger(__name__)


class Teller(Protocol):
    """Who is told what was found. `scaled` is called after each write."""

    async def found(self, stored: Stored, seen: Seen | None) -> None:
        """`seen` is None for an object with errors."""

    async def scaled(self, stored: Stored, before: int, after: int, why: str) -> None: ...

    def keep(self, keys: Set[AutoscalerKey]) -> None:
        """All other objects are gone, or another replica's."""


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds."""

    period: float
    hold: float
    season: int
    zone: tzinfo

    @property
    def step(self) -> int:
        return self.season // SAMPLES


class Autoscaling:
    """`leads` tells whether this replica writes. `now` returns seconds since 1970, `clock` seconds
    that never go back."""

    def __init__(
        self,
        view: View,
        aims: Aims,
        scaler: Scaler,
        loads: Loads,
        minimums: Minimums,
        teller: Teller,
        leads: Callable[[], bool],
        timing: Timing,
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._view = view
        self._aims = aims
        self._scaler = scaler
        self._loads = loads
        self._minimums = minimums
        self._teller = teller
        self._leads = leads
        self._timing = timing
        self._now = now
        self._clock = clock
        self._tracks: dict[AutoscalerKey, Track] = {}

    async def run(self) -> None:
        """Never returns."""
        while True:
            begun = self._clock()
            if self._leads():
                await self.look()
            else:
                self._tracks.clear()
                self._teller.keep(frozenset())
            await asyncio.sleep(max(0.0, begun + self._timing.period - self._clock()))

    async def look(self) -> None:
        """Looks at every object once."""
        there = self._view.autoscalers.all()
        keys = {stored.loaded.key for stored in there}
        for key in self._tracks.keys() - keys:
            del self._tracks[key]
        self._teller.keep(keys)
        left_out = _left_out(there)
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(stored: Stored) -> None:
            async with room:
                try:
                    await self._look_at(stored, is_left_out=stored.loaded.key in left_out)
                except (ApiError, NoAnswerError) as error:
                    _log.warning("not told", extra=_named(stored, error))
                except Exception:  # noqa: BLE001 - logged; the other objects go on
                    _log.exception("not looked at", extra=_named(stored))

        await asyncio.gather(*map(one, there))
        await self._minimums.restore(self._leads)

    async def _look_at(self, stored: Stored, *, is_left_out: bool) -> None:
        seen = None
        if not isinstance(stored.loaded, InvalidAutoscaler):
            seen = await self._seen(stored, stored.loaded, is_left_out=is_left_out)
        if self._leads():
            await self._teller.found(stored, seen)

    async def _seen(self, stored: Stored, autoscaler: Autoscaler, *, is_left_out: bool) -> Seen:
        """Looks at an object without errors, and scales its target."""
        local = datetime.fromtimestamp(self._now(), UTC).astimezone(self._timing.zone)
        seen = Seen(in_force(local.replace(tzinfo=None), autoscaler.periods, autoscaler.bounds))
        if is_left_out:
            text = (
                f"only the {MOST_IN_NAMESPACE} oldest objects of a namespace, and the"
                f" {MOST_OBJECTS} oldest of the cluster, are looked at"
            )
            return replace(seen, problem=Problem(Obstacle.TOO_MANY, text))
        track = self._track(autoscaler)
        try:
            aim = await self._aims.of(autoscaler)
        except ObstacleError as error:
            return replace(seen, problem=error.problem)
        seen = replace(seen, replicas=aim.scale.present)
        writes = autoscaler.strategy is not Strategy.OBSERVER
        obstacle = self._aims.obstacle(stored, autoscaler, aim) if writes else None
        try:
            seen = await self._measured(autoscaler, track, aim, seen)
        except ObstacleError as error:
            wanted = self._held(track)
            seen, why = self._without_load(track, seen, error.problem), "the last number is held"
        else:
            wanted, why = self._followed(track, aim, seen)
        if obstacle is not None:
            return replace(seen, problem=obstacle)
        if writes and wanted is not None and self._leads():
            return await self._scaled(stored, track, aim, seen, wanted, why)
        return seen

    def _track(self, autoscaler: Autoscaler) -> Track:
        track = self._tracks.get(autoscaler.key)
        if track is None or track.basis != basis(autoscaler):
            track = self._tracks[autoscaler.key] = Track(basis(autoscaler))
        return track

    async def _measured(self, autoscaler: Autoscaler, track: Track, aim: Aim, seen: Seen) -> Seen:
        """Reads the load and decides. Raises ObstacleError."""
        reading, loads = await self._loads.of(autoscaler, aim.pods)
        now = self._now()
        track.answered_at = self._clock()
        track.fit(autoscaler, reading, loads[0], now)
        decision = track.decide(
            autoscaler, seen.bounds, loads, reading.pods, aim.asked, now, self._clock()
        )
        found = track.forecast
        missing, season = (None, self._timing.season) if isinstance(found, Forecast) else (found, 0)
        actual = [load.actual for load in loads]
        return replace(seen, loads=actual, decision=decision, missing=missing, season=season)

    def _followed(self, track: Track, aim: Aim, seen: Seen) -> tuple[int | None, str]:
        """The number to write by the decision, or None, and why."""
        decision = seen.decision
        if decision is None:
            return None, ""
        track.wanted = aim.asked if decision.wanted is None else decision.wanted
        return decision.wanted, _why(decision)

    def _held(self, track: Track) -> int | None:
        """While the load is not known: the last number, for a while."""
        is_lately = self._clock() - track.answered_at < self._timing.hold
        return track.wanted if is_lately else None

    def _without_load(self, track: Track, seen: Seen, problem: Problem) -> Seen:
        if self._held(track) is None:
            text = f"{problem.message}. Replicas are left as they are"
            problem = Problem(problem.obstacle, text)
        return replace(seen, problem=problem)

    async def _scaled(
        self, stored: Stored, track: Track, aim: Aim, seen: Seen, wanted: int, why: str
    ) -> Seen:
        """Writes the number. A conflict is left to the next look. Without a load, replicas are only
        raised."""
        before, key = aim.asked, stored.loaded.key
        if aim.hpa is not None:
            wanted = min(max(wanted, own_minimum(aim.hpa)), aim.hpa.spec.max_replicas)
        if wanted == before or (seen.decision is None and wanted < before):
            return seen
        try:
            if aim.hpa is not None:
                written = await self._scaler.set_minimum(aim.hpa, key.name, wanted)
            else:
                written = await self._scaler.write(key.namespace, aim.workload, aim.scale, wanted)
        except (ApiError, NoAnswerError) as error:
            return replace(seen, problem=Problem(Obstacle.API_UNAVAILABLE, str(error)))
        if written:
            if wanted > before:
                track.raised_at = self._clock()
            await self._teller.scaled(stored, before, wanted, why)
        return seen


def _left_out(objects: Iterable[Stored]) -> set[AutoscalerKey]:
    """The objects that are too many, of a namespace or of the cluster: a tenant's objects must not
    delay those of the others."""
    counts: dict[str, int] = {}
    found, room = set(), MOST_OBJECTS
    for each in sorted(objects, key=age):
        key = each.loaded.key
        counts[key.namespace] = counts.get(key.namespace, 0) + 1
        if counts[key.namespace] > MOST_IN_NAMESPACE or not room:
            found.add(key)
        else:
            room -= 1
    return found


def _why(decision: Decision) -> str:
    reason = "forecast" if (decision.proactive or 0) > decision.reactive else "load"
    parts = [f"reactive {decision.reactive}"]
    if decision.proactive is not None:
        parts.append(f"proactive {decision.proactive}")
    if decision.limit:
        parts.append(decision.limit)
    return f"by the {reason}: {', '.join(parts)}"


def _named(stored: Stored, error: Exception | None = None) -> dict[str, Any]:
    key = stored.loaded.key
    named = {"namespace": key.namespace, "object": key.name}
    return {**named, "reason": str(error)} if error is not None else named
