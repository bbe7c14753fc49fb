"""Whether this process may place and bind pods now, and in which namespaces.

    Lease is ours            pods of a namespace swept            all swept
    ────────────▶ closed ──────────────────────────▶ half open ────────────▶ open
                    ▲                                    │                     │
                    └────────── Lease lost, or told to stop ◀──────────────────┘

At the start of a term, an earlier leader may still have bindings in flight. The sweep writes the
term's epoch on every pod that such a binding may be for. The write changes the pod's version, and
the API server does not execute a binding for an older version. No pod of a namespace is placed
before the sweep is done there: the earlier leader may know other policies, so a pod that it binds
may count in any unit of the namespace.
"""

from collections.abc import Set

NOT_LEADING = "this replica does not hold the scheduler's Lease, or has yet to take over"
OUTRANKED = "the pod's spillover.dev/epoch is newer than ours: another replica has taken over"


class Term:
    """The term of this process. `epoch` is 0 outside a term."""

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
        """The sweep is done in a namespace that `open_all_but` has left closed."""
        if self._closed is not None:
            self._closed.discard(namespace)

    @property
    def is_open(self) -> bool:
        return self.epoch > 0 and self._closed is not None and not self._closed

    def admits(self, namespace: str) -> bool:
        return self.epoch > 0 and self._closed is not None and namespace not in self._closed

    def take_outranked(self) -> bool:
        """Whether a pod with a newer epoch was seen since the last call."""
        was, self._is_outranked = self._is_outranked, False
        return was

    def obstacle(self, namespace: str, pod_epoch: int) -> str | None:
        """Why a pod of this namespace may not be placed, else None. `pod_epoch` is the epoch that
        the pod was last swept in."""
        if not self.admits(namespace):
            return NOT_LEADING
        if pod_epoch > self.epoch:
            self._is_outranked = True
            return OUTRANKED
        return None
