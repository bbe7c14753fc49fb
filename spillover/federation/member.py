"""What a member cluster can say about one workload, from the same decision as the extender's."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from spillover.core.cache.cluster import ClusterCache
from spillover.core.decision.outcomes import (
    Blocked,
    Evicting,
    Exhausted,
    Placement,
    Waiting,
    because,
)
from spillover.core.decision.placement import assign_unit
from spillover.core.model.pods import Pod
from spillover.federation.room import NodeStates, Shape, UnitRoom

_NO_ROOM = "no unit has a free node"


@dataclass(frozen=True, slots=True)
class Deployed:
    """A workload of the member."""

    uid: str
    namespace: str
    name: str
    replicas: int
    shape: Shape
    selector: Mapping[str, str] = field(default_factory=dict)
    """Labels that its pods have."""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class UnitState:
    """One unit of the policy, as far as it concerns one workload."""

    name: str
    bound: int
    """The workload's pods in the unit."""
    room: int | None
    """More pods of the workload that the unit can hold. None: without a limit."""


@dataclass(frozen=True, slots=True)
class WorkloadState:
    """What a member says about one workload. Pods that are being deleted count nowhere."""

    namespace: str
    name: str
    policy: str
    """As group/name. Empty: no policy selects the pods."""
    replicas: int
    """As the member's Deployment wants them."""
    bound: int
    waiting: int
    """Pods without a node."""
    unschedulable: int
    """Pods without a node that the scheduler has refused."""
    room: int
    """More pods than the bound ones that the workload can get nodes for here."""
    bounded: bool
    """Whether the number of additional pods is limited. False: the last unit may grow."""
    failing: bool = False
    """Whether the member's scheduler does not decide."""
    on_trial: bool = False
    """Whether the scheduler did not decide lately, and nothing shows that it does now."""
    waits_until: float | None = None
    """When the first timed wait of a pod ends, in seconds since 1970."""
    unschedulable_since: str = ""
    """RFC 3339: since when the oldest unschedulable pod is so."""
    reasons: tuple[str, ...] = ()
    """Why units do not take another pod."""
    units: tuple[UnitState, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


def workload_state(
    deployed: Deployed,
    pods: Sequence[Pod],
    found: Sequence[UnitRoom],
    room: int,
    cluster: ClusterCache,
    nodes: NodeStates,
    *,
    bounded: bool,
    failing: bool,
    on_trial: bool,
) -> WorkloadState:
    """`pods` are the workload's own. `found` is the room in each unit of its policy. `room` is the
    workload's part of it. `failing` and `on_trial` are the state of the member's scheduler."""
    live = [pod for pod in pods if not (pod.finished or pod.terminating)]
    waiting = [pod for pod in live if not pod.node]
    stuck = [pod for pod in waiting if pod.is_refused]
    policy = cluster.policy_of(deployed.shape.pod)
    units = _units(live, found, room, cluster)
    until, reasons = _outlook(deployed, waiting, cluster, nodes)
    return WorkloadState(
        namespace=deployed.namespace,
        name=deployed.name,
        policy=str(policy.key) if policy is not None else "",
        replicas=deployed.replicas,
        bound=len(live) - len(waiting),
        waiting=len(waiting),
        unschedulable=len(stuck),
        room=room,
        bounded=bounded,
        failing=failing,
        on_trial=on_trial,
        waits_until=until,
        unschedulable_since=min((pod.since for pod in stuck), default=""),
        reasons=reasons if waiting else (),
        units=units,
    )


def _units(
    live: Sequence[Pod], found: Sequence[UnitRoom], room: int, cluster: ClusterCache
) -> tuple[UnitState, ...]:
    homes = Counter(
        home.unit.identity
        for home in (cluster.home_of(pod) for pod in live if pod.node)
        if home.unit is not None
    )
    return tuple(
        UnitState(
            each.unit.title,
            homes[each.unit.identity],
            min(room, int(each.pods)) if each.pods < inf else None,
        )
        for each in found
    )


def _outlook(
    deployed: Deployed,
    waiting: Sequence[Pod],
    cluster: ClusterCache,
    nodes: NodeStates,
) -> tuple[float | None, tuple[str, ...]]:
    """Until when pods wait, and why each unit takes no pod."""
    if not waiting:
        return None, ()
    fitting = nodes.fitting(deployed.shape).keys()
    untils: list[float] = []
    reasons: set[str] = set()
    asked: set[object] = set()
    for pod in waiting:
        policy, demand = cluster.policy_of(pod), cluster.demand_of(pod)
        alike = (policy.key if policy is not None else None, demand)
        if alike in asked:
            continue
        asked.add(alike)
        found = assign_unit(pod.uid, demand, fitting, policy, cluster.view())
        match found.outcome:
            case Placement():
                pass  # there is room: the scheduler has not looked since
            case Waiting(reason=reason, until=until):
                reasons.add(reason)
                untils += [until] if until is not None else []
            case Evicting(reason=reason) | Blocked(reason=reason):
                reasons.add(reason)
            case Exhausted():
                reasons.add(because(found.passed) or _NO_ROOM)
    return min(untils, default=None), tuple(sorted(reasons))
