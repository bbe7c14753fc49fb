"""What the controller is to look at again. Only the replica that leads keeps it: it looks at
everything once when it begins."""

from collections.abc import Iterable

from spillover.core.policy import PolicyKey


class Changes:
    """Bounded by the policies and pods that there are: what is gone is looked at once more."""

    def __init__(self) -> None:
        self._policies: dict[PolicyKey, None] = {}
        self._edited: set[PolicyKey] = set()
        self._pods: dict[str, None] = {}
        self._is_kept = False

    def begin(self, policies: Iterable[PolicyKey], pods: Iterable[str]) -> None:
        """We lead: everything that there is has changed."""
        self._is_kept = True
        for key in policies:
            self.edited(key)
        self._pods.update(dict.fromkeys(pods))

    def end(self) -> None:
        """Others look now."""
        self._is_kept = False
        self._policies, self._edited, self._pods = {}, set(), {}

    def policy(self, key: PolicyKey) -> None:
        """Its counts may be others, or which of its pods are above a maximum or held back."""
        if self._is_kept:
            self._policies[key] = None

    def edited(self, key: PolicyKey) -> None:
        """The policy itself is another, a maximum that follows from replicas, or it is gone: what
        is wanted of its pods is not known before it is looked at."""
        if self._is_kept:
            self._policies[key] = None
            self._edited.add(key)

    def pod(self, uid: str) -> None:
        """What is wanted of it may be something else, or it may not be so any more."""
        if self._is_kept:
            self._pods[uid] = None

    def no_pod(self, uid: str) -> None:
        """It is deleted."""
        self._pods.pop(uid, None)

    def is_edited(self, key: PolicyKey) -> bool:
        """Whether `edited` was said of it, and `looked` not since."""
        return key in self._edited

    def looked(self, key: PolicyKey) -> None:
        self._edited.discard(key)

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
