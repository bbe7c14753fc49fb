"""The cluster's nodes: which nodes a unit has, and which nodes admit a pod's tolerations."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import filterfalse
from typing import Any

import msgspec
from cachetools import LRUCache

from spillover.api.kubernetes import NodeObject, Taint, Toleration
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.policy import NodeKind, NodePool
from spillover.core.model.selectors import Operator, Requirement, includes
from spillover.core.model.sharing import one_text
from spillover.core.model.taints import repels, tolerated

MOST_KEPT_NAMES = 500_000
"""Most names of pool members in the cache: about 50 MiB."""
_POOL_WEIGHT = 256
"""What a pool costs in the cache in addition to its members, counted in names. This bounds the
number of cached pools, because each change of a node is compared with all of them."""


@dataclass(frozen=True, slots=True)
class Node:
    """What Spillover knows about a node."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    """Only the taints that keep pods off the node."""


def node_from_wire(wire: NodeObject) -> Node:
    return Node(
        name=wire.metadata.name,
        labels={key: one_text(value) for key, value in (wire.metadata.labels or {}).items()},
        taints=tuple(taint for taint in wire.spec.taints or () if repels(taint)),
    )


class _Labels:
    """The names of nodes, by label key and value."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, set[str]]] = {}

    def put(self, node: Node) -> None:
        for key, value in node.labels.items():
            self._names.setdefault(key, {}).setdefault(value, set()).add(node.name)

    def drop(self, node: Node) -> None:
        for key, value in node.labels.items():
            values = self._names[key]
            values[value].discard(node.name)
            if not values[value]:
                del values[value]
            if not values:
                del self._names[key]

    def narrowed(self, names: Set[str], wanted: Requirement) -> Set[str]:
        """The nodes in `names` that meet the requirement."""
        values = self._names.get(wanted.key, {})
        match wanted.operator:
            case Operator.IN:
                return names & _union(values[each] for each in wanted.values if each in values)
            case Operator.NOT_IN:
                return names - _union(values[each] for each in wanted.values if each in values)
            case Operator.EXISTS:
                return names & _union(values.values())
            case Operator.DOES_NOT_EXIST:
                return names - _union(values.values())
            case Operator.GT | Operator.LT:
                return names & _union(
                    found for value, found in values.items() if wanted.matches({wanted.key: value})
                )


def _union(sets: Iterable[Set[str]]) -> Set[str]:
    found = list(sets)
    return found[0] if len(found) == 1 else frozenset[str]().union(*found)


class Names(Set[str]):
    """Names of nodes in the order in which the scheduler offers them. An intersection or difference
    walks through them once. That is faster than to build a set first: each name comes from a
    request, so its hash is not known yet. A name that is offered twice stays twice."""

    __slots__ = ("_encoded", "_known", "_names")

    def __init__(self, names: Sequence[str]) -> None:
        """Keeps `names` as they are: they must not change later."""
        self._names = names
        self._known: frozenset[str] | None = None
        self._encoded: bytes | None = None

    @classmethod
    def of(cls, names: Set[str]) -> "Names":
        """The same names: in their order, if they have one."""
        return names if isinstance(names, Names) else cls(list(names))

    @property
    def known(self) -> frozenset[str]:
        """The same as a set. Built once."""
        if self._known is None:
            self._known = frozenset(self._names)
        return self._known

    @property
    def encoded(self) -> bytes:
        """The same as a JSON array. Encoded once."""
        if self._encoded is None:
            self._encoded = msgspec.json.encode(self._names)
        return self._encoded

    def share(self, shared: Callable[[frozenset[str]], frozenset[str]]) -> None:
        """Uses the equal set that is there already: it is compared with others at no cost."""
        self._known = shared(self.known)

    def __contains__(self, name: object) -> bool:
        return name in self.known

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __and__(self, other: Set[Any]) -> "Names":
        return Names(list(filter(other.__contains__, self._names)))

    def __sub__(self, other: Set[Any]) -> "Names":
        return Names(list(filterfalse(other.__contains__, self._names)))

    @classmethod
    def _from_iterable(cls, names: Iterable[Any]) -> Set[Any]:
        """For the other operations of sets."""
        return frozenset(names)


@dataclass(slots=True)
class _PoolNodes:
    """The nodes of one pool."""

    names: Set[str]
    tainted: Set[str] = frozenset()
    """The nodes that have taints, at `revision` of the index."""
    revision: int = -1
    taints: frozenset[Taint] = frozenset()
    """The providers' taints of the pool's virtual nodes, at `taints_revision` of the index."""
    taints_revision: int = -1


class _Members(LRUCache[NodePool, _PoolNodes]):
    """A cache of the members of recently used pools. If a tenant's hundreds of pools push a pool
    out, its members are computed from the labels again."""

    def __init__(self) -> None:
        super().__init__(MOST_KEPT_NAMES, getsizeof=lambda kept: len(kept.names) + _POOL_WEIGHT)


