"""Which nodes have pods that a pod could preempt: the priorities of the pods on each node."""

from collections import Counter
from collections.abc import Set


class Priorities:
    """The priorities of bound pods that are neither finished nor terminating."""

    def __init__(self) -> None:
        self._pods: dict[str, tuple[str, int]] = {}
        self._on_node: dict[str, dict[int, int]] = {}
        # One object for all pods of a priority on a node.
        self._places: dict[tuple[str, int], tuple[str, int]] = {}
        self._all: Counter[int] = Counter()

    def see(self, uid: str, node: str, priority: int) -> None:
        place = (node, priority)
        if self._pods.get(uid) == place:
            return
        self.forget(uid)
        self._pods[uid] = self._places.setdefault(place, place)
        on_node = self._on_node.setdefault(node, {})
        on_node[priority] = on_node.get(priority, 0) + 1
        self._all[priority] += 1

    def forget(self, uid: str) -> None:
        known = self._pods.pop(uid, None)
        if known is None:
            return
        node, priority = known
        for counts in (self._on_node[node], self._all):
            counts[priority] -= 1
            if not counts[priority]:
                del counts[priority]
        if priority not in self._on_node[node]:
            del self._places[known]
        if not self._on_node[node]:
            del self._on_node[node]

    def any_below(self, priority: int, nodes: Set[str]) -> bool:
        """Whether one of these nodes has a pod of lower priority. This is fast because a cluster
        has few different priorities."""
        if min(self._all, default=priority) >= priority:
            return False
        return any(min(self._on_node[name]) < priority for name in nodes if name in self._on_node)
