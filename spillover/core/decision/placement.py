"""The decision: which unit a pod goes to, and which of the offered nodes it may use there.

`assign_unit` chooses the unit: it takes the units in order, and `evaluate_unit` gives the verdict
for one unit. Code that explains or predicts a decision calls the same functions.
"""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol

from spillover.api.kubernetes import Toleration
from spillover.core.decision import limits
from spillover.core.decision.demand import Demand
from spillover.core.decision.outcomes import (
    Assignment,
    AtMax,
    Blocked,
    Evicting,
    Exhausted,
    NoNode,
    Passed,
    Placement,
    Rejected,
    Stay,
    Verdict,
    Waiting,
)
from spillover.core.decision.reasons import (
    UNKNOWN_OWNER,
    UNTOLERATED_SPREAD,
    invalid,
    reasons_by_node,
    without_label,
)
from spillover.core.model.nodes import Names
from spillover.core.model.policy import InvalidPolicy, LoadedPolicy, NodePool, Policy, Unit, UnitKey
from spillover.core.model.timestamps import instant_of


class NodeView(Protocol):
    def names(self) -> Set[str]: ...

    def members(self, pool: NodePool) -> Set[str]: ...

    def admitting(
        self,
        names: Set[str],
        tolerations: Iterable[Toleration],
        *,
        to_virtual_unit: bool,
        pool: NodePool | None = None,
    ) -> Set[str]: ...

    def real(self, names: Set[str]) -> Set[str]: ...


class PodView(Protocol):
    def has_below(self, priority: int, names: Set[str]) -> bool:
        """Whether a pod with a lower priority is on one of these nodes."""


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The state of the cluster at the moment of a decision."""

    ledger: limits.LedgerView
    nodes: NodeView
    workloads: limits.WorkloadView
    pods: PodView
    now: float
    """Seconds since 1970."""


Decision = Placement | Rejected


def decide(
    uid: str,
    demand: Demand,
    offered: Names,
    policy: LoadedPolicy | None,
    world: ClusterView,
) -> Decision:
    """Decides where the pod with this uid and demand goes. `offered` are the nodes that the
    scheduler's own filters accept."""
    found = assign_unit(uid, demand, offered, policy, world)
    if isinstance(found.outcome, Placement):
        return found.outcome
    return Rejected(reasons_by_node(found, offered, policy, world.nodes), found.stays, found.passed)


def assign_unit(
    uid: str, demand: Demand, offered: Set[str], policy: LoadedPolicy | None, world: ClusterView
) -> Assignment:
    """Walks over the units and stops at the first unit that does not send the pod on to the next
    unit. Evaluates each unit at most once."""
    if policy is None:
        usable = _outside(offered, demand, (), world)
        return Assignment(Placement(None, None, usable) if usable else Exhausted())
    if isinstance(policy, InvalidPolicy):
        return Assignment(Blocked(invalid(policy)))
    if obstacle := _obstacle_of_all(demand, policy, world):
        return Assignment(Blocked(obstacle))
    passed: tuple[Passed, ...] = ()
    for unit in policy.units:
        verdict = evaluate_unit(unit, uid, demand, offered, policy, world)
        if isinstance(verdict, Placement):
            return Assignment(replace(verdict, passed=passed) if passed else verdict, passed)
        if isinstance(verdict, (Waiting, Evicting)):
            return Assignment(verdict, passed)
        passed = (*passed, verdict)
    if policy.open:
        usable = _outside(offered, demand, policy.units, world)
        if usable:
            return Assignment(Placement(policy, None, usable, passed=passed), passed)
    return Assignment(Exhausted(), passed)


