"""The decision: which unit a pod goes to, and which of the offered nodes it may use there.

`decide` decides a pod's unit, here and in everything that explains or predicts it. The very line is
in `find`, which takes the units in order; `consider` is what becomes of the pod in one of them.
"""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol

from spillover.api.kubernetes import Toleration
from spillover.core import limits
from spillover.core.demand import NO_HISTORY, Demand, History, demand_of
from spillover.core.instants import instant_of
from spillover.core.pods import Pod
from spillover.core.policy import InvalidPolicy, LoadedPolicy, NodePool, Policy, Unit, UnitKey
from spillover.core.verdicts import (
    AtMax,
    Evicting,
    NoNode,
    Passed,
    Placement,
    Rejected,
    Stay,
    Verdict,
    Waiting,
)

UNTOLERATED_TAINT = "node(s) had untolerated taint(s)"
"""The words of the TaintToleration plugin, so that the scheduler's message reads as ever."""

_LONGEST_ERROR = 300
"""Characters of a policy's error in a reason, which is sent once for each offered node."""

UNKNOWN_NODE = "node(s) not known to Spillover yet"
UNKNOWN_OWNER = "the replicas that the pod's owner wants are not known to Spillover yet"


class NodeView(Protocol):
    def names(self) -> Set[str]: ...

    def members(self, pool: NodePool) -> Set[str]: ...

    def admitting(
        self, names: Set[str], tolerations: Iterable[Toleration], *, to_virtual_unit: bool
    ) -> Set[str]: ...

    def real(self, names: Set[str]) -> Set[str]: ...


class PodView(Protocol):
    def has_below(self, priority: int, names: Set[str]) -> bool:
        """Whether a pod of less than this priority is on one of these nodes."""


@dataclass(frozen=True, slots=True)
class World:
    """What is so at the moment of a decision, `now` in seconds since 1970."""

    ledger: limits.LedgerView
    nodes: NodeView
    workloads: limits.WorkloadView
    pods: PodView
    now: float


Decision = Placement | Rejected


def decide(
    pod: Pod,
    offered: Sequence[str],
    policy: LoadedPolicy | None,
    world: World,
    history: History = NO_HISTORY,
) -> Decision:
    """Where `pod` goes among the `offered` nodes, all feasible for the rest of the scheduler."""
    demand = demand_of(pod, policy, history)
    found = find(pod.uid, demand, frozenset(offered), policy, world)
    if isinstance(found, Placement):
        return found
    passed = _passed(found, pod.uid, demand, policy, world)
    return Rejected(_reasons(found, demand, offered, policy, passed, world), found, passed)


def find(
    uid: str, demand: Demand, offered: Set[str], policy: LoadedPolicy | None, world: World
) -> Placement | Stay | None:
    """The first unit that does not send the pod on to the next one wins. None: they all do, and
    nothing else is allowed."""
    if policy is None:
        usable = _outside(offered, demand, (), world)
        return Placement(None, None, usable) if usable else None
    if isinstance(policy, InvalidPolicy) or demand.missing or _is_orphan(demand, world):
        return None
    passed: tuple[Passed, ...] = ()
    for unit in policy.units:
        verdict = consider(unit, uid, demand, offered, policy, world)
        if isinstance(verdict, Placement):
            return replace(verdict, passed=passed) if passed else verdict
        if isinstance(verdict, (Waiting, Evicting)):
            return verdict
        passed = (*passed, verdict)
    if policy.open:
        usable = _outside(offered, demand, policy.units, world)
        if usable:
            return Placement(policy, None, usable, passed=passed)
    return None


def consider(
    unit: Unit, uid: str, demand: Demand, offered: Set[str], policy: Policy, world: World
) -> Verdict:
    """What becomes of a pod that has come to this unit: it stays (placed, waiting, or asking for
    others to be preempted), or goes on, because of a limit or for want of nodes."""
    key = UnitKey(policy.key, unit.identity, demand.group)
    used = world.ledger.usage(key, besides=uid)
    full = limits.obstacle(unit, policy, demand.requests, used, world.workloads)
    usable: Set[str] = frozenset()
    if full is None:
        usable = world.nodes.admitting(
            offered & world.nodes.members(unit.pool),
            demand.tolerations,
            to_virtual_unit=unit.virtual,
        )
        if usable:
            return Placement(policy, unit, usable, key)
    if demand.nominated == unit.identity:
        return Waiting(unit, f"waits for preempted pods to leave {unit.title}")
    if policy.awaits_terminating and world.ledger.has_terminating(policy.key, unit.identity):
        return Waiting(unit, f"waits for terminating pods of {unit.title}")
    if full is not None:
        return AtMax(unit, full)
    if unit.waits_for_a_time:
        since = _since(unit, demand, world.now)
        until = since + unit.patience_seconds
        if world.now < until:
            reason = f"waits for {unit.title} until {instant_of(until)}"
            return Waiting(unit, reason, since=since, until=until)
    if _may_evict_in(unit, demand, world):
        return Evicting(unit, f"may preempt pods of lower priority in {unit.title}")
    if unit.patience_seconds == inf:
        return Waiting(unit, f"waits for nodes of {unit.title}", endless=True)
    return NoNode(unit)


