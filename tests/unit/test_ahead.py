"""A day under the decisions of the service: with a rhythm, with noise, and without a history."""

from collections import deque
from math import ceil

import numpy as np
import pytest

from spillover.core.autoscaling.autoscaler import Strategy
from spillover.core.autoscaling.bounds import Bounds
from spillover.forecast.decision import Decision, Load, Needed, Rules, decide
from spillover.forecast.history import MINUTE, POINTS, History
from spillover.forecast.season import Forecast, Missing, fit

DAY = 86_400
MIDNIGHT = 1_700_006_400
"""In UTC."""
TARGET = 20.0


def played(
    load: np.ndarray, begin: int, minutes: int, forward: float, strategy: Strategy = Strategy.AUTO
) -> list[tuple[int, Decision, Forecast | Missing]]:
    """Decides each minute from `begin` on. `load` has eight days from midnight on, by minutes; the
    first is seven days before MIDNIGHT."""
    rules = Rules(strategy, Bounds(1, 50), forward, 300)
    recent: deque[Needed] = deque(maxlen=10)
    found: list[tuple[int, Decision, Forecast | Missing]] = []
    forecast: Forecast | Missing = Missing.HISTORY
    replicas = 1
    for minute in range(minutes):
        now = begin + minute * MINUTE
        place = (now - MIDNIGHT) // MINUTE + POINTS
        if minute % 15 == 0:
            week = load[place + 1 - POINTS : place + 1].astype(np.float32)
            forecast = fit(History(now, week, np.ones(POINTS, np.float32)), 0.95)
        made = decide(
            now,
            [Load(float(load[place]), TARGET)],
            1,
            replicas,
            rules,
            forecast if isinstance(forecast, Forecast) else None,
            recent,
            60,
        )
        recent.append(made.needed)
        replicas = replicas if made.wanted is None else made.wanted
        found.append((now - MIDNIGHT, made, forecast))
    return found


def clock(hours: int, minutes: int) -> int:
    return hours * 3600 + minutes * 60


def stepped() -> np.ndarray:
    """100, and 200 from 09:00 to 18:00 on each day."""
    hour = (np.arange(8 * 1440) % 1440) / 60
    return np.where((hour >= 9) & (hour < 18), 200.0, 100.0)


@pytest.mark.parametrize(
    ("forward", "latest", "earliest"),
    [(180, clock(8, 57), clock(8, 45)), (1800, clock(8, 30), clock(8, 15))],
)
def test_growth_comes_before_the_load(forward: float, latest: int, earliest: int) -> None:
    found = played(stepped(), MIDNIGHT + clock(8, 0), 90, forward)
    grown = next(at for at, made, _ in found if made.desired == 10)
    assert earliest <= grown <= latest
    assert {made.desired for at, made, _ in found if at < grown} == {5}
    assert {made.reactive for at, made, _ in found if at < clock(9, 0)} == {5}


def test_the_load_alone_grows_with_the_load() -> None:
    found = played(stepped(), MIDNIGHT + clock(8, 0), 90, 180, Strategy.REACTIVE)
    assert next(at for at, made, _ in found if made.desired == 10) == clock(9, 0)


def test_noise_is_followed_and_not_forecast() -> None:
    chance = np.random.default_rng(3)
    load = np.maximum(0.0, 100 + 30 * chance.standard_normal(8 * 1440))
    for at, made, forecast in played(load, MIDNIGHT + clock(3, 0), 120, 180):
        actual = load[at // 60 + POINTS]
        assert forecast is Missing.RHYTHM
        assert made.proactive is None
        assert made.reactive == ceil(actual / TARGET)


def test_without_a_history_the_load_is_followed() -> None:
    load = np.full(8 * 1440, np.nan)
    load[POINTS:] = 100 + np.arange(1440) % 60
    for at, made, forecast in played(load, MIDNIGHT + clock(1, 0), 120, 180):
        assert forecast is Missing.HISTORY
        assert made.reactive == ceil(load[at // 60 + POINTS] / TARGET)


def test_a_sudden_load_wins_at_once_and_is_held() -> None:
    """Four times as much for ten minutes."""
    load = stepped()
    begin = clock(3, 10)
    first = POINTS + begin // 60
    load[first : first + 10] *= 4
    found = {at: made for at, made, _ in played(load, MIDNIGHT + clock(3, 0), 40, 180)}
    assert found[begin - 60].desired == 5
    assert found[begin].desired == 20
    end = begin + 600
    assert {found[at].desired for at in range(end, end + 241, 60)} == {20}
    assert found[end + 360].desired == 5
