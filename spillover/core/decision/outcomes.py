"""The possible results of a decision for a pod: in one unit, and over all units."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

import msgspec

from spillover.core.model.policy import Policy, Unit, UnitKey

_MOST_TOLD = 10
"""Number of units that one reason names."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The pod stays with this unit and waits."""

    unit: Unit
    reason: str
    """Names the cause of the wait. A wait that is neither timed nor endless ends with its cause."""
    since: float | None = None
    """Start of a timed wait, in seconds since 1970."""
    until: float | None = None
    """End of a timed wait, in seconds since 1970."""
    endless: bool = False
    """The pod waits for nodes, without a time limit."""


@dataclass(frozen=True, slots=True)
class Evicting:
    """The pod stays with this unit for now, so that the scheduler looks for victims there."""

    unit: Unit
    reason: str


@dataclass(frozen=True, slots=True)
class AtMax:
    """The pod goes on to the next unit: a limit of this unit is reached."""

    unit: Unit
    reason: str


@dataclass(frozen=True, slots=True)
class NoNode:
    """The pod goes on to the next unit: no offered node of this unit admits the pod."""

    unit: Unit


@dataclass(frozen=True, slots=True)
class Placement:
    """The pod may go to any of `nodes`."""

    policy: Policy | None
    """None for a pod without a policy."""
    unit: Unit | None
    """None for a pod without a policy. None also for a pod that an open policy lets onto nodes
    outside its units."""
    nodes: Set[str]
    """For an answer to the scheduler: in the order in which it has offered them."""
    unit_key: UnitKey | None = None
    """The key that the pod is counted under."""
    passed: "tuple[Passed, ...]" = ()
    """Why the pod went on from each earlier unit."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """No unit was evaluated: `reason` applies to all of them."""

    reason: str


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Every unit was skipped, and the pod may not go to a node outside the units."""


Passed = AtMax | NoNode
Stay = Waiting | Evicting
Verdict = Placement | Stay | AtMax | NoNode


@dataclass(frozen=True, slots=True)
class Assignment:
    """The result of one walk over the units of a policy."""

    outcome: Placement | Stay | Blocked | Exhausted
    passed: tuple[Passed, ...] = ()
    """Why each unit before the outcome was skipped, in the policy's order."""

    @property
    def stays(self) -> Stay | None:
        """The unit in which the pod stays without a node, and why. None: no unit keeps the pod."""
        return self.outcome if isinstance(self.outcome, (Waiting, Evicting)) else None


class Reasons(Mapping[str, str]):
    """A reason for each node, by node name. Nodes with one reason are kept together, so that the
    reasons of thousands of nodes are a few sets."""

    def __init__(self, groups: Iterable[tuple[str, Collection[str]]]) -> None:
        """Pairs of a reason and its nodes. No node is in two of them."""
        self._groups = [(reason, names) for reason, names in groups if names]

    @classmethod
    def same(cls, names: Collection[str], reason: str) -> "Reasons":
        """One reason for all these nodes."""
        return cls([(reason, names)])

    @cached_property
    def causes(self) -> frozenset[str]:
        """The distinct reasons."""
        return frozenset(reason for reason, _ in self._groups)

    @property
    def size(self) -> int:
        """How much memory it takes, in units of about 170 bytes, also once it is encoded."""
        return sum(len(names) * (2 + len(reason) // 150) for reason, names in self._groups) + 1

    @cached_property
    def encoded(self) -> bytes:
        """The same as a JSON object."""
        return b"{" + b",".join(_pairs(names, reason) for reason, names in self._groups) + b"}"

    def __getitem__(self, name: str) -> str:
        for reason, names in self._groups:
            if name in names:
                return reason
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        for _, names in self._groups:
            yield from names

    def __len__(self) -> int:
        return sum(len(names) for _, names in self._groups)


@dataclass(frozen=True, slots=True)
class Rejected:
    """The pod gets no node."""

    reasons: Reasons
    """A reason for every offered node. A reason stays the same as long as the decision does: the
    scheduler writes it into the pod, so a changing reason would cause an endless loop."""
    stays: Stay | None = None
    """The unit in which the pod stays, and why. None: no unit keeps the pod."""
    passed: tuple[Passed, ...] = ()
    """Why the pod went on from each unit before `stays`, or from every unit. Empty if no unit was
    evaluated."""

    @property
    def causes(self) -> frozenset[str]:
        """The distinct reasons."""
        return self.reasons.causes


def _pairs(names: Collection[str], reason: str) -> bytes:
    """The members of a JSON object: the reason for each name. Encodes the reason once: it is often
    four times as long as the name."""
    listed = msgspec.json.encode(list(names))[1:-1]
    if b"\\" in listed or listed.count(b",") >= len(names):
        # No name of a node has a comma, or a character that JSON escapes.
        return msgspec.json.encode(dict.fromkeys(names, reason))[1:-1]
    value = msgspec.json.encode(reason)
    return listed.replace(b'","', b'":' + value + b',"') + b":" + value


def because(passed: Sequence[Passed]) -> str:
    """A text for people: why the pod went on from each unit."""
    told = [
        verdict.reason if isinstance(verdict, AtMax) else f"{verdict.unit.title} has no free node"
        for verdict in passed[:_MOST_TOLD]
    ]
    if len(passed) > _MOST_TOLD:
        told.append(f"and {len(passed) - _MOST_TOLD} more units")
    return "; ".join(told)
