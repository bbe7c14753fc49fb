"""Decides how many replicas a workload is to have: from the load that is, the load that is
forecast, and the numbers of the last minutes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from spillover.core.autoscaling.autoscaler import Strategy
from spillover.core.autoscaling.bounds import Bounds
from spillover.forecast.history import SATURATED
from spillover.forecast.season import Forecast

TOLERANCE = 0.1
"""Replicas do not move while the load for each is so close to its goal, as with an HPA."""

_ROUNDING = 1e-6
"""A sum of floats that is so close above a whole number is that number."""
_STEP_SECONDS = 15
_STEP_PODS = 4
_MOST_STEPS = 8


@dataclass(frozen=True, slots=True)
class Load:
    """The load of one metric now, and how much of it a pod is to have, in the same unit."""

    actual: float
    goal: float
    capacity: float | None = None
    """The most that one pod can show; None: no limit."""


@dataclass(frozen=True, slots=True)
class Needed:
    """How many pods the load needed at a time, before rounding."""

    time: float
    pods: float


@dataclass(frozen=True, slots=True)
class Rules:
    """What the object asks for."""

    strategy: Strategy
    bounds: Bounds
    forward: float
    """Seconds."""
    window: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The numbers of one moment."""

    reactive: int
    """Pods that the load needs now."""
    proactive: int | None
    """Pods that the forecast needs; None without a forecast."""
    desired: int
    """The number that follows, after the stabilization window; within the bounds, unless the
    strategy only observes."""
    wanted: int | None
    """The number to write; None if nothing is to be written."""
    needed: Needed
    """For the stabilization window of later decisions."""
    is_saturated: bool
    """Whether the pods show all that they can, so that the load may be higher than it seems."""
    limit: str = ""
    """TooFewReplicas or TooManyReplicas, if a bound changed the number."""


def decide(
    now: float,
    loads: Sequence[Load],
    pods: int,
    replicas: int,
    rules: Rules,
    forecast: Forecast | None,
    recent: Sequence[Needed],
    since: float,
) -> Decision:
    """`loads` has at least one load, and the forecast is of the first. `pods` are those that the
    loads are of; `replicas` is the number that was asked for last. `recent` has what was needed
    before. `since` are the seconds since the replicas were raised last."""
    saturated = any(
        load.capacity is not None and pods and load.actual >= SATURATED * load.capacity * pods
        for load in loads
    )
    reactive = max(load.actual / load.goal for load in loads)
    if saturated:
        reactive = max(reactive, pods + 1.0)
    highest = forecast.highest(now, now + rules.forward) if forecast is not None else None
    proactive = highest / loads[0].goal if highest is not None else None
    ahead, behind = _of_strategy(rules.strategy, proactive, reactive)
    needed = Needed(now, max(ahead, behind))
    highest_pods = max(
        needed.pods, *(each.pods for each in recent if now - each.time <= rules.window), 0.0
    )
    desired = whole(highest_pods)
    limited = min(desired, max(whole(ahead), _reachable(replicas, since)))
    wanted, limit = _within(limited, rules.bounds)
    if rules.strategy is Strategy.SCALING_UP_ONLY:
        wanted = max(wanted, replicas)
    is_close = replicas and abs(highest_pods / replicas - 1) <= TOLERANCE
    if not limit and is_close and not (saturated and wanted > replicas):
        wanted = _within(replicas, rules.bounds)[0]
    writes = rules.strategy is not Strategy.OBSERVER
    return Decision(
        reactive=whole(reactive),
        proactive=whole(proactive) if proactive is not None else None,
        desired=_within(desired, rules.bounds)[0] if writes else desired,
        wanted=wanted if writes and wanted != replicas else None,
        needed=needed,
        is_saturated=saturated,
        limit=limit,
    )


def whole(pods: float) -> int:
    """The pods that are enough for so much."""
    return ceil(pods - _ROUNDING * max(1.0, pods))


def _of_strategy(
    strategy: Strategy, proactive: float | None, reactive: float
) -> tuple[float, float]:
    """The pods for the forecast and for the load, as far as the strategy asks for them. Without a
    forecast, the load decides."""
    if proactive is None:
        return 0.0, reactive
    match strategy:
        case Strategy.REACTIVE:
            return 0.0, reactive
        case Strategy.PROACTIVE:
            return proactive, 0.0
        case _:
            return proactive, reactive


def _reachable(replicas: int, since: float) -> int:
    """The highest number that growth by the load may reach: every 15 s 4 pods more or twice as
    many, as an HPA does by default."""
    reached = replicas
    for _ in range(max(1, int(min(since / _STEP_SECONDS, _MOST_STEPS)))):
        reached = max(reached + _STEP_PODS, 2 * reached)
    return reached


def _within(pods: int, bounds: Bounds) -> tuple[int, str]:
    if pods < bounds.least:
        return bounds.least, "TooFewReplicas"
    if pods > bounds.most:
        return bounds.most, "TooManyReplicas"
    return pods, ""
