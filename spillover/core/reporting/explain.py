"""Explains to users why a pod is where it is, or why it waits: the decision, unit by unit."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest

from spillover.core.cache.cluster import ClusterCache
from spillover.core.decision import limits
from spillover.core.decision.demand import Demand, group_of
from spillover.core.decision.outcomes import (
    Assignment,
    AtMax,
    Blocked,
    Evicting,
    NoNode,
    Placement,
    Waiting,
)
from spillover.core.decision.outcomes import Verdict as UnitVerdict
from spillover.core.decision.placement import ClusterView, assign_unit, evaluate_unit
from spillover.core.decision.reasons import UNTOLERATED_SPREAD, is_told_in
from spillover.core.model.pods import Pod
from spillover.core.model.policy import InvalidPolicy, LoadedPolicy, Policy, Unit, UnitKey
from spillover.core.model.resources import written
from spillover.core.model.selectors import includes
from spillover.core.model.timestamps import instant_of

TAINTED = "with a taint that the pod does not tolerate"
FITTING = "fit for the pod"
GIVEN_NODE = "no policy applies to pods of a DaemonSet and to static pods"
FLUSH = "at the latest 5 minutes after the scheduler's last try"


class Verdict(StrEnum):
    TAKES = "takes it"
    WAITS = "waits here"
    PREEMPTS = "may preempt here"
    FULL = "full"
    NO_NODE = "no node"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of a unit, as text for users."""

    of: str
    """The word pods, or the name of a resource."""
    most: str
    taken: str


@dataclass(frozen=True, slots=True)
class UnitExplanation:
    """What the decision says about one unit."""

    unit: str
    verdict: Verdict
    reached: bool
    """Whether the decision evaluated this unit. It stops at the first unit that keeps the pod."""
    reason: str
    limits: tuple[Limit, ...]
    held_by: tuple[str, ...]
    """The pods that count in the unit (in the pod's group)."""
    nodes: Mapping[str, tuple[str, ...]]
    """The unit's nodes, by whether they fit the pod and why not."""
    remedy: str
    """What would let the unit take the pod."""


@dataclass(frozen=True, slots=True)
class PodExplanation:
    """Why a pod is where it is, or why it waits."""

    namespace: str
    pod: str
    node: str
    """The node that the pod is bound to, "" while the pod waits."""
    policy: str
    outcome: str
    chosen: str
    """The unit that the pod is in, or would go to."""
    nodes: tuple[str, ...]
    """The nodes that the pod may use in that unit."""
    units: tuple[UnitExplanation, ...]
    next_try: str
    """When the scheduler tries the pod next."""
    last_word: str
    """The scheduler's last message."""


@dataclass(frozen=True, slots=True)
class Fill:
    """The use of one unit of a policy by one group of pods."""

    unit: str
    group: tuple[str, ...]
    """The values of matchLabelKeys. Empty if the policy has none."""
    limits: tuple[Limit, ...]
    held_by: tuple[str, ...]
    nodes: int
    """The number of nodes in the unit."""


@dataclass(frozen=True, slots=True)
class PolicyExplanation:
    """How full a policy's units are, and which of its pods wait."""

    namespace: str
    policy: str
    state: str
    """The word valid, or the errors of the policy."""
    yields_to: tuple[str, ...]
    """Older policies that apply to some of the pods which this policy selects."""
    units: tuple[Fill, ...]
    waiting: Mapping[str, str]
    """Waiting pods by name, each with the reason."""
    outside: tuple[str, ...]
    """Bound pods of the policy that are in none of its units."""


def explain_policy(cache: ClusterCache, policy: LoadedPolicy) -> PolicyExplanation:
    selected = [
        pod
        for pod in cache.pods_of(policy.key.namespace)
        if not pod.finished and not pod.has_given_node and includes(pod.labels, policy.selector)
    ]
    takers = {pod.uid: cache.policy_of(pod) for pod in selected}
    own = [pod for pod in selected if takers[pod.uid] is policy]
    older = {str(each.key) for each in takers.values() if each is not None and each is not policy}
    invalid = isinstance(policy, InvalidPolicy)
    return PolicyExplanation(
        namespace=policy.key.namespace,
        policy=str(policy.key),
        state="; ".join(map(str, policy.errors)) if isinstance(policy, InvalidPolicy) else "valid",
        yields_to=tuple(sorted(older)),
        units=tuple(_fills(cache, policy, own)) if isinstance(policy, Policy) else (),
        waiting={
            pod.name: pod.refusal.partition(": ")[2] or "not tried yet"
            for pod in own
            if not pod.node and not pod.terminating
        },
        outside=tuple(
            pod.name for pod in own if pod.node and not invalid and cache.home_of(pod).unit is None
        ),
    )


