"""What can become of a pod in one unit, and in all of them."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from spillover.core.policy import Policy, Unit, UnitKey


@dataclass(frozen=True, slots=True)
class Waiting:
    """The pod stays with this unit. `since` and `until` (seconds since 1970) bound a timed wait;
    an `endless` one is for nodes; others end with what `reason` names."""

    unit: Unit
    reason: str
    since: float | None = None
    until: float | None = None
    endless: bool = False


@dataclass(frozen=True, slots=True)
class Evicting:
    """The pod stays with this unit for now: the scheduler is to look for pods to preempt there."""

    unit: Unit
    reason: str


@dataclass(frozen=True, slots=True)
class AtMax:
    """The pod goes on: a limit of the unit is reached."""

    unit: Unit
    reason: str


@dataclass(frozen=True, slots=True)
class NoNode:
    """The pod goes on: no node of the unit was offered, or none that admits the pod."""

    unit: Unit


@dataclass(frozen=True, slots=True)
class Placement:
    """Any of `nodes` will do. `policy` is None for a pod under no policy; `unit` is None for it and
    for one that an open policy lets onto nodes of no unit; `unit_key` is what it counts under.
    `passed` is why each unit before is none for it."""

    policy: Policy | None
    unit: Unit | None
    nodes: Set[str]
    unit_key: UnitKey | None = None
    passed: "tuple[Passed, ...]" = ()


Passed = AtMax | NoNode
Stay = Waiting | Evicting
Verdict = Placement | Stay | AtMax | NoNode


@dataclass(frozen=True, slots=True)
class Rejected:
    """A reason for every offered node. It stays the same as long as the decision does: the
    scheduler writes it into the pod, and a message that changes would make an endless loop.
    `stays` is where and why the pod stays with a unit; None: no unit keeps it. `passed` is why each
    unit before, or every unit, is none for it; empty if it did not come to any."""

    reasons: Mapping[str, str]
    stays: Stay | None = None
    passed: tuple[Passed, ...] = ()
    causes: frozenset[str] = field(init=False)
    """The different reasons."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "causes", frozenset(self.reasons.values()))


def because(passed: Sequence[Passed]) -> str:
    """Why the units are none for the pod, for people."""
    return "; ".join(
        verdict.reason if isinstance(verdict, AtMax) else f"{verdict.unit.title} has no free node"
        for verdict in passed
    )