def evaluate_unit(
    unit: Unit, uid: str, demand: Demand, offered: Set[str], policy: Policy, world: ClusterView
) -> Verdict:
    """The verdict for a pod that earlier units sent on to this unit. The pod stays (placed,
    waiting, or asking for preemption), or goes on because of a limit or because no node fits."""
    key = UnitKey(policy.key, unit.identity, demand.group)
    used = world.ledger.usage(key, besides=uid)
    full = limits.obstacle(unit, policy, demand.requests, used, world.workloads)
    usable: Set[str] = frozenset()
    if full is None:
        usable = world.nodes.admitting(
            offered & world.nodes.members(unit.pool),
            demand.tolerations,
            to_virtual_unit=unit.virtual,
            pool=unit.pool,
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


def _obstacle_of_all(demand: Demand, policy: Policy, world: ClusterView) -> str:
    """Why no unit is evaluated, or ""."""
    if demand.untolerated:
        return UNTOLERATED_SPREAD
    if demand.missing:
        return without_label(policy, demand)
    if demand.owner and not world.workloads.is_known(demand.owner):
        return UNKNOWN_OWNER
    return ""


def is_first_choice(placement: Placement) -> bool:
    """Whether the pod would get this unit whichever other nodes were offered: every earlier unit is
    at a limit."""
    return all(isinstance(verdict, AtMax) for verdict in placement.passed)


def is_held(policy: LoadedPolicy | None, stays: Stay | None, passed: Sequence[Passed]) -> bool:
    """Whether no node would help a pod with this rejection: its policy is invalid, or only limits
    keep it out of the units."""
    if policy is None or stays is not None or (isinstance(policy, Policy) and policy.open):
        return False
    return not any(isinstance(each, NoNode) for each in passed)


def _since(unit: Unit, demand: Demand, now: float) -> float:
    """When the pod's wait in this unit began: an earlier decision found room in the unit and no
    node. Else it begins now."""
    begun = dict(demand.waits).get(unit.identity)
    # Even if the clock has been set back since then.
    return begun if begun is not None else float(int(now))


def preemptable_units(
    stays: Stay | None,
    passed: Sequence[Passed],
    uid: str,
    demand: Demand,
    policy: LoadedPolicy | None,
    world: ClusterView,
) -> frozenset[str]:
    """Identities of the units that have room for a rejected pod and nodes with pods that it may
    preempt now. After a unit where the pod asks for preemption, later units are evaluated too. A
    unit in `passed` keeps its verdict, whichever nodes were offered."""
    if not isinstance(policy, Policy) or demand.priority is None:
        return frozenset()
    if isinstance(stays, Waiting) and not stays.endless:
        return frozenset()
    open_to_it = [verdict.unit for verdict in passed if not isinstance(verdict, AtMax)]
    if stays is not None:
        open_to_it.append(stays.unit)
    if isinstance(stays, Evicting) and stays.unit.patience_seconds != inf:
        for unit in policy.units[policy.units.index(stays.unit) + 1 :]:
            verdict = evaluate_unit(unit, uid, demand, frozenset(), policy, world)
            if isinstance(verdict, Waiting) and not verdict.endless:
                return frozenset()
            if not isinstance(verdict, AtMax):
                open_to_it.append(unit)
            if isinstance(verdict, Waiting):
                break
    return frozenset(unit.identity for unit in open_to_it if _has_below(unit, demand, world))


def _may_evict_in(unit: Unit, demand: Demand, world: ClusterView) -> bool:
    return demand.eager and unit.identity not in demand.tried and _has_below(unit, demand, world)


def _has_below(unit: Unit, demand: Demand, world: ClusterView) -> bool:
    if demand.priority is None or unit.virtual:
        return False
    nodes = world.nodes.admitting(
        world.nodes.members(unit.pool), demand.tolerations, to_virtual_unit=False, pool=unit.pool
    )
    return world.pods.has_below(demand.priority, nodes)


def _outside(
    offered: Set[str], demand: Demand, units: Sequence[Unit], world: ClusterView
) -> Set[str]:
    """The offered nodes that belong to none of `units` and admit the pod."""
    names: Set[str] = offered & world.nodes.names()
    for unit in units:
        names -= world.nodes.members(unit.pool)
    return world.nodes.admitting(names, demand.tolerations, to_virtual_unit=False)
