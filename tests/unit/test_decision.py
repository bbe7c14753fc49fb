"""How many replicas follow from a load and a forecast."""

from dataclasses import replace

import numpy as np
import pytest

from spillover.core.autoscaling.autoscaler import Strategy
from spillover.core.autoscaling.bounds import Bounds
from spillover.forecast.decision import Decision, Load, Needed, Rules, decide
from spillover.forecast.season import SLOTS, Forecast

NOW = 1_700_006_400.0
RULES = Rules(Strategy.AUTO, Bounds(1, 50), forward=180, window=300)


def flat(load: float) -> Forecast:
    return Forecast(int(NOW), np.full(SLOTS, load))


def decided(
    load: float,
    replicas: int,
    rules: Rules = RULES,
    forecast: Forecast | None = None,
    recent: tuple[Needed, ...] = (),
    pods: int | None = None,
    capacity: float | None = None,
    since: float = 60.0,
) -> Decision:
    ready = replicas if pods is None else pods
    loads = [Load(load, 20, capacity)]
    return decide(NOW, loads, ready, replicas, rules, forecast, recent, since)


def test_the_tutorials_rows() -> None:
    """Under observer the bounds are not applied, and nothing is written."""
    rules = Rules(Strategy.OBSERVER, Bounds(10, 50), 180, 300)
    idle, busy = decided(0, 1, rules), decided(189, 4, rules)
    assert (idle.desired, idle.wanted) == (0, None)
    assert (busy.desired, busy.wanted) == (10, None)


@pytest.mark.parametrize(
    ("load", "pods"), [(0, 0), (1, 1), (20, 1), (20.5, 2), (100, 5), (189, 10)]
)
def test_without_a_forecast_the_load_decides(load: float, pods: int) -> None:
    found = decided(load, 1)
    assert (found.reactive, found.proactive, found.desired) == (pods, None, max(1, pods))


def test_rounding_of_sums_adds_no_pod() -> None:
    assert decided(100.00001, 5).desired == 5
    assert decided(sum([0.1] * 1000), 5).desired == 5


def test_the_higher_of_forecast_and_load_wins() -> None:
    assert decided(40, 4, forecast=flat(160)).wanted == 8
    assert decided(200, 4, forecast=flat(160)).wanted == 10


def test_within_the_tolerance_nothing_moves() -> None:
    assert decided(105, 5).wanted is None
    assert decided(111, 5).wanted == 6
    assert decided(91, 5).wanted is None
    assert decided(79, 5).wanted == 4


def test_the_tolerance_does_not_pass_a_bound() -> None:
    assert decided(100, 5, replace(RULES, bounds=Bounds(6, 50))).wanted == 6
    assert decided(100, 5, replace(RULES, bounds=Bounds(1, 4))).wanted == 4


def test_fewer_only_after_the_window() -> None:
    before = (Needed(NOW - 299, 20.0), Needed(NOW - 400, 40.0))
    found = decided(100, 20, recent=before)
    assert (found.desired, found.wanted) == (20, None)
    later = (Needed(NOW - 301, 20.0),)
    assert decided(100, 20, recent=later).wanted == 5


def test_bounds_and_what_limits() -> None:
    rules = replace(RULES, bounds=Bounds(4, 15))
    assert (decided(0, 10, rules).wanted, decided(0, 10, rules).limit) == (4, "TooFewReplicas")
    many = decided(1000, 10, rules)
    assert (many.desired, many.wanted, many.limit) == (15, 15, "TooManyReplicas")


def test_strategies() -> None:
    def wanted(strategy: Strategy, load: float, forecast: float | None) -> int | None:
        rules = replace(RULES, strategy=strategy)
        return decided(load, 10, rules, flat(forecast) if forecast else None).wanted

    assert wanted(Strategy.AUTO, 20, 100) == 5
    assert wanted(Strategy.SCALING_UP_ONLY, 20, 100) is None
    assert wanted(Strategy.SCALING_UP_ONLY, 20, 400) == 20
    assert wanted(Strategy.PROACTIVE, 400, 100) == 5
    assert wanted(Strategy.PROACTIVE, 400, None) == 20, "without a forecast the load decides"
    assert wanted(Strategy.REACTIVE, 100, 400) == 5
    assert wanted(Strategy.OBSERVER, 400, 400) is None


def test_a_saturated_load_asks_for_one_more() -> None:
    """Three pods at 95 % and more hide how much is asked for; by the goal 15 are enough."""
    rules = replace(RULES, bounds=Bounds(1, 100))
    found = decide(NOW, [Load(290, 290, 100)], 3, 3, rules, None, (), 60)
    assert found.is_saturated
    assert (found.reactive, found.wanted) == (4, 4)
    assert not decided(280, 3, rules, capacity=100).is_saturated
    assert decided(290, 3, rules, capacity=100).reactive == 15
    # The tolerance does not keep it back: 20 pods at 100 %, where 95 % are aimed at.
    full = decide(NOW, [Load(2000, 95, 100)], 20, 20, rules, None, (), 60)
    assert (full.reactive, full.wanted) == (22, 22)


def test_growth_by_the_load_is_in_steps_and_by_the_forecast_at_once() -> None:
    assert decided(800, 1, since=15).wanted == 5
    assert decided(800, 10, since=15).wanted == 20
    assert decided(800, 10, since=60).wanted == 40
    assert decided(800, 1, forecast=flat(800), since=15).wanted == 40
    assert decided(800, 1, since=float("inf")).wanted == 40, "never raised before"


def test_the_highest_of_all_metrics_counts() -> None:
    loads = [Load(100, 20), Load(900, 100)]
    found = decide(NOW, loads, 5, 5, RULES, flat(120), (), 60)
    assert (found.reactive, found.proactive, found.wanted) == (9, 6, 9)
