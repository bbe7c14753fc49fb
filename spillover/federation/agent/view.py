"""What the agent knows about its own cluster, and what it says about each workload."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from spillover.core.cache.cluster import ClusterCache
from spillover.core.decision.demand import group_of
from spillover.core.model.pods import Pod
from spillover.core.model.policy import Policy, PolicyKey
from spillover.core.reporting.fit import NOT_USED, Capacity, in_use
from spillover.federation.agent.scheduler_watch import SchedulerWatch
from spillover.federation.member import Deployed, WorkloadState, workload_state
from spillover.federation.room import (
    NodeState,
    NodeStates,
    UnitRoom,
    is_bounded,
    rooms,
    shared,
    total,
)

_BATCH = 10_000


class MemberView:
    """The cache, with what only an agent reads: templates, capacities of nodes, and growth."""

    def __init__(self, cluster: ClusterCache, scheduler: SchedulerWatch) -> None:
        self.cluster = cluster
        self._scheduler = scheduler
        self.deployments: dict[str, Deployed] = {}
        """By uid."""
        self.capacities: dict[str, Capacity] = {}
        """By the node's name."""
        self.templates: dict[str, Deployed] = {}
        """The hub's workloads by namespace/name, as they would be here."""
        self.growth: dict[PolicyKey, Mapping[str, float]] = {}
        """The sizes that policies declare, by unit."""
        self._is_changed = True
        self._last: dict[str, WorkloadState] = {}
        cluster.dirty.begin((), ())

    def changed(self) -> None:
        """Something that only an agent reads has changed."""
        self._is_changed = True

    def take_changes(self) -> bool:
        """Whether something has changed since the last call."""
        dirty = self.cluster.dirty
        policies = dirty.take_policies()
        for key in policies:
            dirty.looked(key)
        is_changed = bool(policies) or self._is_changed
        while dirty.take_pods(_BATCH):
            is_changed = True
        # The extender follows what is freed. The agent counts anew with each look.
        self.cluster.ledger.take_freed()
        self.cluster.ledger.take_let_go()
        self._is_changed = False
        return is_changed

    def deployed(self, key: str) -> Deployed | None:
        """The workload's Deployment here."""
        return next((each for each in self.deployments.values() if each.key == key), None)

    def states(self) -> Iterator[WorkloadState]:
        """The state of each workload, in the order of their keys. Yields each when it is known.
        Workloads under one policy share its room. A workload of the hub without a Deployment here
        has a state too: the engine may place it here."""
        nodes = self._nodes()
        pods = self._pods_of_deployments()
        uids = {pod.uid for own in pods.values() for pod in own}
        failing = self._scheduler.look(filter(self._is_ours, self.cluster.pods()), uids)
        on_trial = self._scheduler.is_on_trial()
        here = {each.key: each for each in self.deployments.values()}
        away = {key: replace(each, replicas=0) for key, each in self.templates.items()}
        shaped = {
            key: _as_now(each, pods.get(each.uid, ())) for key, each in {**away, **here}.items()
        }
        under = {key: self.cluster.policy_of(each.shape.pod) for key, each in shaped.items()}
        needs: dict[object, dict[str, int]] = {}
        for key, policy in under.items():
            if isinstance(policy, Policy):
                waiting = sum(map(_waits, pods.get(shaped[key].uid, ())))
                needs.setdefault(_sharing(policy, shaped[key]), {})[key] = waiting
        states: dict[str, WorkloadState] = {}
        for key in sorted(shaped):
            deployed, policy = shaped[key], under[key]
            if key in self._last and self.cluster.edits.is_pending(deployed.namespace):
                states[key] = self._last[key]  # the counts are being made anew
                yield states[key]
                continue
            found: list[UnitRoom] = []
            room, bounded = 0, False
            if isinstance(policy, Policy):
                growth = self.growth.get(policy.key, {})
                found = rooms(deployed.shape, policy, growth, self.cluster, nodes)
                room = shared(total(found), needs[_sharing(policy, deployed)])[key]
                bounded = is_bounded(policy, growth)
            states[key] = workload_state(
                deployed,
                pods.get(deployed.uid, ()),
                found,
                room,
                self.cluster,
                nodes,
                bounded=bounded,
                failing=failing,
                on_trial=on_trial,
            )
            yield states[key]
        self._last = states

    def _is_ours(self, pod: Pod) -> bool:
        is_live = not (pod.finished or pod.terminating or pod.unreadable or pod.has_given_node)
        return is_live and self.cluster.is_ours(pod)

    def _deployment_of(self, pod: Pod) -> str:
        replica_set = self.cluster.workloads.get(pod.owner)
        return replica_set.owner if replica_set is not None else ""

    def _nodes(self) -> NodeStates:
        used = in_use((pod, ()) for pod in self.cluster.pods() if not pod.terminating)
        return NodeStates(
            {
                name: NodeState(capacity, used.get(name, NOT_USED))
                for name, capacity in self.capacities.items()
            }
        )

    def _pods_of_deployments(self) -> dict[str, list[Pod]]:
        found: dict[str, list[Pod]] = {}
        namespaces = {each.namespace for each in self.deployments.values()}
        for pod in self._in(namespaces):
            owner = self._deployment_of(pod)
            if owner in self.deployments:
                found.setdefault(owner, []).append(pod)
        return found

    def _in(self, namespaces: Iterable[str]) -> Iterator[Pod]:
        for namespace in namespaces:
            yield from self.cluster.pods_of(namespace)


def _waits(pod: Pod) -> bool:
    return not (pod.node or pod.terminating or pod.finished)


def _as_now(deployed: Deployed, pods: Sequence[Pod]) -> Deployed:
    """The workload with the requests and labels of its newest pod, if there is one: defaults of the
    namespace and the labels of a ReplicaSet are not in the template."""
    live = [pod for pod in pods if not (pod.finished or pod.terminating or pod.unreadable)]
    if not live:
        return deployed
    newest = max(live, key=lambda pod: (pod.created, pod.name))
    like = replace(deployed.shape.pod, requests=newest.requests, labels=newest.labels)
    return replace(deployed, shape=replace(deployed.shape, pod=like))


def _sharing(policy: Policy, deployed: Deployed) -> object:
    """Workloads with an equal value share a room."""
    return policy.key, group_of(deployed.shape.pod, policy)
