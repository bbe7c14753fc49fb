"""The status of an AdvancedHorizontalPodAutoscaler: fields as the vendor has them, and conditions.

Pure: the time is passed in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from spillover.core.autoscaling.autoscaler import Autoscaler, InvalidAutoscaler, Strategy
from spillover.core.autoscaling.bounds import Bounds
from spillover.forecast.decision import Decision
from spillover.forecast.season import Missing

_LONGEST_MESSAGE = 1000


class Obstacle(StrEnum):
    """Why nothing is scaled, as the reason of a condition."""

    TARGET_NOT_FOUND = "TargetNotFound"
    ANOTHER_AUTOSCALER = "AnotherAutoscaler"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    API_UNAVAILABLE = "ApiServerUnavailable"
    TOO_MANY = "TooManyObjects"
    DISABLED = "ScalingDisabled"


_ABLE = (Obstacle.SOURCE_UNAVAILABLE, Obstacle.DISABLED)
"""The target could be scaled all the same."""


@dataclass(frozen=True, slots=True)
class Problem:
    obstacle: Obstacle
    message: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at an object has found."""

    bounds: Bounds
    replicas: int | None = None
    """The present number; None if the target could not be read."""
    loads: Sequence[float] | None = None
    """The load of each metric; None if the source could not be read."""
    decision: Decision | None = None
    missing: Missing | None = None
    """Why there is no forecast."""
    season: int = 0
    """Seconds of the rhythm; 0 without one."""
    problem: Problem | None = None


def status_of(
    autoscaler: Autoscaler, seen: Seen, before: Mapping[str, Any], now: str
) -> dict[str, Any]:
    """The whole status. `before` is the one that is stored: what was not found stays as it was."""
    goal = autoscaler.metrics[0]
    found: dict[str, Any] = {
        "minReplicas": seen.bounds.least,
        "maxReplicas": seen.bounds.most,
        "targetMetric": {
            "name": goal.name,
            "targets": f"{goal.goal:g}",
            "type": "External" if goal.is_external else "Resource",
        },
        "targetRef": f"{autoscaler.target.kind}/{autoscaler.target.name}",
        "observedGeneration": autoscaler.generation,
    }
    if seen.replicas is not None:
        found["currentReplicas"] = seen.replicas
    if seen.loads is not None:
        found["currentMetrics"] = [
            {
                "type": "External" if metric.is_external else "Resource",
                "resource": {"name": metric.name, "current": {"averageUtilization": round(load)}},
            }
            for metric, load in zip(autoscaler.metrics, seen.loads, strict=True)
        ]
        found["periodicity"] = seen.season
    decision = seen.decision
    if decision is not None:
        found["desiredReplicas"] = decision.desired
        found["reactiveReplicas"] = decision.reactive
        # A merge patch removes a field that is null.
        found["proactiveReplicas"] = decision.proactive
    conditions = [*_conditions(autoscaler, seen)]
    found["conditions"] = [_dated(each, before, now) for each in conditions]
    return found


def invalid_status(
    autoscaler: InvalidAutoscaler, before: Mapping[str, Any], now: str
) -> dict[str, Any]:
    """The status of an object with errors."""
    message = "; ".join(map(str, autoscaler.errors))
    condition = _condition("Invalid", is_true=True, reason="FieldErrors", message=message)
    return {
        "observedGeneration": autoscaler.generation,
        "conditions": [_dated(condition, before, now)],
    }


def _conditions(autoscaler: Autoscaler, seen: Seen) -> Sequence[dict[str, Any]]:
    return (
        _model_available(seen),
        _scaling_active(autoscaler, seen),
        _able_to_scale(seen),
        _scaling_limited(autoscaler, seen),
        *_invalid(autoscaler),
    )


def _model_available(seen: Seen) -> dict[str, Any]:
    match seen.missing:
        case Missing.HISTORY:
            text = "less than 80 % of the last seven days are known: only the load of now counts"
        case Missing.RHYTHM:
            text = "the last seven days have no common rhythm: only the load of now counts"
        case None if seen.decision is None and seen.problem is not None:
            problem = seen.problem
            return _condition(
                "ModelAvailable", is_true=False, reason=problem.obstacle, message=problem.message
            )
        case None:
            return _condition(
                "ModelAvailable",
                is_true=True,
                reason="Forecast",
                message="the load of the next day is forecast",
            )
    return _condition("ModelAvailable", is_true=False, reason=seen.missing, message=text)


def _scaling_active(autoscaler: Autoscaler, seen: Seen) -> dict[str, Any]:
    if autoscaler.strategy is Strategy.OBSERVER:
        return _condition(
            "ScalingActive",
            is_true=False,
            reason="Observer",
            message="scaleStrategy is observer: nothing is scaled",
        )
    if seen.problem is not None:
        return _condition(
            "ScalingActive",
            is_true=False,
            reason=seen.problem.obstacle,
            message=seen.problem.message,
        )
    return _condition(
        "ScalingActive", is_true=True, reason="ValidMetricFound", message="replicas follow the load"
    )


def _able_to_scale(seen: Seen) -> dict[str, Any]:
    problem = seen.problem
    if problem is not None and problem.obstacle not in _ABLE:
        return _condition(
            "AbleToScale", is_true=False, reason=problem.obstacle, message=problem.message
        )
    return _condition(
        "AbleToScale",
        is_true=True,
        reason="ReadyForNewScale",
        message="the target can be scaled",
    )


def _scaling_limited(autoscaler: Autoscaler, seen: Seen) -> dict[str, Any]:
    limit = seen.decision.limit if seen.decision is not None else ""
    if not limit or autoscaler.strategy is Strategy.OBSERVER:
        return _condition(
            "ScalingLimited",
            is_true=False,
            reason="DesiredWithinRange",
            message="the desired number is within the bounds",
        )
    bound = (
        f"minReplicas, {seen.bounds.least}"
        if limit == "TooFewReplicas"
        else f"maxReplicas, {seen.bounds.most}"
    )
    message = f"the desired number is limited by {bound}"
    return _condition("ScalingLimited", is_true=True, reason=limit, message=message)


def _invalid(autoscaler: Autoscaler) -> Sequence[dict[str, Any]]:
    if not autoscaler.unknown_strategy:
        return ()
    message = (
        f"spec.scaleStrategy: {autoscaler.unknown_strategy[:80]!r} is not one of"
        f" {', '.join(Strategy)}: nothing is scaled"
    )
    return (_condition("Invalid", is_true=True, reason="UnknownStrategy", message=message),)


def _condition(kind: str, *, is_true: bool, reason: str, message: str) -> dict[str, Any]:
    return {
        "type": kind,
        "status": "True" if is_true else "False",
        "reason": str(reason),
        "message": message[:_LONGEST_MESSAGE],
    }


def _dated(condition: dict[str, Any], before: Mapping[str, Any], now: str) -> dict[str, Any]:
    """With the time at which its status changed last."""
    known = before.get("conditions")
    for each in known if isinstance(known, list) else ():
        if (
            isinstance(each, Mapping)
            and each.get("type") == condition["type"]
            and each.get("status") == condition["status"]
            and isinstance(each.get("lastTransitionTime"), str)
        ):
            return {**condition, "lastTransitionTime": each["lastTransitionTime"]}
    return {**condition, "lastTransitionTime": now}