def is_first_choice(placement: Placement, uid: str, demand: Demand, world: World) -> bool:
    """Whether the pod would be placed there whatever other nodes were offered: every unit before
    that is exhausted."""
    if placement.policy is None:
        return True
    for unit in placement.policy.units:
        if unit is placement.unit:
            break
        verdict = consider(unit, uid, demand, frozenset(), placement.policy, world)
        if not isinstance(verdict, AtMax):
            return False
    return True


def _since(unit: Unit, demand: Demand, now: float) -> float:
    """When the pod's wait in this unit began. The first wait began when the scheduler found no
    place for it, which may have been before anybody asked us."""
    begun = dict(demand.waits).get(unit.identity)
    if begun is not None:
        return begun  # whatever the clock says by now
    first = demand.refused if not demand.waits else None
    return float(int(min(now, first if first is not None else now)))


def may_gain(uid: str, demand: Demand, policy: LoadedPolicy | None, world: World) -> frozenset[str]:
    """Units that have room for the pod, and nodes with pods that it may preempt now."""
    if not isinstance(policy, Policy) or demand.priority is None or demand.missing:
        return frozenset()
    units = set()
    for unit in policy.units:
        verdict = consider(unit, uid, demand, frozenset(), policy, world)
        if isinstance(verdict, Waiting) and not verdict.endless:
            return frozenset()
        if not isinstance(verdict, AtMax) and _has_below(unit, demand, world):
            units.add(unit.identity)
        if isinstance(verdict, Waiting):
            break
    return frozenset(units)


def _is_orphan(demand: Demand, world: World) -> bool:
    """How many replicas the pod's owner wants is to be known first."""
    return bool(demand.owner) and not world.workloads.is_known(demand.owner)


def _may_evict_in(unit: Unit, demand: Demand, world: World) -> bool:
    return demand.eager and unit.identity not in demand.tried and _has_below(unit, demand, world)


def _has_below(unit: Unit, demand: Demand, world: World) -> bool:
    if demand.priority is None or unit.virtual:
        return False
    nodes = world.nodes.admitting(
        world.nodes.members(unit.pool), demand.tolerations, to_virtual_unit=False
    )
    return world.pods.has_below(demand.priority, nodes)


def _outside(offered: Set[str], demand: Demand, units: Sequence[Unit], world: World) -> Set[str]:
    """Nodes of none of the units that admit the pod."""
    inside = frozenset[str]().union(*(world.nodes.members(unit.pool) for unit in units))
    names = (offered & world.nodes.names()) - inside
    return world.nodes.admitting(names, demand.tolerations, to_virtual_unit=False)


def _passed(
    stays: Stay | None, uid: str, demand: Demand, policy: LoadedPolicy | None, world: World
) -> tuple[Passed, ...]:
    """Why each unit is no place for a rejected pod, up to the one that it stays with."""
    if not isinstance(policy, Policy) or demand.missing or _is_orphan(demand, world):
        return ()
    passed = []
    for unit in policy.units:
        if stays is not None and unit is stays.unit:
            break
        verdict = consider(unit, uid, demand, frozenset(), policy, world)
        passed.append(verdict if isinstance(verdict, AtMax) else NoNode(unit))
    return tuple(passed)


def _reasons(
    stays: Stay | None,
    demand: Demand,
    offered: Sequence[str],
    policy: LoadedPolicy | None,
    passed: Sequence[Passed],
    world: World,
) -> dict[str, str]:
    """Why not, for every offered node."""
    known = world.nodes.names()
    if policy is None:
        return {name: UNTOLERATED_TAINT if name in known else UNKNOWN_NODE for name in offered}
    if isinstance(policy, InvalidPolicy):
        return dict.fromkeys(offered, _invalid(policy))
    if demand.missing:
        return dict.fromkeys(offered, _without_label(policy, demand))
    if _is_orphan(demand, world):
        return dict.fromkeys(offered, UNKNOWN_OWNER)
    of_unit = {
        verdict.unit.identity: verdict.reason if isinstance(verdict, AtMax) else ""
        for verdict in passed
    }
    held = stays.reason if stays is not None else ""
    return {name: _of_node(name, policy, of_unit, held, world.nodes) for name in offered}


def _of_node(name: str, policy: Policy, of_unit: dict[str, str], held: str, nodes: NodeView) -> str:
    """Why this node is no place for the pod: one part for each unit that the node belongs to."""
    if name not in nodes.names():
        return UNKNOWN_NODE
    parts = [
        (of_unit[unit.identity] or UNTOLERATED_TAINT) if unit.identity in of_unit else held
        for unit in policy.units
        if name in nodes.members(unit.pool)
    ]
    if parts:
        return " and ".join(dict.fromkeys(parts))
    if policy.open:
        return held or UNTOLERATED_TAINT
    return f"node(s) belong to no unit of ResourcePolicy {policy.key.name}"


def _invalid(policy: InvalidPolicy) -> str:
    first, *others = policy.errors
    more = f" (and {len(others)} more)" if others else ""
    return f"ResourcePolicy {policy.key.name} is invalid: {str(first)[:_LONGEST_ERROR]}{more}"


def _without_label(policy: Policy, demand: Demand) -> str:
    return (
        f"the pod lacks the label {demand.missing}, which ResourcePolicy {policy.key.name}"
        " counts by (matchLabelKeys)"
    )
