"""A policy's status: how full its units are, the states of its pods, and its problems.

`report` does not count pods: it reads the maintained counts (`spillover.core.cache.policy_counts`).
`as_wire` converts the report into the fields of the object.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any

from spillover.api import ack
from spillover.core.cache import crowds
from spillover.core.cache.cluster import ClusterCache
from spillover.core.cache.policy_counts import NO_UNIT, UnitCount
from spillover.core.decision import limits
from spillover.core.model.policy import InvalidPolicy, LoadedPolicy, Policy, PolicyKey, Unit
from spillover.core.model.resources import written

UNLIMITED = "∞"
_MOST_NAMES = 5
_LONGEST_MESSAGE = 1000
_EDITS_WAIT = (
    "edits of this namespace's policies take more than its share of Spillover's time: for up to 5 s"
    " they wait to be taken in together, and the namespace's pods with them"
)
_CROWDED = (
    "many pods of this namespace wait: those that are created now have the scheduling gate"
    " spillover.dev/crowd until there is room for them"
)


@dataclass(frozen=True, slots=True)
class Foreign:
    """Live pods of a policy that another scheduler places."""

    pods: int
    names: tuple[str, ...]
    """The first names, in order."""
    schedulers: tuple[str, ...]
    """The first schedulers, in order."""


def foreign_pods(state: ClusterCache, policy: PolicyKey) -> Foreign:
    found = [pod for uid in state.counts.foreign(policy) if (pod := state.pod(uid)) is not None]
    return Foreign(
        len(found),
        tuple(nsmallest(_MOST_NAMES, (pod.name for pod in found))),
        tuple(nsmallest(_MOST_NAMES, {pod.scheduler or "none" for pod in found})),
    )


def foreign_note(foreign: Foreign) -> str:
    """A text for people about these pods."""
    pods = "1 pod" if foreign.pods == 1 else f"{foreign.pods} pods"
    return (
        f"another scheduler ({', '.join(foreign.schedulers)}) places {pods} of this policy:"
        f" {_names(foreign.names, foreign.pods)}. Spillover sets schedulerName only when a pod is"
        " created, if it knows the policy by then, and if neither the user nor another webhook has"
        " set one"
    )


@dataclass(frozen=True, slots=True)
class UnitReport:
    """How full one unit is."""

    title: str
    count: UnitCount
    used: int
    """The pods that count against the maximum."""
    max: int | None
    """The maximum of each group of pods, if the policy has groups (matchLabelKeys)."""
    free: int | None
    """None if there is no maximum, or if the policy has groups."""
    over: int
    """The number of pods above the maximum."""
    groups: int | None
    """The number of groups with pods, if the policy has groups (matchLabelKeys)."""
    resources: Mapping[str, tuple[str, str]]
    """Used amount and maximum of each limited resource, as text for users."""


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """The content of a policy's status. Terminating pods are in no other count."""

    policy: LoadedPolicy
    units: tuple[UnitReport, ...]
    outside: UnitCount
    """Pods that are bound to nodes of no unit."""
    unscheduled: int
    """Pods without a node."""
    own_cost: tuple[str, ...]
    """Pods whose deletion cost is not ours."""
    older: tuple[str, ...]
    """Older policies that apply to pods which this policy also selects."""
    is_shadowed: bool
    """Whether an older policy selects every pod that this policy selects."""
    edits_wait: bool
    """Whether an edit of the namespace's policies recently had to wait."""
    is_crowded: bool
    """Whether many pods of the namespace wait, and some of them are this policy's."""
    refusals: tuple[str, ...]
    """Why the API server has refused bindings."""
    kept_labels: tuple[str, ...]
    """Labels of units that pods do not get, each with its unit."""
    foreign: Foreign
    """The live pods of the policy that another scheduler places."""

    def total(self) -> UnitCount:
        """The count of all bound pods."""
        counts = [*(unit.count for unit in self.units), self.outside]
        return UnitCount(
            assigned=sum(count.assigned for count in counts),
            pending=sum(count.pending for count in counts),
            ready=sum(count.ready for count in counts),
            terminating=sum(count.terminating for count in counts),
        )


def report(state: ClusterCache, policy: LoadedPolicy) -> PolicyReport:
    tally = state.counts
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
        edits_wait=state.edits.is_over(policy.key.namespace),
        is_crowded=state.waiting.crowds.is_crowded(policy.key.namespace)
        and tally.waiting(policy.key) > 0,
        kept_labels=_kept_labels(state, policy),
        foreign=foreign_pods(state, policy.key),
        refusals=tuple(state.refusals.reasons(policy.key, (unit.identity for unit in policy.units)))
        if isinstance(policy, Policy)
        else (),
    )


