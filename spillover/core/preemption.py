"""Which of the scheduler's candidates for preemption are of use to the pod.

The scheduler's dry run sees neither units, nor their limits, nor taints (the extender checks them),
and comes with nodes and the pods to be evicted there. Evicting a pod helps only where the
preempting pod may go afterwards.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from spillover.core import limits
from spillover.core.demand import Demand
from spillover.core.placement import World, find
from spillover.core.pods import Pod
from spillover.core.policy import InvalidPolicy, LoadedPolicy, Policy, Unit, UnitKey
from spillover.core.resources import Requests, total_of
from spillover.core.verdicts import Waiting

Victims = Mapping[str, Sequence[Pod | None]]
"""By node. None stands for a pod that we do not know."""


UnitOf = Callable[[Pod], UnitKey | None]
"""What a bound pod counts under now."""


@dataclass(frozen=True, slots=True)
class Eviction:
    """Any of `nodes` may be emptied of its victims, for a pod that then goes to `unit`."""

    nodes: Set[str]
    unit: UnitKey | None = None


NONE = Eviction(frozenset())


def choose(
    pod: Pod,
    demand: Demand,
    policy: LoadedPolicy | None,
    victims: Victims,
    world: World,
    counts_under: UnitOf,
    only: str = "",
) -> Eviction:
    """The candidates in the first unit in order that has one. None while the pod waits for what
    ends by itself; in an endless wait, no further than the unit where it waits. `only`: filter has
    asked for this unit alone, since a later one has free nodes."""
    usable = {name for name, there in victims.items() if there}  # nobody to evict: no preemption
    if isinstance(policy, InvalidPolicy) or demand.missing:
        return NONE
    if policy is None:
        return Eviction(_admitted(usable & world.nodes.names(), demand, world))
    # What was freed for it before may be lost to others by now.
    unheld = demand._replace(nominated="")
    stays = find(pod.uid, unheld, frozenset(), policy, world)
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
    inside = frozenset[str]().union(*(world.nodes.members(unit.pool) for unit in policy.units))
    return Eviction(_admitted((usable & world.nodes.names()) - inside, demand, world))


def _admitted(names: Set[str], demand: Demand, world: World) -> Set[str]:
    """Without virtual nodes: there is always room on those, or none for reasons of their own."""
    return world.nodes.real(world.nodes.admitting(names, demand.tolerations, to_virtual_unit=False))


def _has_room_without(
    unit: Unit,
    policy: Policy,
    pod: Pod,
    key: UnitKey,
    victims: Sequence[Pod | None],
    world: World,
    counts_under: UnitOf,
) -> bool:
    """Whether the pod is within the unit's limits once its victims are gone."""
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
