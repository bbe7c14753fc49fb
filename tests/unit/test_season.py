"""Forecasts of made loads: with a rhythm, without one, after a shift, and cut off."""

from itertools import pairwise

import numpy as np
import pytest

from spillover.forecast.history import MINUTE, POINTS, History
from spillover.forecast.season import SLOTS, Forecast, Missing, fit

DAY = 86_400
MIDNIGHT = 1_700_006_400  # a midnight in UTC
TIMES = MIDNIGHT - DAY * 7 + MINUTE * np.arange(1, POINTS + 1)
HOURS = (TIMES % DAY) / 3600


def history(load: np.ndarray, pods: np.ndarray | None = None, end: int = MIDNIGHT) -> History:
    every = np.full(POINTS, 10.0) if pods is None else pods
    return History(end, load.astype(np.float32), every.astype(np.float32))


def waves(seed: int = 1, noise: float = 0.05) -> np.ndarray:
    """A day rhythm with its top at 14:00, of 100 on average."""
    chance = np.random.default_rng(seed)
    shape = 100 + 60 * np.cos((HOURS - 14) / 24 * 2 * np.pi)
    return shape * (1 + noise * chance.standard_normal(POINTS))


def forecast(found: Forecast | Missing) -> Forecast:
    assert isinstance(found, Forecast)
    return found


def at(found: Forecast, hour: float) -> float:
    return float(found.load[int(hour * 12) % SLOTS])


def test_a_rhythm_is_forecast() -> None:
    found = forecast(fit(history(waves()), 0.95))
    assert found.start == MIDNIGHT
    assert 160 < at(found, 14) < 200
    assert 40 < at(found, 2) < 65


def test_a_higher_quantile_is_never_lower() -> None:
    loads = [forecast(fit(history(waves()), q)).load for q in (0.5, 0.8, 0.9, 0.95, 0.99)]
    assert all((high >= low).all() for low, high in pairwise(loads))


