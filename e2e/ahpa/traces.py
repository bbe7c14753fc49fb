"""Real loads, and what the forecast and the decisions make of them, without a cluster.

The files are in ../shared/data/traces beside the checkout: gocrane/crane,
pkg/prediction/dsp/test_data, Apache-2.0. They are no part of the repository.
"""

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.places import ROOT
from spillover.core.autoscaling.autoscaler import Strategy
from spillover.core.autoscaling.bounds import Bounds
from spillover.forecast.decision import Load, Needed, Rules, decide
from spillover.forecast.history import DAYS, MINUTE, POINTS, SAMPLES, History
from spillover.forecast.season import SLOTS, Forecast, Missing, fit

FOLDER = ROOT.parent / "shared" / "data" / "traces"
DAY = SAMPLES * MINUTE
SLOT = DAY // SLOTS
REFIT = 3 * SLOT
"""The service makes a forecast anew so often."""


@dataclass(frozen=True)
class Trace:
    """One load, a sample each minute."""

    name: str
    begin: int
    """Seconds since 1970."""
    load: NDArray[np.float64]
    """NaN without a sample."""

    def days(self) -> range:
        """The days that have seven others before them."""
        return range(DAYS, len(self.load) // SAMPLES)

    def history(self, end: int, scale: float = 1.0) -> History:
        """The seven days up to `end`, which is a minute of the trace."""
        last = (end - self.begin) // MINUTE
        load = self.load[max(0, last + 1 - POINTS) : last + 1] * scale
        missing = np.full(POINTS - len(load), np.nan)
        whole = np.concatenate([missing, load]).astype(np.float32)
        return History(end, whole, np.ones(POINTS, np.float32))


def traces() -> list[Trace]:
    """All of them, the least first."""
    return [_trace(file) for file in sorted(FOLDER.glob("crane*.csv"), key=_number)]


def _number(file: Path) -> int:
    return int(file.stem.removeprefix("crane"))


def _trace(file: Path) -> Trace:
    with file.open() as lines:
        rows = list(csv.reader(lines))[1:]
    times = np.array([int(float(row[0])) // MINUTE for row in rows])
    load = np.full(times[-1] - times[0] + 1, np.nan)
    load[times - times[0]] = [float(row[1]) for row in rows]
    return Trace(file.stem, int(times[0]) * MINUTE, load)


def forecasts(trace: Trace, day: int, quantile: float) -> Iterator[Forecast] | None:
    """The forecasts of one day, as the service makes them, or None for a day that has none at its
    begin."""
    begin = trace.begin + day * DAY
    if isinstance(fit(trace.history(begin - MINUTE), quantile), Missing):
        return None

    def each() -> Iterator[Forecast]:
        for at in range(begin, begin + DAY, REFIT):
            found = fit(trace.history(at - MINUTE), quantile)
            if isinstance(found, Forecast):
                yield found

    return each()


def coverage(trace: Trace, day: int, quantile: float) -> tuple[float, float] | None:
    """How often the load of a day stays below the forecast in force, and the mean forecast as times
    the mean load. None for a day without a forecast."""
    found = forecasts(trace, day, quantile)
    if found is None:
        return None
    below, forecast, actual = [], 0.0, 0.0
    for each in found:
        for slot in range(REFIT // SLOT):
            # A slot of the forecast begins a whole number of slots after 1970.
            first = (each.start - trace.begin) // MINUTE + slot * SLOT // MINUTE
            samples = trace.load[first : first + SLOT // MINUTE]
            if np.isfinite(samples).any():
                highest = float(np.nanmax(samples))
                below.append(highest <= each.load[slot])
                forecast += each.load[slot]
                actual += highest
    return float(np.mean(below)), forecast / actual


@dataclass(frozen=True)
class Outcome:
    """Of one simulated day."""

    saturated: float
    """Minutes in which the pods could not take the load."""
    replica_hours: float


def simulated(
    trace: Trace,
    day: int,
    target: float,
    *,
    quantile: float | None,
    start_seconds: int = 600,
    peak: float = 1200.0,
) -> Outcome:
    """One day under the decisions of the service. A pod takes a load of 100 and is there
    `start_seconds` after it was asked for; the load is scaled so that the highest of the seven days
    before is `peak`. Without a quantile, only the present load counts, as with an HPA."""
    begin = trace.begin + day * DAY
    week = trace.history(begin - MINUTE)
    scale = peak / float(np.nanmax(week.load))
    rules = Rules(
        Strategy.REACTIVE if quantile is None else Strategy.AUTO,
        Bounds(1, 1000),
        forward=start_seconds + REFIT / 3,
        window=300.0,
    )
    recent: deque[Needed] = deque(maxlen=10)
    first = float(np.nan_to_num(trace.load[day * SAMPLES - 1])) * scale
    replicas = max(1, int(np.ceil(first / target)))
    asked: deque[int] = deque([replicas] * (start_seconds // MINUTE), start_seconds // MINUTE)
    saturated = hours = 0.0
    forecast: Forecast | None = None
    for minute in range(SAMPLES):
        now = begin + minute * MINUTE
        if quantile is not None and minute % (REFIT // MINUTE) == 0:
            found = fit(trace.history(now - MINUTE, scale), quantile)
            forecast = found if isinstance(found, Forecast) else None
        actual = float(np.nan_to_num(trace.load[day * SAMPLES + minute])) * scale
        # Pods are there when they were asked for long enough; fewer are gone at once.
        ready = min(*asked, replicas)
        saturated += actual > 100.0 * ready
        hours += replicas / 60
        loads = [Load(min(actual, 100.0 * ready), target, 100.0)]
        found_ = decide(now, loads, ready, replicas, rules, forecast, recent, 60.0)
        recent.append(found_.needed)
        replicas = replicas if found_.wanted is None else found_.wanted
        asked.append(replicas)
    return Outcome(saturated, hours)
