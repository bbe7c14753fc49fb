"""Which of the scheduler's candidates for preemption help the pod.

A candidate is a node with its victims, the pods to evict there. The scheduler's dry run does not
consider units, limits of units, or taints (the extender checks taints). An eviction helps only on a
node that the preempting pod may use afterwards.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from spillover.core.decision import limits
from spillover.core.decision.demand import Demand
from spillover.core.decision.outcomes import Blocked, Waiting
from spillover.core.decision.placement import ClusterView, assign_unit
from spillover.core.model.pods import Pod
from spillover.core.model.policy import InvalidPolicy, LoadedPolicy, Policy, Unit, UnitKey
from spillover.core.model.resources import Requests, total_of

Victims = Mapping[str, Sequence[Pod | None]]
"""Victims by node name. None stands for a pod that Spillover does not know."""


UnitOf = Callable[[Pod], UnitKey | None]
"""Returns the key that a bound pod is counted under now."""


@dataclass(frozen=True, slots=True)
class Eviction:
    """The scheduler may evict the victims on any one of `nodes`. The pod then goes to `unit`."""

    nodes: Set[str]
    unit: UnitKey | None = None


NONE = Eviction(frozenset())


def choose(
    pod: Pod,
    demand: Demand,
    policy: LoadedPolicy | None,
    victims: Victims,
    world: ClusterView,
    counts_under: UnitOf,
    only: str = "",
) -> Eviction:
    """The candidates in the first unit, in the policy's order, that has any. `NONE` while the pod
    waits for something that ends by itself. In an endless wait, the search ends with the unit where
    the pod waits. `only`: filter asked for preemption in this unit. The search ends with this unit,
    because a later unit may have free nodes."""
    usable = {name for name, there in victims.items() if there}  # no victims: no preemption
    if policy is None:
        return Eviction(_admitted(usable & world.nodes.names(), demand, world))
    # Other pods may have taken what an earlier preemption freed for this pod.
    unheld = demand._replace(nominated="")
    found = assign_unit(pod.uid, unheld, frozenset(), policy, world)
    if isinstance(policy, InvalidPolicy) or isinstance(found.outcome, Blocked):
        return NONE
    stays = found.stays
    if isinstance(stays, Waiting) and not stays.endless:
        return NONE
    for unit in policy.units:
        key = UnitKey(policy.key, unit.identity, demand.group)
        if not unit.virtual:
            members = usable & world.nodes.members(unit.pool)
            nodes = {
                name
                for name in _admitted(members, demand, world)
                if _has_room_without(unit, policy, pod, key, victims[name], world, counts_under)
            }
            if nodes:
                return Eviction(nodes, key)
        if unit.identity == only or (isinstance(stays, Waiting) and unit is stays.unit):
            return NONE
    if not policy.open:
        return NONE
    outside: Set[str] = usable & world.nodes.names()
    for unit in policy.units:
        outside -= world.nodes.members(unit.pool)
    return Eviction(_admitted(outside, demand, world))


def _admitted(names: Set[str], demand: Demand, world: ClusterView) -> Set[str]:
    """The nodes that admit the pod, without virtual nodes. An eviction does not help there: a
    virtual node always has room, or lacks room for reasons of its own."""
    return world.nodes.real(world.nodes.admitting(names, demand.tolerations, to_virtual_unit=False))


def _has_room_without(
    unit: Unit,
    policy: Policy,
    pod: Pod,
    key: UnitKey,
    victims: Sequence[Pod | None],
    world: ClusterView,
    counts_under: UnitOf,
) -> bool:
    """Whether the pod is within the unit's limits after the victims are gone."""
    leaving: list[Requests] = [
        victim.requests for victim in victims if victim is not None and counts_under(victim) == key
    ]
    used = world.ledger.usage(key, besides=pod.uid)
    left = total_of(leaving)
    after = limits.Usage(
        used.pods - len(leaving),
        {name: amount - left[name] for name, amount in used.resources.items()},
    )
    return limits.obstacle(unit, policy, pod.requests, after, world.workloads) is None
