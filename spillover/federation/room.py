"""How many more pods of a workload a cluster can hold now, in the order of its policy's units.

    room of a unit = min(free slots under its limits, room on its nodes + declared growth)

The walk over the units takes each node's free resources once, so that units with common nodes do
not count them twice. Everything is pure. Amounts are in the units of
`spillover.core.model.resources`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

import msgspec

from spillover.api.kubernetes import ConstrainedPod
from spillover.core.cache.cluster import ClusterCache
from spillover.core.decision import limits
from spillover.core.decision.demand import group_of
from spillover.core.model.pods import Pod
from spillover.core.model.policy import Policy, Unit, UnitKey
from spillover.core.reporting.fit import NOT_USED, Capacity, Use, misfit

GROWTH_ANNOTATION = "federation.spillover.dev/growth"
"""On a ResourcePolicy: how many more pods each unit gets nodes for, such as `postpaid=8`, or
`postpaid=unlimited`. Several units are separated by commas. `*` is the last unit."""

UNLIMITED = "unlimited"
LAST = "*"
_MOST = 100_000
"""The largest number of pods that a room is counted to."""
_ENTRY = re.compile(r"([^=,]+)=(unlimited|[0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class Shape:
    """What the pods of a workload are like: one of them, or one made of the template."""

    pod: Pod
    constraints: ConstrainedPod


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node as the scheduler's own plugins see it."""

    capacity: Capacity
    used: Use = NOT_USED


class NodeStates:
    """All nodes at one moment. Remembers how many pods of each shape fit: most workloads have the
    shape of others."""

    def __init__(self, states: Mapping[str, NodeState]) -> None:
        self._states = states
        self._fitting: dict[object, dict[str, int]] = {}

    def fitting(self, shape: Shape) -> Mapping[str, int]:
        """How many more pods of this shape fit on each node. Without nodes where none fits."""
        key = (
            shape.pod.requests,
            shape.pod.tolerations,
            msgspec.json.encode(shape.constraints),
        )
        found = self._fitting.get(key)
        if found is None:
            found = self._fitting[key] = {
                name: _fitting(shape, state)
                for name, state in self._states.items()
                if misfit(shape.pod, shape.constraints, state.capacity, state.used) is None
            }
        return found


@dataclass(frozen=True, slots=True)
class UnitRoom:
    """The room in one unit, for pods of one shape."""

    unit: Unit
    slots: float
    """Free slots under the unit's limits. Infinite without a limit."""
    nodes: int
    """Pods that fit on the unit's nodes besides those of earlier units."""
    growth: float
    """Pods for which the unit gets nodes. Infinite for `unlimited`."""

    @property
    def pods(self) -> float:
        return min(self.slots, self.nodes + self.growth)


def growth_of(annotation: str) -> dict[str, float]:
    """The declared growth by unit. Raises ValueError, which names the entry."""
    found: dict[str, float] = {}
    for entry in filter(None, (each.strip() for each in annotation.split(","))):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise ValueError(
                f"{GROWTH_ANNOTATION}: {entry[:60]!r} is not UNIT=PODS or UNIT={UNLIMITED}"
            )
        found[match[1].strip()] = inf if match[2] == UNLIMITED else float(match[2])
    return found


def is_bounded(policy: Policy, growth: Mapping[str, float]) -> bool:
    """Whether the last unit ends somewhere: it has a limit of pods, or its growth is declared."""
    if policy.open:
        return False
    last = policy.units[-1]
    if last.max is not None or last.max_ratio is not None:
        return True
    return _declared(last, policy, growth) not in (None, inf)


def rooms(
    shape: Shape,
    policy: Policy,
    growth: Mapping[str, float],
    cluster: ClusterCache,
    nodes: NodeStates,
) -> list[UnitRoom]:
    """The room in each unit of the policy."""
    free = dict(nodes.fitting(shape))
    found = []
    for unit in policy.units:
        here = cluster.nodes.admitting(
            cluster.nodes.members(unit.pool) & free.keys(),
            shape.pod.tolerations,
            to_virtual_unit=unit.virtual,
            pool=unit.pool,
        )
        room = UnitRoom(
            unit,
            slots=_slots(shape, policy, unit, cluster),
            nodes=sum(free[name] for name in here),
            growth=_declared(unit, policy, growth) or 0.0,
        )
        _take(free, sorted(here), min(room.pods, room.nodes))
        found.append(room)
    return found


def total(found: list[UnitRoom]) -> int:
    """Pods in all units together."""
    return int(min(_MOST, sum(room.pods for room in found)))


def shared(room: int, needs: Mapping[str, int]) -> dict[str, int]:
    """The parts of several workloads of one room. First each gets what its waiting pods need; the
    rest is divided evenly, the first names get what does not divide."""
    parts = dict.fromkeys(sorted(needs), 0)
    left = room
    for name in parts:
        parts[name] = min(left, needs[name])
        left -= parts[name]
    each, more = divmod(left, len(parts)) if parts else (0, 0)
    return {name: part + each + (index < more) for index, (name, part) in enumerate(parts.items())}


def _declared(unit: Unit, policy: Policy, growth: Mapping[str, float]) -> float | None:
    if unit.title in growth:
        return growth[unit.title]
    return growth.get(LAST) if unit is policy.units[-1] else None


def _slots(shape: Shape, policy: Policy, unit: Unit, cluster: ClusterCache) -> float:
    key = UnitKey(policy.key, unit.identity, group_of(shape.pod, policy))
    used = cluster.ledger.usage(key, besides="")
    most = limits.cap(unit, policy, cluster.workloads)
    slots: float = inf if most is None else max(0, most - used.pods)
    for name, amount in shape.pod.requests:
        limit = unit.max_resources.get(name)
        if limit is not None and amount:
            slots = min(slots, max(0, limit - used.resources.get(name, 0)) // amount)
    return slots


def _fitting(shape: Shape, state: NodeState) -> int:
    """Pods of this shape that fit on the node together."""
    wanted = (*shape.pod.requests, ("pods", 1))
    return min(
        (state.capacity.allocatable.get(name, 0) - state.used.amounts.get(name, 0)) // amount
        for name, amount in wanted
        if amount
    )


def _take(free: dict[str, int], names: list[str], pods: float) -> None:
    """Pods of an earlier unit take the nodes' room first."""
    for name in names:
        taken = min(free[name], pods)
        free[name] -= int(taken)
        pods -= taken
        if pods <= 0:
            return
