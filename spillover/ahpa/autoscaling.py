"""Looks at every AdvancedHorizontalPodAutoscaler once in a period, and scales what it is for.

    read the target ─▶ read the load ─▶ forecast, if it is time ─▶ decide ─▶ write, if it is asked
         │                  │                                                    │
         └── not there,     └── Prometheus does not answer: the last number      └── only the
             or another         is held for a while, then nothing moves              leading replica
             autoscaler's:
             nothing moves

What one object causes, an error too, concerns that object only.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from math import inf
from typing import Any, Protocol

from spillover.ahpa.aiming import Aim, Aims, ObstacleError
from spillover.ahpa.histories import Reading
from spillover.ahpa.loads import Loads
from spillover.ahpa.scaling import Scaler
from spillover.ahpa.status import Obstacle, Problem, Seen
from spillover.ahpa.workloads import Hpa, Stored, View
from spillover.api.ahpa import MOST_METRICS
from spillover.core.autoscaling.autoscaler import (
    Autoscaler,
    AutoscalerKey,
    InvalidAutoscaler,
    Strategy,
)
from spillover.core.autoscaling.bounds import in_force
from spillover.forecast.decision import Decision, Load, Needed, Rules, decide
from spillover.forecast.history import SAMPLES
from spillover.forecast.season import SLOTS, Forecast, Missing, fit
from spillover.kube.session import ApiError, NoAnswerError

MOST_IN_NAMESPACE = 100
_AT_ONCE = 8
_MOST_NEEDED = 2000
"""Numbers that are kept for the stabilization window: a day's."""
_REFIT_SLOTS = 3
"""A forecast is made anew after so many slots: a quarter of an hour."""

_log = logging.getLogger(__name__)


class Teller(Protocol):
    """Who is told what was found. `scaled` is called after each write."""

    async def found(self, stored: Stored, seen: Seen | None) -> None:
        """`seen` is None for an object with errors."""

    async def scaled(self, stored: Stored, before: int, after: int, why: str) -> None: ...

    def gone(self, key: AutoscalerKey) -> None: ...


