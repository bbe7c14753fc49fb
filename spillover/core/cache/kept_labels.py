"""Labels of units that bindings do not write, because the pods' controllers select by them.

A controller whose pod no longer matches its selector loses the pod and creates another one, without
end. So a binding changes no label that the pod's controller selects by.
"""

from collections.abc import Mapping

from cachetools import LRUCache

from spillover.core.model.pods import Pod
from spillover.core.model.policy import PolicyKey
from spillover.core.model.selectors import lost
from spillover.core.model.workloads import Workloads

MOST_POLICIES = 10_000
MOST_LABELS = 20
"""The most labels that are reported for one policy."""
MOST_PODS = 1_000
"""The most pods of one label that are remembered."""

_Label = tuple[str, str]
"""A unit's identity and the key of a label."""


def kept_keys(pod: Pod, labels: Mapping[str, str], workloads: Workloads) -> frozenset[str]:
    """The keys of `labels` that a binding of the pod must not write. The selectors of Deployments,
    ReplicaSets and StatefulSets are known. Under any other controller, and under one that is not
    read yet, the pod keeps every label that it has."""
    if not pod.controller:
        return frozenset()
    owner = workloads.get(pod.owner) if pod.owner else None
    if owner is None:
        return frozenset(
            key for key, value in labels.items() if pod.labels.get(key, value) != value
        )
    return lost(owner.selector, pod.labels, {**pod.labels, **labels}) & labels.keys()


class KeptLabels:
    """The labels that were not written, by policy. An entry ends when the last of its pods is gone,
    and when the policy is edited."""

    def __init__(self) -> None:
        self._kept: LRUCache[PolicyKey, dict[_Label, set[str]]] = LRUCache(MOST_POLICIES)
        self._of_pod: dict[str, PolicyKey] = {}

    def kept(self, policy: PolicyKey, unit: str, key: str, pod: str) -> bool:
        """A binding in `unit` did not write the label `key` to the pod with this uid. Returns
        whether this label is new."""
        labels = self._kept.setdefault(policy, {})
        is_news = (unit, key) not in labels
        if is_news and len(labels) >= MOST_LABELS:
            return False
        pods = labels.setdefault((unit, key), set())
        if len(pods) < MOST_PODS:
            pods.add(pod)
            self._of_pod[pod] = policy
        return is_news

    def of(self, policy: PolicyKey) -> list[_Label]:
        """The labels, in the order of their first appearance."""
        return list(self._kept.get(policy, {}))

    def forget(self, policy: PolicyKey) -> None:
        for pods in self._kept.pop(policy, {}).values():
            for pod in pods:
                self._of_pod.pop(pod, None)

    def forget_pod(self, uid: str) -> PolicyKey | None:
        """The pod is gone. Returns the policy that has lost a label by it, if there is one."""
        policy = self._of_pod.pop(uid, None)
        labels = self._kept.get(policy, {}) if policy is not None else {}
        for pods in labels.values():
            pods.discard(uid)
        gone = [label for label, pods in labels.items() if not pods]
        for label in gone:
            del labels[label]
        return policy if gone else None

    def clear(self) -> None:
        """The term is over: another replica binds now."""
        self._kept.clear()
        self._of_pod.clear()