@pytest.mark.parametrize("quantile", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_the_load_stays_below_as_often_as_asked(quantile: float) -> None:
    """Of 40 days that follow 40 weeks."""
    below = []
    for seed in range(40):
        found = forecast(fit(history(waves(seed)), quantile))
        chance = np.random.default_rng(1000 + seed)
        hours = np.arange(SLOTS) / 12
        level = 100 + 60 * np.cos((hours - 14) / 24 * 2 * np.pi)
        next_day = (level[:, None] * (1 + 0.05 * chance.standard_normal((SLOTS, 5)))).max(axis=1)
        below.append((next_day <= found.load).mean())
    assert abs(float(np.mean(below)) - quantile) < 0.05


@pytest.mark.parametrize("seed", range(5))
def test_noise_has_no_rhythm(seed: int) -> None:
    chance = np.random.default_rng(seed)
    assert fit(history(100 + 30 * chance.standard_normal(POINTS)), 0.95) is Missing.RHYTHM


def test_a_load_that_never_changes_has_none_either() -> None:
    assert fit(history(np.full(POINTS, 50.0)), 0.95) is Missing.RHYTHM
    assert fit(history(np.zeros(POINTS)), 0.95) is Missing.HISTORY


def test_too_little_is_known() -> None:
    load = waves()
    load[: POINTS // 4] = np.nan
    assert fit(history(load), 0.95) is Missing.HISTORY
    assert fit(History.empty(MIDNIGHT), 0.95) is Missing.HISTORY


def test_gaps_are_filled_from_other_days() -> None:
    load = waves()
    load[3 * 1440 + 600 : 3 * 1440 + 900] = np.nan
    load[np.isin((HOURS * 12).astype(int), [120, 121, 122])] = np.nan  # on every day
    found = forecast(fit(history(load), 0.95))
    assert np.isfinite(found.load).all()
    assert 120 < at(found, 10.1) < 190


def test_a_step_at_nine_is_seen_ahead() -> None:
    """The vendor's promise: replicas are there `scaleUpForward` before the load."""
    load = np.where((HOURS > 9) & (HOURS <= 18), 200.0, 100.0)
    found = forecast(fit(history(load), 0.95))
    nine = MIDNIGHT + 9 * 3600

    def pods(time: float, forward: float) -> float:
        highest = found.highest(time, time + forward)
        assert highest is not None
        return highest / 20

    assert pods(nine - 15 * 60, 180) == pytest.approx(5)
    assert pods(nine - 3 * 60, 180) == pytest.approx(10)
    assert pods(nine - 30 * 60, 1800) == pytest.approx(10)
    assert found.highest(MIDNIGHT - 60, MIDNIGHT) is None
    assert found.highest(MIDNIGHT + DAY, MIDNIGHT + DAY + 60) is None


def test_a_level_that_has_shifted_is_followed_within_hours() -> None:
    load = waves(noise=0.02)
    plain = forecast(fit(history(load), 0.95))
    load[-180:] *= 2  # for the last three hours
    shifted = forecast(fit(history(load), 0.95))
    assert shifted.load[0] > 1.7 * plain.load[0]
    assert at(shifted, 12) < 1.3 * at(plain, 12), "half a day later it may be over"


def test_a_load_that_was_cut_off_never_lowers_a_forecast() -> None:
    """The utilisation of two pods cannot pass 200: at noon more may have been asked for."""
    load = np.minimum(waves(noise=0.01) * 1.5, 200)
    few = np.full(POINTS, 2.0)
    plain = forecast(fit(history(load, few), 0.5))
    known = forecast(fit(history(load, few), 0.5, capacity=100))
    assert (known.load >= plain.load - 1e-6).all()
    # One free day with more pods shows the load that the others hid.
    free = waves(noise=0.01) * 1.5
    load[-1440:], few[-1440:] = free[-1440:], 5
    hidden = forecast(fit(history(load, few), 0.5))
    seen = forecast(fit(history(load, few), 0.5, capacity=100))
    assert at(hidden, 14) < 215
    assert at(seen, 14) > 225


def test_a_day_of_another_length() -> None:
    """24 minutes: a sample each second."""
    short = History(MIDNIGHT, *(waves().astype(np.float32), np.ones(POINTS, np.float32)), step=1)
    found, plain = (forecast(fit(each, 0.95)) for each in (short, history(waves())))
    assert (found.start, found.slot) == (MIDNIGHT, 5)
    assert (found.load == plain.load).all()
    noon, noon_of_short = MIDNIGHT + DAY / 2, MIDNIGHT + 12 * 60
    short_top = found.highest(noon_of_short, noon_of_short + 3)
    assert short_top == plain.highest(noon, noon + 180)


def night_shift(night: float, noise: float = 0.0) -> np.ndarray:
    """Hardly anything until 09:00, then 200 until 18:00."""
    chance = np.random.default_rng(5)
    stray = night * (chance.random(POINTS) < 0.2) if noise else np.full(POINTS, night)
    return np.where((HOURS > 9) & (HOURS <= 18), 200.0, stray)


@pytest.mark.parametrize(("night", "noise"), [(0.0, 0.0), (2.0, 1.0), (10.0, 0.0)])
def test_a_night_without_load_hides_no_morning(night: float, noise: float) -> None:
    nine = MIDNIGHT + 9 * 3600
    end = nine - 6 * 60
    load = np.concatenate([night_shift(night, noise)[-POINTS:], night_shift(night, noise)[:540]])
    week = load[534:][:POINTS]
    found = forecast(fit(history(week, end=end), 0.95))
    highest = found.highest(end, nine + 600)
    assert highest is not None
    assert 190 < highest < 260


def test_a_few_requests_at_night_are_no_trend() -> None:
    load = night_shift(0.0)
    load[-120:] = 2.0
    found = forecast(fit(history(load), 0.95))
    assert 190 < at(found, 10) < 260


def test_a_load_that_is_always_cut_off_has_an_answer() -> None:
    load = np.where((HOURS > 9) & (HOURS <= 18), 500.0, 100.0)
    found = forecast(fit(history(load, load / 100), 0.95, capacity=100))
    assert at(found, 12) >= 500


@pytest.mark.parametrize("seed", range(30))
def test_any_samples_have_an_answer(seed: int) -> None:
    chance = np.random.default_rng(seed)
    load = chance.choice([0.0, 1e-30, 1.0, 1e30, np.nan], POINTS, p=[0.3, 0.1, 0.3, 0.1, 0.2])
    if seed % 2:
        load *= np.where(HOURS > 12, 1.0, 0.0)
    pods = chance.choice([0.0, 1.0, np.nan], POINTS)
    found = fit(history(load, pods), 0.95, capacity=100)
    if isinstance(found, Forecast):
        assert np.isfinite(found.load).all()
        assert (found.load >= 0).all()
