"""The day profile of a load, and a forecast of the next day with a margin that keeps its promise.

Method, in three steps:

1. Each day's 5-minute maxima are divided by the day's level. The profile of a slot is a quantile of
   the same slot and its neighbours on all days.
2. The forecast is the profile times the level of the last days, times how far the load of the last
   two hours is from that. The last factor fades away within the next hours.
3. A quantile of the past alone is too low on a new day. A conformal margin is added: the quantile
   of the errors that the same method makes on each day when it has seen only the other days. With
   it the load stays below the forecast as often as was asked for.

A load without a rhythm gets no forecast.

Source of the margin: Angelopoulos and Bates, "A Gentle Introduction to Conformal Prediction"
(2021). The method's numbers on real loads: docs/predictive-autoscaling.md.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from spillover.forecast.history import DAYS, MINUTE, POINTS, SAMPLES, SATURATED, History, Samples

SLOTS = 288
"""Slots of a day: of five minutes, if the day has 24 hours."""
ENOUGH = 0.8
"""Share of the samples of all days below which no forecast is made."""
RHYTHM = 0.4
"""Share of the variance that the profile of other days must explain."""

_SAMPLES = SAMPLES // SLOTS
_LEVEL_DAYS = 3
_QUARTER = 3
"""Slots of a quarter of an hour: a forecast is made anew so often."""
_TREND_SLOTS = 24
"""Slots of which the trend is the median: two hours."""
_MOST_TREND = 4.0
"""The largest factor by which the last hours change a forecast."""
_FADING_SLOTS = 72.0
"""After so many slots, six hours, the logarithm of the factor is down to 1/e."""
_LEAST_SHARE = 0.1
"""Of a level: it is added on both sides where a load is divided by its profile. At night, when
there is hardly any load, a few requests are no trend."""
_NOTHING = 1e-9
"""Of a variance or a load, where the mean of the load is 1."""

Slots = NDArray[np.float64]
Number = TypeVar("Number", np.float64, np.bool_)


class Missing(StrEnum):
    """Why there is no forecast."""

    HISTORY = "InsufficientHistory"
    RHYTHM = "NotPeriodic"


@dataclass(frozen=True, slots=True)
class Forecast:
    """The load of the next day."""

    start: int
    """Begin of the first slot in seconds since 1970."""
    load: Slots
    """What the load stays below, with the probability that was asked for. Shape (SLOTS,)."""
    slot: int = _SAMPLES * MINUTE
    """Seconds of a slot."""
    past: Slots | None = None
    """What the days before would have been forecast from the other days, a quarter of an hour
    ahead. Shape (DAYS * SLOTS,), up to `start`."""

    def highest(self, begin: float, end: float) -> float | None:
        """The highest load of the slots that touch [begin, end], or None outside the forecast."""
        first = int((begin - self.start) // self.slot)
        last = int((end - self.start) // self.slot)
        if first < 0 or first >= SLOTS:
            return None
        return float(self.load[first : min(last, SLOTS - 1) + 1].max())


@dataclass(frozen=True, slots=True)
class _Days:
    """Days before the forecast. Each array has the shape (DAYS, SLOTS), the oldest day first."""

    load: Slots
    """Maximum of each slot; NaN without a sample."""
    is_bound: NDArray[np.bool_]
    """The slots in which the load was cut off by what the pods can show: a lower bound."""


def fit(history: History, quantile: float, *, capacity: float | None = None) -> Forecast | Missing:
    """Forecasts the day that begins with the slot of `history.end`. `quantile` is between 0 and 1.
    `capacity` is the most that one pod can show, such as 100 for a utilisation in percent; None if
    there is no such limit."""
    if history.share < ENOUGH:
        return Missing.HISTORY
    slot = slot_seconds(history)
    start = history.end - history.end % slot
    days = _days(history, start, capacity)
    levels = _levels(days.load)
    if np.count_nonzero(np.isfinite(levels)) < _LEVEL_DAYS:
        return Missing.HISTORY
    shape = days.load / levels[:, None]
    if _explained(shape) <= RHYTHM:
        return Missing.RHYTHM
    middle, high = _profiles(shape, days.is_bound, (0.5, quantile))
    trial = _trial(days, shape, levels, quantile)
    level = float(np.median(levels[np.isfinite(levels)][-_LEVEL_DAYS:]))
    fading = np.exp(-np.arange(SLOTS) / _FADING_SLOTS)
    trend = _trends(days.load[-1] / level, middle)[-1] ** fading
    load = np.maximum(level * trend * (high + trial.margin), 0.0)
    return Forecast(start, load, slot, _past(trial, levels))


def _days(history: History, start: int, capacity: float | None) -> _Days:
    """The days that end at `start`."""
    load, pods = (_slots(history, start, each) for each in (history.load, history.pods))
    most = pods * (np.inf if capacity is None else SATURATED * capacity)
    return _Days(np.fmax.reduce(load, axis=2), np.any(load >= most, axis=2))


def _slots(history: History, start: int, samples: Samples) -> Slots:
    """The samples of each slot. Shape (DAYS, SLOTS, samples of a slot)."""
    absent = (history.end - start) // history.step + 1
    moved = np.concatenate([np.full(absent, np.nan), samples[: POINTS - absent]])
    found: Slots = moved.reshape(DAYS, SLOTS, _SAMPLES).astype(np.float64)
    return found


def _levels(load: Slots) -> Slots:
    """The mean of each day; NaN for a day without half of its slots, or without a load."""
    known = np.isfinite(load)
    counts = known.sum(axis=1)
    sums = np.where(known, load, 0.0).sum(axis=1)
    is_usable = (counts >= SLOTS / 2) & (sums > 0)
    return np.where(is_usable, sums / np.maximum(counts, 1), np.nan)


def _explained(shape: Slots) -> float:
    """The share of the variance of each day that the medians of the other days explain, by quarters
    of an hour. Not above 1; below 0 if the mean is a better forecast; 0 without any variance."""
    quarters = shape.reshape(DAYS, SLOTS // _QUARTER, _QUARTER).transpose(0, 2, 1)
    actual = np.stack([_quantiles(day, (0.5,))[0] for day in quarters])
    others = (np.concatenate([*quarters[:day], *quarters[day + 1 :]]) for day in range(DAYS))
    expected = np.stack([_quantiles(each, (0.5,))[0] for each in others])
    known = np.isfinite(actual) & np.isfinite(expected)
    actual, expected = actual[known], expected[known]
    variance = float(((actual - actual.mean()) ** 2).sum())
    if variance <= _NOTHING * len(actual):
        return 0.0
    return 1.0 - float(((actual - expected) ** 2).sum()) / variance


@dataclass(frozen=True, slots=True)
class _Trial:
    """What the same method makes of each day when it has seen only the other days, in shares of the
    level that was expected. Shapes (DAYS, SLOTS)."""

    actual: Slots
    trend: Slots
    high: Slots
    """The profile of the other days."""
    margin: float
    """What is added to a profile."""


def _trial(days: _Days, shape: Slots, levels: Slots, quantile: float) -> _Trial:
    middles, highs = [], []
    pooled, bound = _pooled(shape), _pooled(days.is_bound)
    for day in range(DAYS):
        others = np.arange(DAYS) != day
        middle, high = _of_pool(pooled[:, others], bound[:, others], (0.5, quantile))
        middles.append(middle)
        highs.append(high)
    actual = days.load / _expected_levels(levels)[:, None]
    trend = _trends(actual.ravel(), np.stack(middles).ravel())[:-1].reshape(DAYS, SLOTS)
    high = np.stack(highs)
    errors = actual / trend - high
    # A load that was cut off may show that a forecast was too low, never that it was too high.
    usable = np.isfinite(errors) & (~days.is_bound | (errors > 0))
    margin = float(np.quantile(errors[usable], quantile)) if usable.any() else 0.0
    return _Trial(actual, trend, high, margin)


def _past(trial: _Trial, levels: Slots) -> Slots:
    expected = _expected_levels(levels)[:, None] * trial.trend * (trial.high + trial.margin)
    past: Slots = np.maximum(expected, 0.0).ravel()
    return past


def slot_seconds(history: History) -> int:
    """Seconds of a slot."""
    return _SAMPLES * history.step


def maxima(history: History) -> tuple[Slots, Slots]:
    """The highest load and the most pods of each slot before `Forecast.start`. NaN without a
    sample. Shapes (DAYS * SLOTS,)."""
    start = history.end - history.end % slot_seconds(history)
    load, pods = (_slots(history, start, each) for each in (history.load, history.pods))
    return np.fmax.reduce(load, axis=2).ravel(), np.fmax.reduce(pods, axis=2).ravel()


def _expected_levels(levels: Slots) -> Slots:
    """The level that would have been expected of each day: the median of the three days before it,
    or, for the first days, of the three nearest. Shape (DAYS,)."""
    found = []
    for day in range(DAYS):
        before = levels[max(0, day - _LEVEL_DAYS) : day]
        near = np.delete(levels[: _LEVEL_DAYS + 1], day) if day < _LEVEL_DAYS else before
        known = near[np.isfinite(near)]
        found.append(float(np.median(known)) if len(known) else float(np.nanmedian(levels)))
    return np.array(found)


def _trends(actual: Slots, expected: Slots) -> Slots:
    """How far the load of the two hours before each slot is from its profile, as a factor. Both are
    those of consecutive slots in shares of the level, shape (n,). The result has the shape
    (n + 1,): the last is that of the slot which follows. 1 where it is not known."""
    ratios = (actual + _LEAST_SHARE) / (expected + _LEAST_SHARE)
    before = np.concatenate([np.full(_TREND_SLOTS, np.nan), ratios])
    windows = sliding_window_view(before, _TREND_SLOTS)[::_QUARTER]
    typical = _quantiles(windows.T, (0.5,))[0]
    known = np.where(np.isfinite(typical), typical, 1.0)
    factors: Slots = np.clip(known, 1 / _MOST_TREND, _MOST_TREND)
    return np.repeat(factors, _QUARTER)[: len(ratios) + 1]


def _profiles(
    shape: Slots, is_bound: NDArray[np.bool_], quantiles: tuple[float, ...]
) -> tuple[Slots, ...]:
    """The quantiles of each slot over all days."""
    return _of_pool(_pooled(shape), _pooled(is_bound), quantiles)


def _pooled(days: NDArray[Number]) -> NDArray[Number]:
    """Each slot with the slot before and after it. Shape (3, DAYS, SLOTS)."""
    flat = days.ravel()
    around = [np.concatenate([flat[:1], flat[:-1]]), flat, np.concatenate([flat[1:], flat[-1:]])]
    return np.stack(around).reshape(3, DAYS, SLOTS)


def _of_pool(
    pooled: Slots, is_bound: NDArray[np.bool_], quantiles: tuple[float, ...]
) -> tuple[Slots, ...]:
    """The quantiles of each slot over all given days. Samples that were cut off raise them or leave
    them, and never lower them. Never 0: the profile divides the load."""
    values, bound = pooled.reshape(-1, SLOTS), is_bound.reshape(-1, SLOTS)
    found = _quantiles(values, quantiles)
    if bound.any():
        uncut = _quantiles(np.where(bound, np.nan, values), quantiles)
        found = [np.fmax(one, other) for one, other in zip(found, uncut, strict=True)]
    return tuple(np.maximum(_without_gaps(each), _NOTHING) for each in found)


def _quantiles(values: Slots, quantiles: tuple[float, ...]) -> list[Slots]:
    """The quantiles of each column, without its NaNs; NaN for a column of nothing else. As
    numpy.nanquantile, which takes a hundred times as long."""
    ordered = np.sort(values, axis=0)  # NaN comes last
    counts = np.isfinite(values).sum(axis=0)
    found = []
    for quantile in quantiles:
        place = quantile * np.maximum(counts - 1, 0)
        low = place.astype(np.intp)
        high = np.minimum(low + 1, np.maximum(counts - 1, 0))
        below: Slots = np.take_along_axis(ordered, low[None, :], axis=0)[0]
        above: Slots = np.take_along_axis(ordered, high[None, :], axis=0)[0]
        found.append(below + (above - below) * (place - low))
    return found


def _without_gaps(profile: Slots) -> Slots:
    """Slots that no day has get a value between those of their neighbours."""
    known = np.isfinite(profile)
    if known.all():
        return profile
    slots = np.arange(SLOTS)
    filled: Slots = np.interp(slots, slots[known], profile[known], period=SLOTS)
    return filled
