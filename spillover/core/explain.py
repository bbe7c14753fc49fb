"""Why a pod is where it is, or waits: the decision itself, unit by unit, for people."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from spillover.core import limits
from spillover.core.demand import Demand, group_of
from spillover.core.instants import instant_of
from spillover.core.placement import World, consider, find
from spillover.core.pods import Pod
from spillover.core.policy import InvalidPolicy, LoadedPolicy, Policy, Unit, UnitKey
from spillover.core.resources import written
from spillover.core.selectors import includes
from spillover.core.state import ClusterState
from spillover.core.verdicts import AtMax, Evicting, NoNode, Placement, Stay, Waiting

TAINTED = "with a taint that the pod does not tolerate"
FITTING = "fit for the pod"
FLUSH = "at the latest 5 minutes after the scheduler's last try"


class Verdict(StrEnum):
    TAKES = "takes it"
    WAITS = "waits here"
    PREEMPTS = "may preempt here"
    FULL = "full"
    NO_NODE = "no node"


@dataclass(frozen=True, slots=True)
class Limit:
    """`most` and `taken` as people write them; `of` is pods or a resource."""

    of: str
    most: str
    taken: str


@dataclass(frozen=True, slots=True)
class UnitReport:
    """One unit. `reached`: the decision came to it. `nodes` are its nodes by what they are for the
    pod, `held_by` the pods that count in it (in the pod's group)."""

    unit: str
    verdict: Verdict
    reached: bool
    reason: str
    limits: tuple[Limit, ...]
    held_by: tuple[str, ...]
    nodes: Mapping[str, tuple[str, ...]]
    remedy: str


@dataclass(frozen=True, slots=True)
class PodReport:
    """`node` is where the pod is bound, "" while it waits. `chosen` is the unit that it is in, or
    would go to, `nodes` the nodes that it may use there. `last_word` is the scheduler's message."""

    namespace: str
    pod: str
    node: str
    policy: str
    outcome: str
    chosen: str
    nodes: tuple[str, ...]
    units: tuple[UnitReport, ...]
    next_try: str
    last_word: str


@dataclass(frozen=True, slots=True)
class Fill:
    """One unit of a policy, in one group of pods (the values of matchLabelKeys; else empty)."""

    unit: str
    group: tuple[str, ...]
    limits: tuple[Limit, ...]
    held_by: tuple[str, ...]
    nodes: int


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """`state` is valid, or what is wrong. `yields_to` are older policies that have some of the pods
    which this one selects. `waiting` tells why by pod; `outside` are bound pods of the policy that
    count in none of its units."""

    namespace: str
    policy: str
    state: str
    yields_to: tuple[str, ...]
    units: tuple[Fill, ...]
    waiting: Mapping[str, str]
    outside: tuple[str, ...]


def explain_policy(cache: ClusterState, policy: LoadedPolicy) -> PolicyReport:
    selected = [
        pod
        for pod in cache.pods_of(policy.key.namespace)
        if includes(pod.labels, policy.selector) and not pod.finished
    ]
    takers = {pod.uid: cache.policy_of(pod) for pod in selected}
    own = [pod for pod in selected if takers[pod.uid] is policy]
    older = {str(each.key) for each in takers.values() if each is not None and each is not policy}
    invalid = isinstance(policy, InvalidPolicy)
    return PolicyReport(
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


def _fills(cache: ClusterState, policy: Policy, pods: Sequence[Pod]) -> Iterable[Fill]:
    world = cache.world()
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
    cache: ClusterState,
    pod: Pod,
    misfits: Mapping[str, str | None],
    hindrances: Sequence[str] = (),
) -> PodReport:
    """`cache` holds what the decision rests on, `misfits` why the pod does not fit on each node,
    `hindrances` why nobody tries it at all."""
    policy = cache.policy_of(pod)
    if pod.node:
        return _bound(cache, pod, policy)
    demand, world = cache.demand_of(pod), cache.world()
    offered = frozenset(name for name, why in misfits.items() if why is None)
    found = find(pod.uid, demand, offered, policy, world)
    units = _units(cache, pod, demand, policy, offered, misfits, found, world)
    placed = found if isinstance(found, Placement) else None
    return PodReport(
        namespace=pod.namespace,
        pod=pod.name,
        node="",
        policy=str(policy.key) if policy is not None else "",
        outcome="; but ".join([_outcome(policy, demand, found, units), *hindrances]),
        chosen=_title(policy, placed) if placed is not None else "",
        nodes=tuple(sorted(placed.nodes)) if placed is not None else (),
        units=units,
        next_try="" if hindrances else _next_try(found, policy, demand),
        last_word=pod.refusal.partition(": ")[2],
    )


def _bound(cache: ClusterState, pod: Pod, policy: LoadedPolicy | None) -> PodReport:
    home = cache.home_of(pod)
    of = home.policy if home.unit is not None else policy
    if home.policy is not None and home.unit is not None:
        where = f"bound to {pod.node}, in unit {home.unit.title} of {home.policy.key}"
    elif policy is not None:
        where = f"bound to {pod.node}, which counts in no unit of {policy.key}"
    else:
        where = f"bound to {pod.node}; no policy selects it"
    return PodReport(
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
    policy: LoadedPolicy | None,
    demand: Demand,
    found: Placement | Stay | None,
    units: Sequence[UnitReport],
) -> str:
    if isinstance(policy, InvalidPolicy):
        errors = "; ".join(map(str, policy.errors))
        return f"not placed: {policy.key} is invalid: {errors}"
    if demand.missing:
        return f"not placed: the pod lacks the label {demand.missing} (matchLabelKeys)"
    match found:
        case Placement():
            return f"goes to {_title(policy, found)} when the scheduler tries it next"
        case Waiting() | Evicting():
            return found.reason
    if policy is None:
        return "not placed: no policy selects it, and no node fits"
    return f"not placed: {len(units)} of {len(units)} units cannot take it"


def _units(
    cache: ClusterState,
    pod: Pod,
    demand: Demand,
    policy: LoadedPolicy | None,
    offered: frozenset[str],
    misfits: Mapping[str, str | None],
    found: Placement | Stay | None,
    world: World,
) -> tuple[UnitReport, ...]:
    if not isinstance(policy, Policy) or demand.missing:
        return ()
    reports = []
    reached = True
    for unit in policy.units:
        verdict = consider(unit, pod.uid, demand, offered, policy, world)
        nodes = _nodes(unit, demand, misfits, world)
        key = UnitKey(policy.key, unit.identity, demand.group)
        reason = verdict.reason if isinstance(verdict, (AtMax, Waiting, Evicting)) else ""
        reports.append(
            UnitReport(
                unit=unit.title,
                verdict=_VERDICTS[type(verdict)],
                reached=reached,
                reason=reason,
                limits=tuple(_limits(unit, policy, key, pod.uid, world)),
                held_by=tuple(sorted(each.name for each in cache.pods_in(key))),
                nodes=nodes,
                remedy=_remedy(verdict),
            )
        )
        if found is not None and found.unit is unit:
            reached = False
    return tuple(reports)


_VERDICTS = {
    Placement: Verdict.TAKES,
    Waiting: Verdict.WAITS,
    Evicting: Verdict.PREEMPTS,
    AtMax: Verdict.FULL,
    NoNode: Verdict.NO_NODE,
}


def _nodes(
    unit: Unit, demand: Demand, misfits: Mapping[str, str | None], world: World
) -> dict[str, tuple[str, ...]]:
    members = world.nodes.members(unit.pool)
    admitted = world.nodes.admitting(members, demand.tolerations, to_virtual_unit=unit.virtual)
    groups: dict[str, list[str]] = {}
    for name in sorted(members):
        state = misfits.get(name) or (FITTING if name in admitted else TAINTED)
        groups.setdefault(state, []).append(name)
    return {state: tuple(names) for state, names in groups.items()}


def _limits(
    unit: Unit, policy: Policy, key: UnitKey, besides: str, world: World
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


def _next_try(found: Placement | Stay | None, policy: LoadedPolicy | None, demand: Demand) -> str:
    if isinstance(policy, InvalidPolicy):
        return f"when the policy is mended; {FLUSH}"
    if demand.missing:
        return f"when the pod has the label; {FLUSH}"
    if isinstance(found, Placement):
        return f"within seconds, {FLUSH}"
    if isinstance(found, Waiting) and found.until is not None:
        return f"at {instant_of(found.until)}, or when a node of {found.unit.title} becomes free"
    if isinstance(found, Evicting):
        return "within seconds"
    return f"when something of the above changes; {FLUSH}"
