"""When edits of policies are applied: at once, unless the edits of one namespace would block the
event loop for all other namespaces.

    edit ──few pods, share left──▶ taken in at once
      │
      └──otherwise──▶ pending ──share left──▶ taken in, slice by slice: all that are pending, each
                                              policy as it is by then

The cost of an edit grows with the number of pods in its namespace, and is taken from the share of
the namespace. Between two slices the event loop answers requests. While edits are pending or being
taken in, no pod of the namespace is placed. Otherwise a pod could be placed without a policy that
is older than the pod.
"""

from collections.abc import Callable, Iterator, Mapping
from math import inf
from typing import NamedTuple

from cachetools import LRUCache

from spillover.core.model.policy import LoadedPolicy, PolicyKey

SHARE = 0.1
"""The part of all time that edits of one namespace may use."""
BURST_SECONDS = 1.0
"""The time that a namespace may use at once."""
_MOST_DEBT = 0.5
"""The largest debt of a namespace, in seconds. So an edit waits at most _MOST_DEBT / SHARE seconds
until its namespace has a share again."""
TOLD_SECONDS = 60.0
"""The status of the namespace's policies reports a pending edit for this time after the last edit
that had to wait."""
_MOST_NAMESPACES = 10_000
_SLICE_SECONDS = 0.002
"""After this time a slice ends, at its next step."""

Edits = Mapping[PolicyKey, LoadedPolicy | None]
"""The new value of each policy. None if the policy is gone."""


class _TakenIn(NamedTuple):
    """Edits that are being taken in."""

    namespace: str
    steps: Iterator[None]


class PolicyEdits:
    """`take_in` is called with a namespace and its edits, and takes them in step by step.
    `is_quick` tells whether all steps for a namespace together are quick. `told` is called with
    each namespace whose `is_over` changes. `clock` returns seconds."""

    def __init__(
        self,
        take_in: Callable[[str, Edits], Iterator[None]],
        is_quick: Callable[[str], bool],
        told: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._take_in = take_in
        self._is_quick = is_quick
        self._current: _TakenIn | None = None
        self._told = told
        self._clock = clock
        self._pending: dict[str, dict[PolicyKey, LoadedPolicy | None]] = {}
        # The seconds that were left, and at which time. A forgotten namespace has its full share.
        self._left: LRUCache[str, tuple[float, float]] = LRUCache(_MOST_NAMESPACES)
        self._over: dict[str, float] = {}

    def edit(self, key: PolicyKey, policy: LoadedPolicy | None) -> None:
        namespace, has_share = key.namespace, self._share(key.namespace) > 0
        if not self.is_pending(namespace) and has_share and self._is_quick(namespace):
            self._finish(_TakenIn(namespace, self._take_in(namespace, {key: policy})))
            return
        self._pending.setdefault(namespace, {})[key] = policy
        if not has_share:
            is_news = key.namespace not in self._over
            self._over[key.namespace] = self._clock() + TOLD_SECONDS
            if is_news:
                self._told(key.namespace)

    def pending(self, key: PolicyKey) -> LoadedPolicy | None:
        """The policy as its pending edit shows it. None if the policy is gone, or if no edit of it
        is pending."""
        return self._pending.get(key.namespace, {}).get(key)

    def is_pending(self, namespace: str) -> bool:
        """Whether edits of the namespace are pending or being taken in."""
        return self.is_taken_in(namespace) or namespace in self._pending

    def is_taken_in(self, namespace: str) -> bool:
        """Whether edits of the namespace are being taken in: its counts are incomplete."""
        return self._current is not None and self._current.namespace == namespace

    def pending_keys(self, group: str) -> set[PolicyKey]:
        return {key for edits in self._pending.values() for key in edits if key.group == group}

    def is_over(self, namespace: str) -> bool:
        """Whether an edit of the namespace has had to wait in the last TOLD_SECONDS."""
        return namespace in self._over

    def take_in_due(self) -> bool:
        """Takes in a slice of the pending edits, if a namespace that has edits has a share left.
        Returns whether there may be more to take in."""
        now = self._clock()
        for namespace in [each for each, until in self._over.items() if until <= now]:
            del self._over[namespace]
            self._told(namespace)
        if self._current is None:
            due = next((each for each in self._pending if self._share(each) > 0), None)
            if due is None:
                return False
            self._current = _TakenIn(due, self._take_in(due, self._pending.pop(due)))
        if self._slice(self._current, _SLICE_SECONDS):
            self._current = None
        return True

    def take_in_all(self) -> None:
        """Applies all pending edits, without regard to shares: a leader that begins to decide must
        know all policies."""
        if self._current is not None:
            self._finish(self._current)
            self._current = None
        for namespace in list(self._pending):
            self._finish(
                _TakenIn(namespace, self._take_in(namespace, self._pending.pop(namespace)))
            )

    def _share(self, namespace: str) -> float:
        left, then = self._left.get(namespace, (BURST_SECONDS, 0.0))
        return min(BURST_SECONDS, left + SHARE * (self._clock() - then))

    def _finish(self, edits: _TakenIn) -> None:
        before, self._current = self._current, edits
        self._slice(edits, inf)
        self._current = before

    def _slice(self, edits: _TakenIn, seconds: float) -> bool:
        """Takes in steps for about this time. Returns whether there are no more."""
        begun = self._clock()
        left = self._share(edits.namespace)
        is_over = True
        for _ in edits.steps:
            if self._clock() - begun >= seconds:
                is_over = False
                break
        ended = self._clock()
        self._left[edits.namespace] = (max(-_MOST_DEBT, left - (ended - begun)), ended)
        return is_over