def _fills(cache: ClusterCache, policy: Policy, pods: Sequence[Pod]) -> Iterable[Fill]:
    world = cache.view()
    groups = sorted({group_of(pod, policy) for pod in pods}) or [()]
    for unit in policy.units:
        for group in groups:
            key = UnitKey(policy.key, unit.identity, group)
            yield Fill(
                unit=unit.title,
                group=group,
                limits=tuple(_limits(unit, policy, key, "", world)),
                held_by=tuple(sorted(each.name for each in cache.pods_in(key))),
                nodes=len(world.nodes.members(unit.pool)),
            )


def explain_pod(
    cache: ClusterCache,
    pod: Pod,
    misfits: Mapping[str, str | None],
    hindrances: Sequence[str] = (),
) -> PodExplanation:
    """`cache` holds the inputs of the decision. `misfits` says for each node why the pod does not
    fit there, or None. `hindrances` are reasons why no scheduler tries the pod at all."""
    policy = cache.policy_of(pod)
    if pod.node:
        return _bound(cache, pod, policy)
    demand, world = cache.demand_of(pod), cache.view()
    offered = frozenset(name for name, why in misfits.items() if why is None)
    found = assign_unit(pod.uid, demand, offered, policy, world)
    placed = found.outcome if isinstance(found.outcome, Placement) else None
    refused = pod.is_refused and not _agrees(pod, policy, found)
    if refused:
        placed = None
    walked = () if refused else _walked(found)
    units = _units(cache, pod, demand, policy, offered, misfits, found, walked, world)
    outcome = _outcome(pod, policy, demand, found, units)
    next_try = _next_try(found, policy, demand)
    if refused:
        next_try = f"when what the scheduler says has changed; {FLUSH}"
        outcome = f"not placed: the scheduler finds no node: {_words(pod)}"
    return PodExplanation(
        namespace=pod.namespace,
        pod=pod.name,
        node="",
        policy=str(policy.key) if policy is not None else "",
        outcome="; but ".join([outcome, *hindrances]),
        chosen=_title(policy, placed) if placed is not None else "",
        nodes=tuple(sorted(placed.nodes)) if placed is not None else (),
        units=units,
        next_try="" if hindrances else next_try,
        last_word=_words(pod),
    )


def _agrees(pod: Pod, policy: LoadedPolicy | None, found: Assignment) -> bool:
    """Whether the scheduler's message is no argument against the outcome: Spillover itself was the
    obstacle, so that what has changed since counts."""
    match found.outcome:
        case Placement(unit=unit):
            return is_told_in(pod.refusal, policy, unit)
        case Waiting(unit=unit) | Evicting(unit=unit):
            return pod.is_refused_by_nodes or is_told_in(pod.refusal, policy, unit)
    return True


def _words(pod: Pod) -> str:
    """The scheduler's last message, without its reason."""
    return pod.refusal.partition(": ")[2]


def _bound(cache: ClusterCache, pod: Pod, policy: LoadedPolicy | None) -> PodExplanation:
    home = cache.home_of(pod)
    of = home.policy if home.unit is not None else policy
    if home.policy is not None and home.unit is not None:
        where = f"bound to {pod.node}, in unit {home.unit.title} of {home.policy.key}"
    elif policy is not None:
        where = f"bound to {pod.node}, which counts in no unit of {policy.key}"
    elif pod.has_given_node:
        where = f"bound to {pod.node}; {GIVEN_NODE}"
    else:
        where = f"bound to {pod.node}; no policy selects it"
    return PodExplanation(
        namespace=pod.namespace,
        pod=pod.name,
        node=pod.node,
        policy=str(of.key) if of is not None else "",
        outcome=where,
        chosen=home.unit.title if home.unit is not None else "",
        nodes=(pod.node,),
        units=(),
        next_try="",
        last_word="",
    )


def _title(policy: LoadedPolicy | None, placed: Placement) -> str:
    if placed.unit is not None:
        return placed.unit.title
    return "nodes of no unit" if policy is not None else "any node"


def _outcome(
    pod: Pod,
    policy: LoadedPolicy | None,
    demand: Demand,
    found: Assignment,
    units: Sequence[UnitExplanation],
) -> str:
    if isinstance(policy, InvalidPolicy):
        errors = "; ".join(map(str, policy.errors))
        return f"not placed: {policy.key} is invalid: {errors}"
    if demand.missing:
        return f"not placed: the pod lacks the label {demand.missing} (matchLabelKeys)"
    match found.outcome:
        case Blocked(reason=reason):
            return f"not placed: {reason}"
        case Placement() as placed:
            return f"goes to {_title(policy, placed)} when the scheduler tries it next"
        case Waiting(reason=reason) | Evicting(reason=reason):
            return reason
    if policy is None:
        why = GIVEN_NODE if pod.has_given_node else "no policy selects it"
        return f"not placed: {why}, and no node fits"
    return f"not placed: {len(units)} of {len(units)} units cannot take it"


