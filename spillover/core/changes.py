"""What the controller is to look at again. On a replica that does not lead nobody looks: whoever
begins to lead looks at everything once."""

from collections.abc import Iterable

from spillover.core.policy import PolicyKey


class Changes:
    """Bounded by the policies and pods that there are: what goes is forgotten here too."""

    def __init__(self) -> None:
        self._policies: dict[PolicyKey, None] = {}
        self._pods: dict[str, None] = {}

    def policy(self, key: PolicyKey) -> None:
        """Its counts may be others, or what is wanted of its pods."""
        self._policies[key] = None

    def pod(self, uid: str) -> None:
        """What is wanted of it may be something else, or it may not be so any more."""
        self._pods[uid] = None

    def everything(self, policies: Iterable[PolicyKey], pods: Iterable[str]) -> None:
        self._policies.update(dict.fromkeys(policies))
        self._pods.update(dict.fromkeys(pods))

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