def _kept_labels(state: ClusterCache, policy: LoadedPolicy) -> tuple[str, ...]:
    if not isinstance(policy, Policy):
        return ()
    found = ((policy.unit(identity), key) for identity, key in state.kept_labels.of(policy.key))
    return tuple(f"{key} of {unit.title}" for unit, key in found if unit is not None)


def _unit(state: ClusterCache, policy: Policy, unit: Unit) -> UnitReport:
    used = [each.usage() for each in state.counts.members(policy.key, unit.identity).values()]
    most = limits.cap(unit, policy, state.workloads)
    pods = sum(each.pods for each in used)
    taken = {name: sum(each.resources.get(name, 0) for each in used) for name in unit.max_resources}
    single = most is not None and not policy.match_label_keys
    return UnitReport(
        title=unit.title,
        count=state.counts.unit(policy.key, unit.identity),
        used=pods,
        max=most,
        free=max(0, most - pods) if single and most is not None else None,
        over=sum(max(0, each.pods - most) for each in used) if most is not None else 0,
        groups=len(used) if policy.match_label_keys else None,
        resources={
            name: (written(name, taken[name]), written(name, limit))
            for name, limit in unit.max_resources.items()
        },
    )


def fill(report_: PolicyReport) -> str:
    """How full the units are, for example `2/2 eci, 5/∞ ecs`. With maxResources the resources are
    told too: `3/∞ ecs (6/8 cpu)`. With matchLabelKeys the limits are those of each group:
    `4 ecs (at most 2 in each group, 3 groups)`."""
    return ", ".join(map(_fill, report_.units))


def _fill(unit: UnitReport) -> str:
    pods = unit.used if unit.max is not None else unit.count.assigned
    limited = unit.max is not None or bool(unit.resources)
    if unit.groups is not None and limited:
        most = [str(unit.max)] if unit.max is not None else []
        most += [f"{limit} {name}" for name, (_, limit) in unit.resources.items()]
        groups = "1 group" if unit.groups == 1 else f"{unit.groups} groups"
        return f"{pods} {unit.title} (at most {', '.join(most)} in each group, {groups})"
    resources = ", ".join(f"{used}/{most} {name}" for name, (used, most) in unit.resources.items())
    most_pods = unit.max if unit.max is not None else UNLIMITED
    return f"{pods}/{most_pods} {unit.title}" + (f" ({resources})" if resources else "")


def as_wire(report_: PolicyReport, before: Mapping[str, Any], now: str) -> dict[str, Any]:
    """The new status of the object. `before` is its present status. `now` is RFC 3339."""
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
    """The strategy in force, even if the policy does not set one."""
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
        _Condition(
            "Conflict", True, "SamePods", f"these are older and win: {_names(older, len(older))}"
        )
        if older
        else _Condition("Conflict", False, "NoConflict", ""),
        _Condition("PodsNotRouted", True, "OtherScheduler", foreign_note(report_.foreign))
        if report_.foreign.pods
        else _Condition("PodsNotRouted", False, "AllRouted", ""),
        _Condition("LabelsKept", True, "SelectedByController", _kept(report_.kept_labels))
        if report_.kept_labels
        else _Condition("LabelsKept", False, "AllWritten", ""),
        _Condition("OwnDeletionCost", True, "SetByUser", _own_cost(own))
        if own
        else _Condition("OwnDeletionCost", False, "NoneSet", ""),
        _Condition("BindingRefused", True, "ByAPIServer", "; ".join(report_.refusals))
        if report_.refusals
        else _Condition("BindingRefused", False, "NoneRefused", ""),
        _Condition("EditsWait", True, "NamespaceOverShare", _EDITS_WAIT)
        if report_.edits_wait
        else _Condition("EditsWait", False, "WithinShare", ""),
        _Condition(crowds.CONDITION, True, "ManyPodsWait", _CROWDED)
        if report_.is_crowded
        else _Condition(crowds.CONDITION, False, "FewPodsWait", ""),
    )


def _own_cost(names: Sequence[str]) -> str:
    return (
        "these pods have a pod-deletion-cost that Spillover did not write: it stays, and scale-in"
        f" follows it: {_names(names, len(names))}"
    )


def _kept(labels: Sequence[str]) -> str:
    return (
        "some pods keep their own values of these labels of units, because their controllers select"
        f" by them, or may do so: {_names(labels, len(labels))}"
    )


def _names(names: Sequence[str], count: int) -> str:
    more = f" and {count - _MOST_NAMES} more" if count > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _since(condition: _Condition, before: object, generation: int, now: str) -> dict[str, Any]:
    """The condition as a wire object, with the time of its last change."""
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
