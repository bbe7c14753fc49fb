"""The Events of a decision: on the pod, and on its policy.

A note on a policy names no pod and no time, so that the same decision for many pods is one Event.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from spillover.core.cache.binding_plan import BindingPlan, Place
from spillover.core.decision.outcomes import AtMax, Evicting, Passed, Rejected, Waiting, because
from spillover.core.model.policy import Policy

_MOST_UNITS = 10
"""The most units at maximum that one decision reports."""


class Reason(StrEnum):
    SPILLED_OVER = "SpilledOver"
    WAITING_FOR_UNIT = "WaitingForUnit"
    UNIT_AT_MAX = "UnitAtMax"
    NO_CAPACITY = "NoCapacity"
    UNREADABLE = "Unreadable"


@dataclass(frozen=True, slots=True)
class DecisionEvent:
    """An Event to write."""

    reason: Reason
    note: str
    is_trouble: bool = False
    """Whether a user may need to act."""


def on_pod_rejected(rejected: Rejected) -> DecisionEvent | None:
    """None if the scheduler's own Event is enough: for an invalid policy, a missing label, a call
    with only the nominated node, or a preemption in progress."""
    match rejected.stays:
        case Waiting(reason=reason):
            return DecisionEvent(Reason.WAITING_FOR_UNIT, reason)
        case Evicting():
            return None
    if not rejected.passed:
        return None
    if all(isinstance(verdict, AtMax) for verdict in rejected.passed):
        return DecisionEvent(Reason.UNIT_AT_MAX, because(rejected.passed))
    return DecisionEvent(
        Reason.NO_CAPACITY, f"no unit takes the pod: {because(rejected.passed)}", is_trouble=True
    )


def on_policy_rejected(rejected: Rejected) -> Iterable[DecisionEvent]:
    yield from _at_max(rejected.passed)
    match rejected.stays:
        case Waiting(unit=unit):
            yield DecisionEvent(Reason.WAITING_FOR_UNIT, f"pods wait for {unit.title}")
        case None if rejected.passed:
            if not all(isinstance(verdict, AtMax) for verdict in rejected.passed):
                note = f"no unit takes some pods: {because(rejected.passed)}"
                yield DecisionEvent(Reason.NO_CAPACITY, note, is_trouble=True)


def on_pod_bound(plan: BindingPlan) -> DecisionEvent | None:
    where = _spilled_to(plan)
    return _spilled(f"goes to {where}", plan.passed) if where else None


def on_policy_bound(plan: BindingPlan) -> Iterable[DecisionEvent]:
    where = _spilled_to(plan)
    if where:
        yield from _at_max(plan.passed)
        yield _spilled(f"pods go to {where}", plan.passed)


def _spilled_to(plan: BindingPlan) -> str:
    if plan.place is Place.SPILLED and plan.unit is not None:
        return plan.unit.title
    if plan.place is Place.OUTSIDE and isinstance(plan.policy, Policy):
        return "nodes of no unit"
    return ""


def _spilled(what: str, passed: tuple[Passed, ...]) -> DecisionEvent:
    # After a restart, bind decides again and may not know why earlier units were skipped.
    why = because(passed)
    return DecisionEvent(Reason.SPILLED_OVER, f"{what}: {why}" if why else what)


def _at_max(passed: Iterable[Passed]) -> Iterable[DecisionEvent]:
    full = (verdict for verdict in passed if isinstance(verdict, AtMax))
    for verdict in islice(full, _MOST_UNITS):
        yield DecisionEvent(Reason.UNIT_AT_MAX, verdict.reason)
