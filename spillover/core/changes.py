"""What the controller is to look at again. Only the replica that leads keeps it: it looks at
everything once when it begins."""

from collections.abc import Iterable

from spillover.core.policy import PolicyKey


class Changes:
    """Bounded by the policies and pods that there are: what goes is forgotten here too."""

    def __init__(self) -> None:
        self._policies: dict[PolicyKey, None] = {}
        self._pods: dict[str, None] = {}
        self._is_kept = False

    def begin(self, policies: Iterable[PolicyKey], pods: Iterable[str]) -> None:
        """We lead: everything that there is has changed."""
        self._is_kept = True
        self._policies.update(dict.fromkeys(policies))
        self._pods.update(dict.fromkeys(pods))

    def end(self) -> None:
        """Others look now."""
        self._is_kept = False
        self._policies, self._pods = {}, {}

    def policy(self, key: PolicyKey) -> None:
        """Its counts may be others, or what is wanted of its pods."""
        if self._is_kept:
            self._policies[key] = None

    def pod(self, uid: str) -> None:
        """What is wanted of it may be something else, or it may not be so any more."""
        if self._is_kept:
            self._pods[uid] = None

    def no_policy(self, key: PolicyKey) -> None:
        """It is deleted."""
        self._policies.pop(key, None)

    def no_pod(self, uid: str) -> None:
        """It is deleted."""
        self._pods.pop(uid, None)

    def take_policies(self) -> list[PolicyKey]:
        """Those that have changed since the last call, the longest ago first."""
        taken, self._policies = self._policies, {}
        return list(taken)

    def take_pods(self, most: int) -> list[str]:
        """Some of those that have changed and were not taken yet."""
        taken = [uid for uid, _ in zip(self._pods, range(most), strict=False)]
        for uid in taken:
            del self._pods[uid]
        return taken
