"""What the chart of an object shows: its load and pods of the last seven days, and the forecast."""

from collections.abc import Sequence

import numpy as np

from spillover.ahpa.chart import Figure, Line, Page
from spillover.core.autoscaling.autoscaler import Autoscaler, InvalidAutoscaler
from spillover.forecast.decision import whole
from spillover.forecast.history import History
from spillover.forecast.season import Forecast, Missing, Slots, maxima, slot_seconds

_WHY = {
    Missing.HISTORY: "less than 80 % of the last seven days are known",
    Missing.RHYTHM: "the last seven days have no common rhythm",
}


def charted(
    autoscaler: Autoscaler, history: History, forecast: Forecast | Missing, capacity: float | None
) -> Page:
    """The page of an object. `capacity` is the most that one pod can show, or None."""
    goal = autoscaler.metrics[0]
    load, pods = maxima(history)
    slot = slot_seconds(history)
    begin = history.end - history.end % slot - slot * len(load)
    name = goal.name.upper() if len(goal.name) <= _LONGEST_SHORT_NAME else goal.name
    predicted = _predicted(forecast, slot)
    needed = [
        Line(each.name, each.style, each.start, each.step, _pods(each.values, goal.goal))
        for each in predicted
    ]
    goals = Line("goal of all pods", "goal", begin, slot, (pods * goal.goal).tolist())
    unit = "%" if capacity is not None else ""
    return Page(
        f"{autoscaler.key.namespace}/{autoscaler.key.name}",
        _facts(autoscaler, load, forecast),
        (
            Figure(
                f"Predict {name} Resource Observer",
                unit,
                [Line("actual", "actual", begin, slot, load.tolist()), *predicted, goals],
            ),
            Figure(
                "Predict POD Observer",
                "",
                [Line("actual", "actual", begin, slot, pods.tolist()), *needed],
            ),
        ),
    )


_LONGEST_SHORT_NAME = 3


def explained(title: str, reason: str) -> Page:
    """A page that says why there is no chart."""
    return Page(title, (("No chart", reason),), ())


def why_invalid(autoscaler: InvalidAutoscaler) -> str:
    return "; ".join(map(str, autoscaler.errors))


def _predicted(forecast: Forecast | Missing, slot: float) -> list[Line]:
    if isinstance(forecast, Missing):
        return []
    past = [] if forecast.past is None else forecast.past.tolist()
    start = forecast.start - slot * len(past)
    return [Line("predicted", "predicted", start, slot, [*past, *forecast.load.tolist()])]


def _pods(load: Sequence[float], goal: float) -> list[float]:
    return [float(whole(each / goal)) if np.isfinite(each) else each for each in load]


def _facts(
    autoscaler: Autoscaler, load: Slots, forecast: Forecast | Missing
) -> list[tuple[str, str]]:
    goal = autoscaler.metrics[0]
    found = [
        ("Scales", f"{autoscaler.target.kind} {autoscaler.target.name}"),
        ("Strategy", autoscaler.strategy),
        ("Target", f"{goal.goal:g} of {goal.name} for each pod"),
        ("Quantile", f"{autoscaler.quantile:.3g}"),
    ]
    if isinstance(forecast, Missing):
        return [*found, ("Forecast", f"none: {_WHY[forecast]}")]
    if forecast.past is not None:
        known = np.isfinite(load) & np.isfinite(forecast.past)
        actual, past = load[known], forecast.past[known]
        if len(actual) and actual.sum() > 0:
            found += [
                ("Load below forecast, last 7 days", f"{(actual <= past).mean():.1%}"),
                ("Mean forecast ÷ mean load, last 7 days", f"{past.mean() / actual.mean():.2f}"),
            ]
    highest = float(forecast.load.max())
    return [*found, ("Highest forecast, next day", f"{highest:.4g}")]
