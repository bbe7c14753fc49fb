"""Whether a unit has room for one more pod."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import floor
from typing import Protocol

from spillover.core.model.policy import Policy, PolicyKey, Unit, UnitKey
from spillover.core.model.resources import Requests, written


@dataclass(frozen=True, slots=True)
class Usage:
    """What is in use in a unit: the number of pods, and the sum of their requests."""

    pods: int = 0
    resources: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "Usage") -> "Usage":
        resources = Counter(dict(self.resources))
        resources.update(dict(other.resources))
        return Usage(self.pods + other.pods, resources)


class LedgerView(Protocol):
    def usage(self, unit: UnitKey, besides: str) -> Usage:
        """What is in use in a unit, without the reservation of the pod with uid `besides`."""

    def has_terminating(self, policy: PolicyKey, unit: str) -> bool:
        """Whether a pod that was bound in the unit, in any group, is terminating."""


class WorkloadView(Protocol):
    def is_known(self, owner: str) -> bool:
        """Whether Spillover knows how many replicas the owner with this uid wants."""

    def desired(self, policy: PolicyKey) -> int:
        """The replicas that the owners of the policy's pods want, plus the live pods without an
        owner."""


def obstacle(
    unit: Unit,
    policy: Policy,
    requests: Requests,
    used: Usage,
    workloads: WorkloadView,
) -> str | None:
    """Why one more pod with these requests would exceed a limit of the unit, or None. The text
    stays the same as long as the obstacle lasts."""
    if unit.max is not None and used.pods >= unit.max:
        return f"{unit.title} is at its max of {unit.max}"
    if unit.max_ratio is not None and used.pods >= ratio_cap(unit, policy, workloads):
        return f"{unit.title} is at its max of {unit.max_ratio} of the replicas"
    for name, amount in requests:
        limit = unit.max_resources.get(name)
        if limit is not None and amount and used.resources.get(name, 0) + amount > limit:
            return (
                f"{unit.title} has no room for {written(name, amount)} {name}"
                f" within its max of {written(name, limit)}"
            )
    return None


def cap(unit: Unit, policy: Policy, workloads: WorkloadView) -> int | None:
    """The most pods that the unit may have now, or None without such a limit."""
    caps = [limit for limit in (unit.max,) if limit is not None]
    if unit.max_ratio is not None:
        caps.append(ratio_cap(unit, policy, workloads))
    return min(caps, default=None)


def ratio_cap(unit: Unit, policy: Policy, workloads: WorkloadView) -> int:
    if unit.max_ratio is None:
        raise ValueError(f"unit {unit.title} has no ratio")
    return floor(unit.max_ratio * workloads.desired(policy.key))
