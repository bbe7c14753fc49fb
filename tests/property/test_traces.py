"""The forecast on real loads: it keeps what a quantile promises."""

import numpy as np
import pytest

from ahpa.traces import FOLDER, coverage, simulated, traces

QUANTILES = (0.5, 0.8, 0.9, 0.95, 0.99)

pytestmark = pytest.mark.skipif(
    not FOLDER.exists(), reason="the traces are not beside the checkout: see e2e/ahpa/traces.py"
)


@pytest.mark.timeout(1200)
def test_the_load_stays_below_the_forecast_as_often_as_asked(*, full: bool) -> None:
    """Of all days with a forecast; CI looks at some of them."""
    found: dict[float, list[float]] = {quantile: [] for quantile in QUANTILES}
    costs: dict[float, list[float]] = {quantile: [] for quantile in QUANTILES}
    for trace in traces():
        for day in trace.days():
            if not full and (len(trace.name) + day) % 6:
                continue
            for quantile in QUANTILES:
                covered = coverage(trace, day, quantile)
                if covered is None:
                    break
                found[quantile].append(covered[0])
                costs[quantile].append(covered[1])
    for quantile, shares in found.items():
        mean, worst, cost = np.mean(shares), min(shares), np.mean(costs[quantile])
        print(
            f"{quantile}: {len(shares)} days, {mean:.3f} below, worst day {worst:.3f},"
            f" forecast / load {cost:.2f}"
        )
        assert len(shares) >= (20 if full else 10)
        assert abs(mean - quantile) <= 0.05
    assert min(found[0.95]) >= 0.85


def test_it_saturates_less_than_an_hpa_at_the_same_cost() -> None:
    """One day of one load; `./dev bench ahpa` compares them all."""
    trace = traces()[3]
    ahead = simulated(trace, 8, 60.0, quantile=0.95)
    low, high = 10.0, 100.0
    for _ in range(12):
        target = (low + high) / 2
        behind = simulated(trace, 8, target, quantile=None)
        if behind.replica_hours > ahead.replica_hours:
            low = target
        else:
            high = target
    print(f"ahead {ahead}, behind {behind} at a target of {target:.0f}")
    assert ahead.saturated <= behind.saturated
