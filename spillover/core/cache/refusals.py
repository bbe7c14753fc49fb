"""Units whose bindings the API server refuses. The cause is an admission policy that Spillover does
not know, or of which it knows another version.

    bound ◀──── binding ────▶ refused ──rests, longer each time──▶ tried again by the next pod
                                 └── the policy is edited: forgotten

While a unit rests, its pods wait for it. They do not go on to the next unit, because the unit's
maximum and nodes have room.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cachetools import LRUCache

from spillover.core.model.policy import PolicyKey

FIRST_REST = 2.0
"""Seconds, as for LONGEST_REST. Spillover retries after a rest, because no event tells when the API
server would accept a binding again."""
LONGEST_REST = 60.0
MOST_POLICIES = 10_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """The refusal of a unit's last binding."""

    reason: str
    """The same text as long as the cause is the same."""
    until: float
    """The end of the unit's rest, in seconds since 1970."""
    seconds: float
    """The length of the rest, before jitter."""


class Refusals:
    """`now` is the wall clock. `jitter` returns random numbers from 0 to 1."""

    def __init__(self, now: Callable[[], float], jitter: Callable[[], float]) -> None:
        self._now = now
        self._jitter = jitter
        self._refusals: LRUCache[PolicyKey, dict[str, Refusal]] = LRUCache(MOST_POLICIES)

    def refused(self, policy: PolicyKey, unit: str, reason: str) -> None:
        """The API server refused a pod's binding in this unit, and the cause is not the pod's
        version."""
        units = self._refusals.setdefault(policy, {})
        before = units.get(unit)
        if before is not None and before.until > self._now():
            return  # this binding was already in flight when the rest began
        seconds = min(LONGEST_REST, 2 * before.seconds) if before is not None else FIRST_REST
        until = self._now() + seconds * (0.75 + 0.5 * self._jitter())
        units[unit] = Refusal(reason, until, seconds)

    def bound(self, policy: PolicyKey, unit: str) -> bool:
        """The API server has accepted a binding. Returns whether the last one was refused."""
        units = self._refusals.get(policy, {})
        is_news = units.pop(unit, None) is not None
        if is_news and not units:
            del self._refusals[policy]
        return is_news

    def forget(self, policy: PolicyKey) -> None:
        self._refusals.pop(policy, None)

    def resting(self, policy: PolicyKey, unit: str) -> Refusal | None:
        found = self._refusals.get(policy, {}).get(unit)
        return found if found is not None and found.until > self._now() else None

    def reasons(self, policy: PolicyKey, units: Iterable[str]) -> list[str]:
        """The reasons of the units whose last binding was refused, without duplicates."""
        found = self._refusals.get(policy, {})
        return sorted({found[unit].reason for unit in units if unit in found})

    def clear(self) -> None:
        """The term is over: another replica binds now."""
        self._refusals.clear()
