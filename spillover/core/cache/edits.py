"""When edits of policies are applied: at once, unless the edits of one namespace would block the
event loop for all other namespaces.

    edit ──share left──▶ taken in: what that takes is taken from the namespace's share
      │                       ▲
      └──none left──▶ pending ┘ share left again: all that are pending at once, each policy as it is
                                by then

The cost of an edit grows with the number of pods in its namespace. While edits are pending, no pod
of the namespace is placed. Otherwise a pod could be placed without a policy that is older than the
pod.
"""

from collections.abc import Callable, Mapping

from cachetools import LRUCache

from spillover.core.model.policy import LoadedPolicy, PolicyKey

SHARE = 0.1
"""The part of all time that edits of one namespace may use."""
BURST_SECONDS = 1.0
"""The time that a namespace may use at once."""
_MOST_DEBT = 0.5
"""The largest debt of a namespace, in seconds. So an edit is pending for at most
_MOST_DEBT / SHARE seconds."""
TOLD_SECONDS = 60.0
"""The status of the namespace's policies reports a pending edit for this time after the last edit
that had to wait."""
_MOST_NAMESPACES = 10_000

Edits = Mapping[PolicyKey, LoadedPolicy | None]
"""The new value of each policy. None if the policy is gone."""


class PolicyEdits:
    """`take_in` is called with a namespace and its edits. `told` is called with each namespace
    whose `is_over` changes. `clock` returns seconds."""

    def __init__(
        self,
        take_in: Callable[[str, Edits], None],
        told: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._take_in = take_in
        self._told = told
        self._clock = clock
        self._pending: dict[str, dict[PolicyKey, LoadedPolicy | None]] = {}
        # The seconds that were left, and at which time. A forgotten namespace has its full share.
        self._left: LRUCache[str, tuple[float, float]] = LRUCache(_MOST_NAMESPACES)
        self._over: dict[str, float] = {}

    def edit(self, key: PolicyKey, policy: LoadedPolicy | None) -> None:
        pending = self._pending.get(key.namespace)
        if pending is not None:
            pending[key] = policy
        elif self._share(key.namespace) > 0:
            self._measured(key.namespace, {key: policy})
        else:
            self._pending[key.namespace] = {key: policy}
            is_news = key.namespace not in self._over
            self._over[key.namespace] = self._clock() + TOLD_SECONDS
            if is_news:
                self._told(key.namespace)

    def pending(self, key: PolicyKey) -> LoadedPolicy | None:
        """The policy as its pending edit shows it. None if the policy is gone, or if no edit of it
        is pending."""
        return self._pending.get(key.namespace, {}).get(key)

    def is_pending(self, namespace: str) -> bool:
        return namespace in self._pending

    def pending_keys(self, group: str) -> set[PolicyKey]:
        return {key for edits in self._pending.values() for key in edits if key.group == group}

    def is_over(self, namespace: str) -> bool:
        """Whether an edit of the namespace has had to wait in the last TOLD_SECONDS."""
        return namespace in self._over

    def take_in_due(self) -> bool:
        """Applies the pending edits of one namespace, if a namespace has its share again. Returns
        whether there may be another such namespace."""
        now = self._clock()
        for namespace in [each for each, until in self._over.items() if until <= now]:
            del self._over[namespace]
            self._told(namespace)
        due = next((each for each in self._pending if self._share(each) > 0), None)
        if due is not None:
            self._measured(due, self._pending.pop(due))
        return due is not None

    def take_in_all(self) -> None:
        """Applies all pending edits, without regard to shares: a leader that begins to decide must
        know all policies."""
        for namespace in list(self._pending):
            self._measured(namespace, self._pending.pop(namespace))

    def _share(self, namespace: str) -> float:
        left, then = self._left.get(namespace, (BURST_SECONDS, 0.0))
        return min(BURST_SECONDS, left + SHARE * (self._clock() - then))

    def _measured(self, namespace: str, edits: Edits) -> None:
        begun = self._clock()
        left = self._share(namespace)
        self._take_in(namespace, edits)
        ended = self._clock()
        self._left[namespace] = (max(-_MOST_DEBT, left - (ended - begun)), ended)
