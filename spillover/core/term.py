"""Whether this process may place and bind pods now, and which.

    Lease is ours            pods of a policy swept            all swept
    ────────────▶ closed ───────────────────────▶ half open ────────────▶ open
                    ▲                                 │                     │
                    └──────── Lease lost, or told to stop ◀─────────────────┘

A term's epoch is written on every pod that an earlier leader may still have a binding of under way:
that changes the pod's version, with which such a binding can no longer be executed. Until that is
done for the pods of a policy, none of them is placed.
"""

from spillover.core.policy import PolicyKey

NOT_LEADING = "this replica does not hold the scheduler's Lease, or has yet to take over"
OUTRANKED = "the pod's spillover.dev/epoch is newer than ours: another replica has taken over"


class Term:
    """`epoch` is 0 outside a term."""

    def __init__(self) -> None:
        self.epoch = 0
        self._all = False
        self._opened: set[PolicyKey | None] = set()
        self._disturbed: set[str] = set()
        self._is_outranked = False

    def begin(self, epoch: int) -> None:
        self.epoch = epoch
        self._all = False
        self._opened.clear()
        self._disturbed.clear()
        self._is_outranked = False

    def end(self) -> None:
        self.begin(0)

    def open_policy(self, key: PolicyKey | None) -> None:
        """Pods of one policy, or those under none, may be placed, unless policies have changed
        since the term began: which pods are whose is then not what it was when they were swept."""
        if not (key.namespace in self._disturbed if key is not None else self._disturbed):
            self._opened.add(key)

    def open_all(self) -> None:
        self._all = True

    def policy_changed(self, key: PolicyKey) -> None:
        """Policies of its namespace may select other pods now: those have yet to be swept."""
        self._disturbed.add(key.namespace)
        self._opened = {
            each for each in self._opened if each is not None and each.namespace != key.namespace
        }

    def take_outranked(self) -> bool:
        """Whether a pod has shown a newer epoch since the last call."""
        was, self._is_outranked = self._is_outranked, False
        return was

    @property
    def is_open(self) -> bool:
        return self.epoch > 0 and self._all

    def admits(self, key: PolicyKey | None) -> bool:
        return self.epoch > 0 and (self._all or key in self._opened)

    def obstacle(self, key: PolicyKey | None, pod_epoch: int) -> str | None:
        """Why a pod under this policy, that was last swept in this epoch, may not be placed."""
        if not self.admits(key):
            return NOT_LEADING
        if pod_epoch > self.epoch:
            self._is_outranked = True
            return OUTRANKED
        return None
