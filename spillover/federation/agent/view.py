"""What the agent knows about its own cluster, and what it says about each workload."""

from collections.abc import Iterable, Iterator, Mapping

from spillover.core.cache.cluster import ClusterCache
from spillover.core.model.pods import Pod
from spillover.core.model.policy import Policy, PolicyKey
from spillover.core.reporting.fit import NOT_USED, Capacity, in_use
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

    def __init__(self, cluster: ClusterCache) -> None:
        self.cluster = cluster
        self.deployments: dict[str, Deployed] = {}
        """By uid."""
        self.capacities: dict[str, Capacity] = {}
        """By the node's name."""
        self.growth: dict[PolicyKey, Mapping[str, float]] = {}
        """What policies declare, by unit."""
        self._is_changed = True
        cluster.dirty.begin((), ())

    def changed(self) -> None:
        """Something that only an agent reads has changed."""
        self._is_changed = True

    def take_changes(self) -> bool:
        """Whether something has changed since the last call."""
        dirty = self.cluster.dirty
        is_changed = bool(dirty.take_policies()) or self._is_changed
        while dirty.take_pods(_BATCH):
            is_changed = True
        self._is_changed = False
        return is_changed

    def states(self) -> Iterator[WorkloadState]:
        """The state of each workload, in the order of their keys. Yields each when it is known.
        Workloads under one policy share its room."""
        nodes = self._nodes()
        pods = self._pods_of_deployments()
        under = {
            uid: self.cluster.policy_of(each.shape.pod) for uid, each in self.deployments.items()
        }
        needs: dict[PolicyKey, dict[str, int]] = {}
        for uid, policy in under.items():
            if policy is not None:
                needs.setdefault(policy.key, {})[uid] = sum(map(_waits, pods.get(uid, ())))
        for deployed in sorted(self.deployments.values(), key=lambda each: each.key):
            policy, own = under[deployed.uid], pods.get(deployed.uid, ())
            found: list[UnitRoom] = []
            room, bounded = 0, False
            if isinstance(policy, Policy):
                growth = self.growth.get(policy.key, {})
                found = rooms(deployed.shape, policy, growth, self.cluster, nodes)
                room = shared(total(found), needs[policy.key])[deployed.uid]
                bounded = is_bounded(policy, growth)
            yield workload_state(deployed, own, found, room, self.cluster, nodes, bounded=bounded)

    def _nodes(self) -> NodeStates:
        used = in_use((pod, ()) for pod in self.cluster.pods())
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
            replica_set = self.cluster.workloads.get(pod.owner)
            if replica_set is not None and replica_set.owner in self.deployments:
                found.setdefault(replica_set.owner, []).append(pod)
        return found

    def _in(self, namespaces: Iterable[str]) -> Iterator[Pod]:
        for namespace in namespaces:
            yield from self.cluster.pods_of(namespace)


def _waits(pod: Pod) -> bool:
    return not (pod.node or pod.terminating or pod.finished)
