"""Which pods are on each node, by uid."""

from collections.abc import Collection

_MOST_IN_TUPLE = 300
"""A tuple takes a tenth of the memory of a set, and a node has few pods. Above this number a set is
faster."""


class PodsOnNodes:
    def __init__(self) -> None:
        self._uids: dict[str, tuple[str, ...] | set[str]] = {}

    def of(self, node: str) -> Collection[str]:
        return self._uids.get(node, ())

    def put(self, node: str, uid: str) -> None:
        """The uid must not be on the node yet."""
        there = self._uids.get(node, ())
        if isinstance(there, set):
            there.add(uid)
        elif len(there) < _MOST_IN_TUPLE:
            self._uids[node] = (*there, uid)
        else:
            self._uids[node] = {*there, uid}

    def drop(self, node: str, uid: str) -> None:
        there = self._uids.get(node, ())
        if isinstance(there, set):
            there.discard(uid)
        else:
            self._uids[node] = there = tuple(each for each in there if each != uid)
        if not there:
            self._uids.pop(node, None)
