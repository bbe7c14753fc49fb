"""The predictive autoscaler on real loads: what a quantile costs, and how it compares with an HPA
of the same cost.

For each day with a forecast: the minutes in which the pods cannot take the load, with pods that
need ten minutes to start; and an HPA whose target is chosen so that it pays for as many
replica-hours. The HPA is the same rule by the present load alone, once a minute: an HPA looks every
15 s, which makes no difference where a pod needs ten minutes.

`./dev bench ahpa [--every N]`
"""

import argparse
from statistics import mean

from ahpa.traces import FOLDER, Outcome, Trace, coverage, simulated, traces
from harness import reports

_QUANTILES = (0.5, 0.8, 0.9, 0.95, 0.97, 0.99)
_TARGET = 60.0


def equal_hpa(trace: Trace, day: int, hours: float) -> Outcome:
    """The day by the present load alone, with the highest target that pays for at least so many
    replica-hours."""
    low, high = 5.0, 100.0
    found = simulated(trace, day, low, quantile=None)
    for _ in range(12):
        target = (low + high) / 2
        tried = simulated(trace, day, target, quantile=None)
        if tried.replica_hours >= hours:
            low, found = target, tried
        else:
            high = target
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="one of N days")
    options = parser.parse_args()
    if not FOLDER.exists():
        raise SystemExit(f"there are no traces in {FOLDER}")
    days = [
        (trace, day)
        for trace in traces()
        for day in trace.days()
        if coverage(trace, day, 0.95) is not None
    ][:: options.every]
    price = []
    for quantile in _QUANTILES:
        found = [each for each in (coverage(*day, quantile) for day in days) if each is not None]
        price.append(
            {
                "quantile": f"{quantile:g}",
                "load below forecast": f"{mean(share for share, _ in found):.3f}",
                "worst day": f"{min(share for share, _ in found):.3f}",
                "mean forecast ÷ mean load": f"{mean(cost for _, cost in found):.2f}",
            }
        )
    compared = []
    raw = []
    for quantile in (0.8, 0.95, 0.99):
        ours = [simulated(trace, day, _TARGET, quantile=quantile) for trace, day in days]
        theirs = [
            equal_hpa(trace, day, outcome.replica_hours)
            for (trace, day), outcome in zip(days, ours, strict=True)
        ]
        same = [simulated(trace, day, _TARGET, quantile=None) for trace, day in days]
        raw.append({"quantile": quantile, "ours": ours, "theirs": theirs})
        compared += [
            _row(f"AHPA auto, quantile {quantile:g}, target {_TARGET:g}", ours),
            _row("HPA with the target that costs the same", theirs),
            _row(f"HPA with the target {_TARGET:g}", same),
        ]
    tables = {
        f"What a quantile costs, {len(days)} days": price,
        "At equal cost, pods start in 10 minutes": compared,
    }
    data = {"price": price, "compared": compared}
    command = f"./dev bench ahpa --every {options.every}"
    print(reports.write("ahpa", "The predictive autoscaler", command, tables, data))


def _row(name: str, outcomes: list[Outcome]) -> dict[str, str]:
    return {
        "": name,
        "saturated minutes a day": f"{mean(each.saturated for each in outcomes):.1f}",
        "replica-hours a day": f"{mean(each.replica_hours for each in outcomes):.0f}",
    }


if __name__ == "__main__":
    main()
