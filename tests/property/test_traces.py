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
            if not full and (len(trace.name) + day) % 4:
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
    """Of some days; `./dev bench ahpa` compares them all."""
    ahead = behind = 0.0
    paid_ahead = paid_behind = 0.0
    for trace, day in ((each, day) for each in traces()[1:4] for day in (8, 9)):
        ours = simulated(trace, day, 60.0, quantile=0.95)
        low, high = 5.0, 100.0
        theirs = simulated(trace, day, low, quantile=None)
        for _ in range(10):
            target = (low + high) / 2
            tried = simulated(trace, day, target, quantile=None)
            if tried.replica_hours >= ours.replica_hours:
                low, theirs = target, tried
            else:
                high = target
        ahead += ours.saturated
        behind += theirs.saturated
        paid_ahead += ours.replica_hours
        paid_behind += theirs.replica_hours
    print(f"minutes without enough pods: {ahead:.0f} ahead, {behind:.0f} behind")
    assert paid_behind >= paid_ahead
    assert ahead < behind / 2