@dataclass(slots=True)
class _Track:
    """What is remembered of an object between two looks."""

    uid: str
    needed: deque[Needed] = field(default_factory=lambda: deque(maxlen=_MOST_NEEDED))
    forecast: Forecast | Missing = Missing.HISTORY
    fitted_at: float = -inf
    fitted_for: float = 0.0
    """The quantile."""
    wanted: int | None = None
    """The last number that was decided on."""
    answered_at: float = -inf
    """When Prometheus last had the load."""
    raised_at: float = -inf


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds."""

    period: float
    hold: float
    season: int
    zone: tzinfo

    @property
    def slot(self) -> int:
        return self.season // SLOTS

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
        self._teller = teller
        self._leads = leads
        self._timing = timing
        self._now = now
        self._clock = clock
        self._tracks: dict[AutoscalerKey, _Track] = {}

    async def run(self) -> None:
        """Never returns."""
        while True:
            begun = self._clock()
            if self._leads():
                await self.look()
            else:
                self._forget(set(self._tracks))
            await asyncio.sleep(max(0.0, begun + self._timing.period - self._clock()))

    async def look(self) -> None:
        """Looks at every object once."""
        await self._restore_minimums()
        there = dict(self._view.autoscalers.objects)
        self._forget(self._tracks.keys() - there.keys())
        room = asyncio.Semaphore(_AT_ONCE)
        left_out = _left_out(there.values())

        async def one(stored: Stored) -> None:
            async with room:
                try:
                    if stored.loaded.key in left_out:
                        await self._leave_out(stored)
                    else:
                        await self._look_at(stored)
                except (ApiError, NoAnswerError) as error:
                    _log.warning("not looked at", extra=_named(stored, error))
                except Exception:  # noqa: BLE001 - logged; the other objects go on
                    _log.exception("not looked at", extra=_named(stored))

        await asyncio.gather(*map(one, there.values()))

    def _forget(self, keys: Set[AutoscalerKey]) -> None:
        for key in keys:
            del self._tracks[key]
            self._loads.forget(key, MOST_METRICS)
            self._teller.gone(key)

    async def _leave_out(self, stored: Stored) -> None:
        if isinstance(stored.loaded, InvalidAutoscaler):
            return
        text = f"only the {MOST_IN_NAMESPACE} oldest objects of a namespace are looked at"
        problem = Problem(Obstacle.TOO_MANY, text)
        await self._teller.found(stored, Seen(stored.loaded.bounds, problem=problem))

    async def _look_at(self, stored: Stored) -> None:
        autoscaler = stored.loaded
        if isinstance(autoscaler, InvalidAutoscaler):
            await self._teller.found(stored, None)
            return
        track = self._tracks.get(autoscaler.key)
        if track is None or track.uid != autoscaler.uid:
            track = self._tracks[autoscaler.key] = _Track(autoscaler.uid)
        local = datetime.fromtimestamp(self._now(), UTC).astimezone(self._timing.zone)
        bounds = in_force(local.replace(tzinfo=None), autoscaler.periods, autoscaler.bounds)
        aim: Aim | None = None
        try:
            aim = await self._aims.of(stored, autoscaler)
            seen = await self._measured(autoscaler, track, aim, Seen(bounds))
            if not self._leads():
                return
            await self._write(stored, autoscaler, track, aim, seen)
        except ObstacleError as error:
            replicas = aim.scale.present if aim is not None else None
            seen = Seen(bounds, replicas, problem=error.problem)
            if aim is not None and self._leads():
                await self._hold(stored, autoscaler, track, aim)
        if self._leads():
            await self._teller.found(stored, seen)

    async def _measured(self, autoscaler: Autoscaler, track: _Track, aim: Aim, seen: Seen) -> Seen:
        """Reads the load and decides. Raises ObstacleError."""
        readings, loads = await self._loads.of(autoscaler, aim.pods)
        track.answered_at = self._clock()
        now = self._now()
        self._fit(autoscaler, track, readings[0], loads[0], now)
        found = track.forecast
        forecast, missing = (found, None) if isinstance(found, Forecast) else (None, found)
        if not track.needed and autoscaler.strategy is not Strategy.OBSERVER:
            # Whether fewer were enough before this process began is not known.
            track.needed.append(Needed(now, float(aim.asked)))
        rules = Rules(autoscaler.strategy, seen.bounds, autoscaler.forward, autoscaler.window)
        decision = decide(
            now,
            loads,
            readings[0].pods,
            aim.asked,
            rules,
            forecast,
            track.needed,
            self._clock() - track.raised_at,
        )
        track.needed.append(decision.needed)
        return Seen(
            seen.bounds,
            aim.scale.present,
            [load.actual for load in loads],
            decision,
            missing,
            self._timing.season if forecast is not None else 0,
        )

    def _fit(
        self, autoscaler: Autoscaler, track: _Track, reading: Reading, load: Load, now: float
    ) -> None:
        """Makes a new forecast, if it is time."""
        age = now - track.fitted_at
        if age < _REFIT_SLOTS * self._timing.slot and track.fitted_for == autoscaler.quantile:
            return
        track.forecast = fit(reading.history, autoscaler.quantile, capacity=load.capacity)
        track.fitted_at, track.fitted_for = now, autoscaler.quantile

    async def _write(
        self, stored: Stored, autoscaler: Autoscaler, track: _Track, aim: Aim, seen: Seen
    ) -> None:
        decision = seen.decision
        if decision is None:
            return
        track.wanted = aim.asked if decision.wanted is None else decision.wanted
        if decision.wanted is not None:
            await self._scale(stored, autoscaler, track, aim, decision.wanted, _why(decision))

    async def _hold(self, stored: Stored, autoscaler: Autoscaler, track: _Track, aim: Aim) -> None:
        """The load is not known: for a while, never less than the last number."""
        is_lately = self._clock() - track.answered_at < self._timing.hold
        writes = autoscaler.strategy is not Strategy.OBSERVER
        if writes and is_lately and track.wanted is not None and aim.asked < track.wanted:
            why = "the load is not known: the last number is held"
            await self._scale(stored, autoscaler, track, aim, track.wanted, why)

    async def _scale(
        self,
        stored: Stored,
        autoscaler: Autoscaler,
        track: _Track,
        aim: Aim,
        wanted: int,
        why: str,
    ) -> None:
        """A conflict is left to the next look."""
        key, before = autoscaler.key, aim.asked
        try:
            if aim.hpa is not None:
                wanted = min(max(wanted, 1), aim.hpa.spec.max_replicas)
                if wanted == before:
                    return
                written = await self._scaler.set_minimum(aim.hpa, key.name, wanted)
            else:
                written = await self._scaler.write(key.namespace, aim.workload, aim.scale, wanted)
        except (ApiError, NoAnswerError) as error:
            raise ObstacleError(Problem(Obstacle.API_UNAVAILABLE, str(error))) from error
        if written:
            if wanted > before:
                track.raised_at = self._clock()
            await self._teller.scaled(stored, before, wanted, why)

    async def _restore_minimums(self) -> None:
        """Gives HPAs their own minimum back whose object is gone, or scales them no longer."""
        for hpa in list(self._view.hpas.objects.values()):
            if not hpa.holder or self._is_held(hpa):
                continue
            try:
                await self._scaler.restore(hpa)
            except (ApiError, NoAnswerError) as error:
                _log.warning(
                    "minReplicas not restored",
                    extra={"hpa": "/".join(hpa.key), "reason": str(error)},
                )

    def _is_held(self, hpa: Hpa) -> bool:
        namespace, name = hpa.key
        stored = self._view.autoscalers.objects.get(AutoscalerKey(namespace, hpa.holder))
        if stored is None:
            return False
        holder = stored.loaded
        if isinstance(holder, InvalidAutoscaler):
            return True  # nothing moves until it is valid
        is_its_target = holder.target.is_hpa and holder.target.name == name
        return is_its_target and holder.strategy is not Strategy.OBSERVER


def _left_out(objects: Iterable[Stored]) -> set[AutoscalerKey]:
    """The objects that are too many in their namespace: a tenant's objects must not delay those of
    the others."""
    by_namespace: dict[str, list[Stored]] = {}
    for each in objects:
        by_namespace.setdefault(each.loaded.key.namespace, []).append(each)
    return {
        each.loaded.key
        for found in by_namespace.values()
        for each in sorted(found, key=_age)[MOST_IN_NAMESPACE:]
    }


def _age(stored: Stored) -> tuple[str, str]:
    return stored.created, stored.loaded.key.name


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
