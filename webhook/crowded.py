"""Namespaces where many pods wait, according to the statuses of their policies.

The leading extender counts the pods. See `spillover.core.cache.crowds`.
"""

from collections.abc import Callable

from cachetools import TTLCache

from spillover.core.model.policy import PolicyKey

MEMORY_SECONDS = 60.0
"""How long a namespace stays crowded after its last policy with this status is deleted. A policy
that is created again has no status at first."""
MOST_DELETED = 10_000
"""Maximum number of namespaces that are remembered after such a deletion."""


class CrowdedNamespaces:
    """The set of crowded namespaces. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._policies: dict[str, set[PolicyKey]] = {}
        self._deleted: TTLCache[str, bool] = TTLCache(MOST_DELETED, MEMORY_SECONDS, timer=clock)

    def __contains__(self, namespace: str) -> bool:
        return namespace in self._policies or namespace in self._deleted

    def put(self, key: PolicyKey, *, says_so: bool) -> None:
        """Takes in a policy. `says_so`: its status says that its namespace is crowded."""
        if says_so:
            self._policies.setdefault(key.namespace, set()).add(key)
        else:
            self._forget(key)

    def drop(self, key: PolicyKey) -> None:
        """Takes in that a policy is deleted."""
        if self._forget(key):
            self._deleted[key.namespace] = True

    def _forget(self, key: PolicyKey) -> bool:
        """Returns whether the status of the policy said that its namespace is crowded."""
        policies = self._policies.get(key.namespace, set())
        if key not in policies:
            return False
        policies.remove(key)
        if not policies:
            del self._policies[key.namespace]
        return True
