"""How many more pods of a workload a cluster can hold now, in the order of its policy's units.

    room of a unit = min(free slots under its limits, room on its nodes)

Room on nodes is what the nodes hold now or, where the unit's growth is declared, what they will
hold when all of them are there. The walk over the units takes each node's free resources once, so
that units with common nodes do not count them twice. Places of pods that are being deleted count as
free. Everything is pure. Amounts are in the units of `spillover.core.model.resources`.
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

GROWS_TO_ANNOTATION = "federation.spillover.dev/grows-to"
"""On a ResourcePolicy: how many pods a unit's nodes hold when all of them are there, such as
`postpaid=8`, or `postpaid=unlimited`. Several units are separated by commas. A unit is named by its
name, by its number in the policy (from 1), or by `*` for the last unit."""

UNLIMITED = "unlimited"
LAST = "*"
_MOST = 100_000
"""The largest number of pods that a room is counted to."""
_ENTRY = re.compile(r"([^=,]+)=(unlimited|[0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class Shape:
    """What the pods of a workload are like."""

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
    nodes: float
    """Pods that fit on the unit's nodes, after the pods of earlier units. Infinite for a unit that
    is declared to grow without a limit."""

    @property
    def pods(self) -> float:
        return min(self.slots, self.nodes)


def grows_to(annotation: str) -> dict[str, float]:
    """The declared sizes by unit. Raises ValueError, which names the entry."""
    found: dict[str, float] = {}
    for entry in filter(None, (each.strip() for each in annotation.split(","))):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise ValueError(
                f"{GROWS_TO_ANNOTATION}: {entry[:60]!r} is not UNIT=PODS or UNIT={UNLIMITED}"
            )
        found[match[1].strip()] = inf if match[2] == UNLIMITED else float(match[2])
    return found


def is_bounded(policy: Policy, growth: Mapping[str, float]) -> bool:
    """Whether the last unit ends somewhere: it has a limit of pods, or its size is declared."""
    if policy.open:
        return False
    last = policy.units[-1]
    return last.max is not None or _declared(last, policy, growth) not in (None, inf)


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
        used, leaving = _taken(policy, unit, cluster)
        now: float = sum(free[name] for name in here)
        size = _declared(unit, policy, growth)
        room = UnitRoom(
            unit,
            slots=_slots(shape, policy, unit, cluster, leaving),
            nodes=now if size is None else max(now, size - (used - leaving)),
        )
        _take(free, sorted(here), min(room.pods, now))
        found.append(room)
    return found


def total(found: list[UnitRoom]) -> int:
    """Pods in all units together."""
    return int(min(_MOST, sum(room.pods for room in found)))


def shared(room: int, needs: Mapping[str, int]) -> dict[str, int]:
    """The parts of several workloads of one room. First each gets what its waiting pods need. The
    rest is divided evenly; the first in the order of their keys get what does not divide."""
    parts = dict.fromkeys(sorted(needs), 0)
    left = room
    for name in parts:
        parts[name] = min(left, needs[name])
        left -= parts[name]
    each, more = divmod(left, len(parts)) if parts else (0, 0)
    return {name: part + each + (index < more) for index, (name, part) in enumerate(parts.items())}


def _declared(unit: Unit, policy: Policy, growth: Mapping[str, float]) -> float | None:
    number = policy.units.index(unit) + 1
    names = [unit.title, str(number), *([LAST] if number == len(policy.units) else [])]
    return next((growth[name] for name in names if name in growth), None)


def _taken(policy: Policy, unit: Unit, cluster: ClusterCache) -> tuple[int, int]:
    """The pods of all groups that count in the unit, and how many of them are being deleted."""
    used = sum(
        len(each.pods) for each in cluster.counts.members(policy.key, unit.identity).values()
    )
    if policy.ignore_terminating_pod:
        return used, 0
    return used, min(used, cluster.counts.unit(policy.key, unit.identity).terminating)


def _slots(shape: Shape, policy: Policy, unit: Unit, cluster: ClusterCache, leaving: int) -> float:
    key = UnitKey(policy.key, unit.identity, group_of(shape.pod, policy))
    used = cluster.ledger.usage(key, besides="")
    most = limits.cap(unit, policy, cluster.workloads)
    slots: float = inf if most is None else max(0, most - max(0, used.pods - leaving))
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