class NodeIndex:
    """All nodes by their labels. The members of a pool are an intersection of sets, so the number
    of pools does not matter."""

    def __init__(self, conventions: NodeConventions) -> None:
        self._conventions = conventions
        self._nodes: dict[str, Node] = {}
        self._tainted: dict[str, Node] = {}
        self._virtual: set[str] = set()
        self._labels = _Labels()
        self._members = _Members()
        self.revision = 0
        """Grows with every change of a node that can affect a decision."""

    def put(self, node: Node) -> bool:
        """Returns whether the node's labels changed. If they did, pods may count in other units."""
        before = self._nodes.get(node.name)
        self.revision += 1
        self._nodes[node.name] = node
        if node.taints:
            self._tainted[node.name] = node
        else:
            self._tainted.pop(node.name, None)
        if before is not None and before.labels == node.labels:
            return False
        if before is not None:
            self._labels.drop(before)
        self._labels.put(node)
        if self._is_virtual(node):
            self._virtual.add(node.name)
        else:
            self._virtual.discard(node.name)
        self._changed(before, node)
        return True

    def drop(self, name: str) -> None:
        node = self._nodes.pop(name, None)
        if node is not None:
            self.revision += 1
            self._tainted.pop(name, None)
            self._virtual.discard(name)
            self._labels.drop(node)
            self._changed(node, None)

    def get(self, name: str) -> Node | None:
        return self._nodes.get(name)

    def names(self) -> Set[str]:
        return self._nodes.keys()

    def is_member(self, name: str, pool: NodePool) -> bool:
        """Whether the node belongs to the pool. False for an unknown node."""
        node = self._nodes.get(name)
        return node is not None and self._belongs(node, pool)

    def members(self, pool: NodePool) -> Set[str]:
        """The names of the pool's nodes."""
        return self._of(pool).names

    def _of(self, pool: NodePool) -> _PoolNodes:
        found = self._members.get(pool)
        if found is None:
            found = _PoolNodes(self._matching(pool))
            if len(found.names) + _POOL_WEIGHT <= MOST_KEPT_NAMES:
                self._members[pool] = found
        return found

    def _tainted_members(self, pool: NodePool) -> Set[str]:
        """The members of a pool that have taints: in most pools there are none."""
        found = self._of(pool)
        if found.revision != self.revision:
            found.tainted = frozenset(found.names & self._tainted.keys())
            found.revision = self.revision
        return found.tainted

    def admitting(
        self,
        names: Set[str],
        tolerations: Iterable[Toleration],
        *,
        to_virtual_unit: bool,
        pool: NodePool | None = None,
    ) -> Set[str]:
        """Those of `names` whose taints the pod tolerates. All names must be known, and members of
        `pool` if one is named. The taints of virtual-node providers count as tolerated exactly if
        the decision is for a virtual unit."""
        tainted = self._tainted.keys() if pool is None else self._tainted_members(pool)
        if not tainted:
            return names
        suspects = names & tainted
        if not suspects:
            return names
        refused = {
            name
            for name in suspects
            if not tolerated(self._taints(name, to_virtual_unit), tolerations)
        }
        return names - refused

    def real(self, names: Set[str]) -> Set[str]:
        """The nodes in `names` that are not virtual. All of `names` must be known nodes."""
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

    def provider_taints(self, pool: NodePool, tolerations: Iterable[Toleration]) -> frozenset[str]:
        """The keys of the providers' taints of the pool's virtual nodes that a pod with these
        tolerations does not tolerate."""
        found = self._of(pool)
        if found.taints_revision != self.revision:
            found.taints = frozenset(
                taint
                for name in self._tainted_members(pool) & self._virtual
                for taint in self._nodes[name].taints
                if taint.key in self._conventions.provider_taints
            )
            found.taints_revision = self.revision
        return frozenset(taint.key for taint in found.taints if not tolerated([taint], tolerations))

    def _taints(self, name: str, to_virtual_unit: bool) -> Iterable[Taint]:
        taints = self._tainted[name].taints
        if not (to_virtual_unit and self._is_virtual(self._tainted[name])):
            return taints
        return (taint for taint in taints if taint.key not in self._conventions.provider_taints)

    def _matching(self, pool: NodePool) -> Set[str]:
        names: Set[str] = (
            frozenset(self._virtual)
            if pool.kind is NodeKind.VIRTUAL
            else self._nodes.keys() - self._virtual
        )
        wanted = list(pool.requirements)
        if pool.kind is NodeKind.ELASTIC:
            key, value = self._conventions.elastic_label
            wanted.append(Requirement(key, Operator.IN, (value,)))
        # Requirements with In come first: they leave few nodes for the others to check.
        for requirement in sorted(wanted, key=lambda each: each.operator is not Operator.IN):
            names = self._labels.narrowed(names, requirement)
        return names

    def _changed(self, before: Node | None, after: Node | None) -> None:
        """Forgets the cached members of each pool that the node has joined or left."""
        for pool in list(self._members):
            was = before is not None and self._belongs(before, pool)
            if was != (after is not None and self._belongs(after, pool)):
                del self._members[pool]

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