def _units(
    cache: ClusterCache,
    pod: Pod,
    demand: Demand,
    policy: LoadedPolicy | None,
    offered: frozenset[str],
    misfits: Mapping[str, str | None],
    found: Assignment,
    walked: Sequence[UnitVerdict],
    world: ClusterView,
) -> tuple[UnitExplanation, ...]:
    if not isinstance(policy, Policy) or isinstance(found.outcome, Blocked):
        return ()
    reports = []
    for unit, reached in zip_longest(policy.units, walked):
        verdict = reached or evaluate_unit(unit, pod.uid, demand, offered, policy, world)
        nodes = _nodes(unit, demand, misfits, world)
        key = UnitKey(policy.key, unit.identity, demand.group)
        reason = verdict.reason if isinstance(verdict, (AtMax, Waiting, Evicting)) else ""
        reports.append(
            UnitExplanation(
                unit=unit.title,
                verdict=_VERDICTS[type(verdict)],
                reached=reached is not None,
                reason=reason,
                limits=tuple(_limits(unit, policy, key, pod.uid, world)),
                held_by=tuple(sorted(each.name for each in cache.pods_in(key))),
                nodes=nodes,
                remedy=_remedy(verdict),
            )
        )
    return tuple(reports)


def _walked(found: Assignment) -> tuple[UnitVerdict, ...]:
    """The verdicts on the units that the decision evaluated, in order."""
    outcome = found.outcome
    if isinstance(outcome, (Placement, Waiting, Evicting)) and outcome.unit is not None:
        return (*found.passed, outcome)
    return found.passed


_VERDICTS = {
    Placement: Verdict.TAKES,
    Waiting: Verdict.WAITS,
    Evicting: Verdict.PREEMPTS,
    AtMax: Verdict.FULL,
    NoNode: Verdict.NO_NODE,
}


def _nodes(
    unit: Unit, demand: Demand, misfits: Mapping[str, str | None], world: ClusterView
) -> dict[str, tuple[str, ...]]:
    members = world.nodes.members(unit.pool)
    admitted = world.nodes.admitting(members, demand.tolerations, to_virtual_unit=unit.virtual)
    groups: dict[str, list[str]] = {}
    for name in sorted(members):
        state = misfits.get(name) or (FITTING if name in admitted else TAINTED)
        groups.setdefault(state, []).append(name)
    return {state: tuple(names) for state, names in groups.items()}


def _limits(
    unit: Unit, policy: Policy, key: UnitKey, besides: str, world: ClusterView
) -> Iterable[Limit]:
    used = world.ledger.usage(key, besides=besides)
    most = limits.cap(unit, policy, world.workloads)
    if most is not None:
        yield Limit("pods", str(most), str(used.pods))
    for name, limit in unit.max_resources.items():
        yield Limit(name, written(name, limit), written(name, used.resources.get(name, 0)))


def _remedy(verdict: object) -> str:
    match verdict:
        case AtMax():
            return "a pod of the unit ends, or its maximum is raised"
        case Waiting(until=float()):
            return "a node of the unit becomes free, or the time is over"
        case Waiting(endless=True):
            return "a node of the unit becomes free"
        case Waiting():
            return "the pods that it waits for are gone"
        case Evicting():
            return "the scheduler finds pods to evict, or none and the pod goes on"
        case Placement():
            return ""
    return "a node of the unit becomes free"


def _next_try(found: Assignment, policy: LoadedPolicy | None, demand: Demand) -> str:
    if isinstance(policy, InvalidPolicy):
        return f"when the policy is mended; {FLUSH}"
    if demand.missing:
        return f"when the pod has the label; {FLUSH}"
    outcome = found.outcome
    if isinstance(outcome, Blocked) and outcome.reason == UNTOLERATED_SPREAD:
        return f"when Spillover has written the tolerations; {FLUSH}"
    if isinstance(outcome, Blocked):
        return f"when the replicas of its owner are known; {FLUSH}"
    if isinstance(outcome, Placement):
        return f"within seconds, {FLUSH}"
    if isinstance(outcome, Waiting) and outcome.until is not None:
        return (
            f"at {instant_of(outcome.until)}, or when a node of {outcome.unit.title} becomes free"
        )
    if isinstance(outcome, Evicting):
        return "within seconds"
    return f"when something of the above changes; {FLUSH}"
