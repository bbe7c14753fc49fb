"""What a policy's status says: how full its units are, how its pods fare, and what is wrong.

`report` counts nothing anew: it reads the tally. `as_wire` turns it into the fields of the object.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spillover.api import ack
from spillover.core import limits
from spillover.core.policy import InvalidPolicy, LoadedPolicy, Policy, Unit
from spillover.core.resources import written
from spillover.core.state import ClusterState
from spillover.core.tally import NO_UNIT, UnitCount

UNLIMITED = "∞"
_MOST_NAMES = 5
_LONGEST_MESSAGE = 1000


@dataclass(frozen=True, slots=True)
class UnitReport:
    """`used` is what counts against the maximum, and `over` how many pods are above it; `max` is
    for each group of pods where there are several (matchLabelKeys), and `free` is then None.
    `resources` are used and most, by resource, as people write them."""

    title: str
    count: UnitCount
    used: int
    max: int | None
    free: int | None
    over: int
    resources: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """`outside` are pods bound to nodes of none of the units. `unscheduled` pods have no node.
    `terminating` ones are in none of the other counts."""

    policy: LoadedPolicy
    units: tuple[UnitReport, ...]
    outside: UnitCount
    unscheduled: int
    own_cost: tuple[str, ...]
    older: tuple[str, ...]
    is_shadowed: bool

    def total(self) -> UnitCount:
        """Of all pods that are bound."""
        counts = [*(unit.count for unit in self.units), self.outside]
        return UnitCount(
            assigned=sum(count.assigned for count in counts),
            pending=sum(count.pending for count in counts),
            ready=sum(count.ready for count in counts),
            terminating=sum(count.terminating for count in counts),
        )


def report(state: ClusterState, policy: LoadedPolicy) -> PolicyReport:
    tally = state.tally
    shadowing = [
        each.key
        for each in state.policies.selecting(policy.key.namespace, policy.selector)
        if each.key != policy.key
        and (each.created, each.key.name, each.key.group)
        < (policy.created, policy.key.name, policy.key.group)
    ]
    older = sorted({*tally.older(policy.key), *shadowing})
    names = (state.pod(uid) for uid in tally.with_own_cost(policy.key))
    return PolicyReport(
        policy=policy,
        units=tuple(_unit(state, policy, unit) for unit in policy.units)
        if isinstance(policy, Policy)
        else (),
        outside=tally.unit(policy.key, NO_UNIT),
        unscheduled=tally.waiting(policy.key),
        own_cost=tuple(sorted(pod.name for pod in names if pod is not None)),
        older=tuple(map(str, older)),
        is_shadowed=bool(shadowing),
    )


def _unit(state: ClusterState, policy: Policy, unit: Unit) -> UnitReport:
    used = [each.usage() for each in state.tally.members(policy.key, unit.identity).values()]
    most = limits.cap(unit, policy, state.workloads)
    pods = sum(each.pods for each in used)
    taken = {name: sum(each.resources.get(name, 0) for each in used) for name in unit.max_resources}
    single = most is not None and not policy.match_label_keys
    return UnitReport(
        title=unit.title,
        count=state.tally.unit(policy.key, unit.identity),
        used=pods,
        max=most,
        free=max(0, most - pods) if single and most is not None else None,
        over=sum(max(0, each.pods - most) for each in used) if most is not None else 0,
        resources={
            name: (written(name, taken[name]), written(name, limit))
            for name, limit in unit.max_resources.items()
        },
    )


def fill(report_: PolicyReport) -> str:
    """Such as `2/2 eci, 5/∞ ecs`."""
    return ", ".join(
        f"{unit.used if unit.max is not None else unit.count.assigned}"
        f"/{unit.max if unit.max is not None else UNLIMITED} {unit.title}"
        for unit in report_.units
    )


def as_wire(report_: PolicyReport, before: Mapping[str, Any], now: str) -> dict[str, Any]:
    """The status of the object. `before` is the one that it has; `now` is RFC 3339."""
    policy, total = report_.policy, report_.total()
    conditions = _conditions(report_)
    return {
        "observedGeneration": policy.generation,
        "strategy": strategy(policy),
        "pods": total.assigned + report_.unscheduled,
        "unscheduled": report_.unscheduled,
        "pending": total.pending + report_.unscheduled,
        "ready": total.ready,
        "terminating": total.terminating,
        "outside": report_.outside.assigned,
        "unitCount": len(report_.units),
        "fill": fill(report_),
        "units": [_unit_as_wire(unit) for unit in report_.units],
        "conditions": [
            _since(condition, before.get("conditions"), policy.generation, now)
            for condition in conditions
        ],
    }


def strategy(policy: LoadedPolicy) -> str:
    """The one in force, also where the policy does not say."""
    if isinstance(policy, InvalidPolicy):
        return ""
    return "prefer" if policy.open or policy.key.group == ack.GROUP else "require"


def _unit_as_wire(unit: UnitReport) -> dict[str, Any]:
    limited: dict[str, Any] = {
        "max": unit.max,
        "free": unit.free,
        "maxResources": {name: most for name, (_, most) in unit.resources.items()} or None,
        "usedResources": {name: used for name, (used, _) in unit.resources.items()} or None,
    }
    return {
        "name": unit.title,
        "assigned": unit.count.assigned,
        "pending": unit.count.pending,
        "ready": unit.count.ready,
        "terminating": unit.count.terminating,
        "used": unit.used,
        **{name: value for name, value in limited.items() if value is not None},
    }


@dataclass(frozen=True, slots=True)
class _Condition:
    type: str
    holds: bool
    reason: str
    message: str


def _conditions(report_: PolicyReport) -> Sequence[_Condition]:
    policy, older = report_.policy, report_.older
    errors = "; ".join(map(str, policy.errors)) if isinstance(policy, InvalidPolicy) else ""
    own = report_.own_cost
    if errors:
        ready = _Condition("Ready", False, "Invalid", "it places nothing: its pods stay Pending")
    elif report_.is_shadowed:
        ready = _Condition("Ready", False, "Shadowed", "every pod it selects is an older policy's")
    else:
        ready = _Condition("Ready", True, "InForce", "")
    return (
        ready,
        _Condition("Invalid", True, "FieldErrors", errors)
        if errors
        else _Condition("Invalid", False, "Valid", ""),
        _Condition("Conflict", True, "SamePods", f"these are older and win: {_names(older)}")
        if older
        else _Condition("Conflict", False, "NoConflict", ""),
        _Condition("OwnDeletionCost", True, "SetByUser", _own_cost(own))
        if own
        else _Condition("OwnDeletionCost", False, "NoneSet", ""),
    )


def _own_cost(names: Sequence[str]) -> str:
    return (
        "these have a pod-deletion-cost that is not Spillover's: it is left alone, and scale-in"
        f" goes by it: {_names(names)}"
    )


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _since(condition: _Condition, before: object, generation: int, now: str) -> dict[str, Any]:
    """With the time of its last change."""
    status = str(condition.holds)
    earlier = [
        each
        for each in (before if isinstance(before, list) else ())
        if isinstance(each, dict) and each.get("type") == condition.type
    ]
    same = [each for each in earlier if each.get("status") == status]
    since = same[0].get("lastTransitionTime") if same else None
    return {
        "type": condition.type,
        "status": status,
        "reason": condition.reason,
        "message": condition.message[:_LONGEST_MESSAGE],
        "lastTransitionTime": since if isinstance(since, str) else now,
        "observedGeneration": generation,
    }
