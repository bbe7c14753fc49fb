"""What a member cluster can say about one workload, from the same decision as the extender's."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from spillover.core.cache.cluster import ClusterCache
from spillover.core.decision.outcomes import Waiting, because
from spillover.core.decision.placement import assign_unit
from spillover.core.model.pods import Pod
from spillover.core.model.policy import InvalidPolicy, Policy
from spillover.federation.room import NodeStates, Shape, UnitRoom

SCHEDULER_ERROR = "SchedulerError"
"""The reason in PodScheduled while the extender does not answer, or answers with an error."""
_NO_ROOM = "no unit has a free node"


@dataclass(frozen=True, slots=True)
class Deployed:
    """A workload of the member."""

    uid: str
    namespace: str
    name: str
    replicas: int
    shape: Shape

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
    """Whether `room` ends somewhere. False: the last unit may grow without a declared limit."""
    failing: bool = False
    """Whether the scheduler fails to decide: the extender does not answer."""
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
) -> WorkloadState:
    """`pods` are the workload's own. `found` is the room in each unit of its policy. `room` is the
    workload's part of it."""
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
        failing=any(pod.refusal.startswith(f"{SCHEDULER_ERROR}:") for pod in waiting),
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
    reasons: dict[str, None] = {}
    asked: dict[object, None] = {}
    for pod in waiting:
        policy, demand = cluster.policy_of(pod), cluster.demand_of(pod)
        if (policy.key if policy else None, demand) in asked:
            continue
        asked[policy.key if policy else None, demand] = None
        if isinstance(policy, InvalidPolicy):
            reasons[f"ResourcePolicy {policy.key.name} is invalid: {policy.errors[0]}"] = None
            continue
        outcome = assign_unit(pod.uid, demand, fitting, policy, cluster.view())
        if isinstance(outcome.outcome, Waiting):
            reasons[outcome.outcome.reason] = None
            if outcome.outcome.until is not None:
                untils.append(outcome.outcome.until)
        elif isinstance(policy, Policy) and outcome.passed:
            reasons[because(outcome.passed)] = None
        else:
            reasons[_NO_ROOM] = None
    return min(untils, default=None), tuple(reasons)
