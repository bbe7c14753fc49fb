"""Which policies and pods the controller must reconcile again. Only the leader keeps this set. It
reconciles everything once when its term begins."""

from collections.abc import Iterable

from spillover.core.model.policy import PolicyKey


class DirtySet:
    """Bounded by the number of policies and pods. A deleted policy is reconciled once more."""

    def __init__(self) -> None:
        self._policies: dict[PolicyKey, None] = {}
        self._edited: set[PolicyKey] = set()
        self._pods: dict[str, None] = {}
        self._is_kept = False

    def begin(self, policies: Iterable[PolicyKey], pods: Iterable[str]) -> None:
        """A term of this replica begins: all policies and pods must be reconciled."""
        self._is_kept = True
        for key in policies:
            self.edited(key)
        self._pods.update(dict.fromkeys(pods))

    def end(self) -> None:
        """The term is over: another replica reconciles now."""
        self._is_kept = False
        self._policies, self._edited, self._pods = {}, set(), {}

    def policy(self, key: PolicyKey) -> None:
        """The policy's counts may have changed, or which of its pods are above a maximum or held
        back."""
        if self._is_kept:
            self._policies[key] = None

    def edited(self, key: PolicyKey) -> None:
        """The policy itself has changed, or a maximum that depends on replicas, or the policy is
        gone. The desired annotations of its pods are not known until the policy is reconciled."""
        if self._is_kept:
            self._policies[key] = None
            self._edited.add(key)

    def pod(self, uid: str) -> None:
        """The pod's desired annotations may have changed, or its actual annotations."""
        if self._is_kept:
            self._pods[uid] = None

    def no_pod(self, uid: str) -> None:
        """The pod is deleted."""
        self._pods.pop(uid, None)

    def is_edited(self, key: PolicyKey) -> bool:
        """Whether `edited` was called for the policy, and `looked` was not called since."""
        return key in self._edited

    def looked(self, key: PolicyKey) -> None:
        self._edited.discard(key)

    def take_policies(self) -> list[PolicyKey]:
        """The policies that have changed since the last call, the earliest change first."""
        taken, self._policies = self._policies, {}
        return list(taken)

    def take_pods(self, most: int) -> list[str]:
        """At most `most` of the pods that have changed and were not taken yet."""
        taken = [uid for uid, _ in zip(self._pods, range(most), strict=False)]
        for uid in taken:
            del self._pods[uid]
        return taken
