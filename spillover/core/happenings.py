"""What is worth an Event in a decision: on the pod, and on its policy.

Notes on a policy name no pod and no time, so that what befalls many pods is one Event.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from spillover.core.claims import Claim, Place
from spillover.core.policy import Policy
from spillover.core.verdicts import AtMax, Evicting, Passed, Rejected, Waiting, because


class Reason(StrEnum):
    SPILLED_OVER = "SpilledOver"
    WAITING_FOR_UNIT = "WaitingForUnit"
    UNIT_AT_MAX = "UnitAtMax"
    NO_CAPACITY = "NoCapacity"
    UNREADABLE = "Unreadable"


@dataclass(frozen=True, slots=True)
class Happening:
    """`is_trouble`: somebody may want to do something about it."""

    reason: Reason
    note: str
    is_trouble: bool = False


def on_pod_rejected(rejected: Rejected) -> Happening | None:
    """None where the scheduler's own Event says it all: an invalid policy, a label that lacks, a
    probe for one node, or preemption under way."""
    match rejected.stays:
        case Waiting(reason=reason):
            return Happening(Reason.WAITING_FOR_UNIT, reason)
        case Evicting():
            return None
    if not rejected.passed:
        return None
    if all(isinstance(verdict, AtMax) for verdict in rejected.passed):
        return Happening(Reason.UNIT_AT_MAX, because(rejected.passed))
    return Happening(
        Reason.NO_CAPACITY, f"no unit takes the pod: {because(rejected.passed)}", is_trouble=True
    )


def on_policy_rejected(rejected: Rejected) -> Iterable[Happening]:
    yield from _at_max(rejected.passed)
    match rejected.stays:
        case Waiting(unit=unit):
            yield Happening(Reason.WAITING_FOR_UNIT, f"pods wait for {unit.title}")
        case None if rejected.passed:
            if not all(isinstance(verdict, AtMax) for verdict in rejected.passed):
                note = f"no unit takes some pods: {because(rejected.passed)}"
                yield Happening(Reason.NO_CAPACITY, note, is_trouble=True)


def on_pod_bound(claim: Claim) -> Happening | None:
    where = _spilled_to(claim)
    return _spilled(f"goes to {where}", claim.passed) if where else None


def on_policy_bound(claim: Claim) -> Iterable[Happening]:
    where = _spilled_to(claim)
    if where:
        yield from _at_max(claim.passed)
        yield _spilled(f"pods go to {where}", claim.passed)


def _spilled_to(claim: Claim) -> str:
    if claim.place is Place.SPILLED and claim.unit is not None:
        return claim.unit.title
    if claim.place is Place.OUTSIDE and isinstance(claim.policy, Policy):
        return "nodes of no unit"
    return ""


def _spilled(what: str, passed: tuple[Passed, ...]) -> Happening:
    # Bound anew after a restart, the way there is not known.
    why = because(passed)
    return Happening(Reason.SPILLED_OVER, f"{what}: {why}" if why else what)


def _at_max(passed: Iterable[Passed]) -> Iterable[Happening]:
    return (
        Happening(Reason.UNIT_AT_MAX, verdict.reason)
        for verdict in passed
        if isinstance(verdict, AtMax)
    )
