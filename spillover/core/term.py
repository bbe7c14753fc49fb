"""Whether this process may place and bind pods now, and where.

    Lease is ours            pods of a namespace swept            all swept
    ────────────▶ closed ──────────────────────────▶ half open ────────────▶ open
                    ▲                                    │                     │
                    └────────── Lease lost, or told to stop ◀──────────────────┘

A term's epoch is written on every pod that an earlier leader may still have a binding of under way:
that changes the pod's version, with which such a binding can no longer be executed. Until that is
done for the pods of a namespace, none of them is placed: an earlier leader may know other policies,
so each of them may come to count in any unit there.
"""

from collections.abc import Set

NOT_LEADING = "this replica does not hold the scheduler's Lease, or has yet to take over"
OUTRANKED = "the pod's spillover.dev/epoch is newer than ours: another replica has taken over"


class Term:
    """`epoch` is 0 outside a term."""

    def __init__(self) -> None:
        self.epoch = 0
        self._closed: set[str] | None = None  # namespaces; None: all of them
        self._is_outranked = False

    def begin(self, epoch: int) -> None:
        self.epoch = epoch
        self._closed = None
        self._is_outranked = False

    def end(self) -> None:
        self.begin(0)

    def open_all_but(self, namespaces: Set[str]) -> None:
        self._closed = set(namespaces)

    def open_namespace(self, namespace: str) -> None:
        """One of those that had to wait."""
        if self._closed is not None:
            self._closed.discard(namespace)

    @property
    def is_open(self) -> bool:
        return self.epoch > 0 and self._closed is not None and not self._closed

    def admits(self, namespace: str) -> bool:
        return self.epoch > 0 and self._closed is not None and namespace not in self._closed

    def take_outranked(self) -> bool:
        """Whether a pod has shown a newer epoch since the last call."""
        was, self._is_outranked = self._is_outranked, False
        return was

    def obstacle(self, namespace: str, pod_epoch: int) -> str | None:
        """Why a pod of this namespace, that was last swept in this epoch, may not be placed."""
        if not self.admits(namespace):
            return NOT_LEADING
        if pod_epoch > self.epoch:
            self._is_outranked = True
            return OUTRANKED
        return None
