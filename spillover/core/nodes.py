"""Which nodes there are, which unit has which, and which of them a pod's tolerations admit."""

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from spillover.api.kubernetes import NodeObject, Taint, Toleration
from spillover.core.conventions import NodeConventions
from spillover.core.policy import NodeKind, NodePool
from spillover.core.selectors import includes
from spillover.core.taints import repels, tolerated


@dataclass(frozen=True, slots=True)
class Node:
    """`taints` are only those that keep pods off."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]


def node_from_wire(wire: NodeObject) -> Node:
    return Node(
        name=wire.metadata.name,
        labels=wire.metadata.labels or {},
        taints=tuple(taint for taint in wire.spec.taints or () if repels(taint)),
    )


class NodeIndex:
    """All nodes, with the members of every pool in use kept up to date by node events, so that a
    decision is a set intersection. Pools are held by reference count: as many sets as policies use.
    """

    def __init__(self, conventions: NodeConventions) -> None:
        self._conventions = conventions
        self._nodes: dict[str, Node] = {}
        self._tainted: dict[str, Node] = {}
        self._members: dict[NodePool, set[str]] = {}
        self._users: Counter[NodePool] = Counter()

    def put(self, node: Node) -> bool:
        """Returns whether the node's labels changed, and with them perhaps what counts where."""
        before = self._nodes.get(node.name)
        self._nodes[node.name] = node
        if node.taints:
            self._tainted[node.name] = node
        else:
            self._tainted.pop(node.name, None)
        if before is not None and before.labels == node.labels:
            return False
        for pool, members in self._members.items():
            if self._belongs(node, pool):
                members.add(node.name)
            else:
                members.discard(node.name)
        return True

    def drop(self, name: str) -> None:
        self._nodes.pop(name, None)
        self._tainted.pop(name, None)
        for members in self._members.values():
            members.discard(name)

    def get(self, name: str) -> Node | None:
        return self._nodes.get(name)

    def names(self) -> Set[str]:
        return self._nodes.keys()

    def hold(self, pool: NodePool) -> None:
        """Start keeping the members of a pool. Every hold wants its `release`."""
        self._users[pool] += 1
        if self._users[pool] == 1:
            self._members[pool] = set(self.matching(pool))

    def release(self, pool: NodePool) -> None:
        self._users[pool] -= 1
        if self._users[pool] == 0:
            del self._users[pool], self._members[pool]

    def matching(self, pool: NodePool) -> Set[str]:
        """As `members`, of a pool that need not be held: a look at every node."""
        return {name for name, node in self._nodes.items() if self._belongs(node, pool)}

    def is_elastic(self, name: str) -> bool:
        """Whether an autoscaler manages the node."""
        return self._belongs(self._nodes[name], NodePool(NodeKind.ELASTIC))

    def members(self, pool: NodePool) -> Set[str]:
        """The names of the pool's nodes. The pool must be held."""
        return self._members[pool]

    def admitting(
        self, names: Set[str], tolerations: Iterable[Toleration], *, to_virtual_unit: bool
    ) -> Set[str]:
        """Those of `names`, all known, whose taints the pod tolerates. The taints of virtual-node
        providers count as tolerated exactly when the decision is for a virtual unit."""
        suspects = names & self._tainted.keys()
        if not suspects:
            return names
        refused = {
            name
            for name in suspects
            if not tolerated(self._taints(name, to_virtual_unit), tolerations)
        }
        return names - refused

    def real(self, names: Set[str]) -> Set[str]:
        """Those of `names`, all known, that are no virtual nodes."""
        return {name for name in names if not self._is_virtual(self._nodes[name])}

    def evictions(self, name: str, tolerations: Iterable[Toleration]) -> tuple[Taint, ...]:
        """The provider taints of a node that would evict a pod with these tolerations."""
        node = self._nodes.get(name)
        return tuple(
            taint
            for taint in (node.taints if node else ())
            if taint.key in self._conventions.provider_taints
            and taint.effect == "NoExecute"
            and not tolerated([taint], tolerations)
        )

    def _taints(self, name: str, to_virtual_unit: bool) -> Iterable[Taint]:
        taints = self._tainted[name].taints
        if not (to_virtual_unit and self._is_virtual(self._tainted[name])):
            return taints
        return (taint for taint in taints if taint.key not in self._conventions.provider_taints)

    def _belongs(self, node: Node, pool: NodePool) -> bool:
        if self._is_virtual(node) != (pool.kind is NodeKind.VIRTUAL):
            return False
        if pool.kind is NodeKind.ELASTIC and not includes(
            node.labels, dict([self._conventions.elastic_label])
        ):
            return False
        return all(requirement.matches(node.labels) for requirement in pool.requirements)

    def _is_virtual(self, node: Node) -> bool:
        key, value = self._conventions.virtual_label
        return node.labels.get(key) == value
