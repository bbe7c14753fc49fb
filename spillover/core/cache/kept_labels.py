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
    """The labels that were not written, by policy. An edit of the policy removes its entries, and
    the deletion of a workload those of the workload."""

    def __init__(self) -> None:
        self._kept: LRUCache[PolicyKey, dict[tuple[str, str, str], None]] = LRUCache(MOST_POLICIES)

    def kept(self, policy: PolicyKey, unit: str, key: str, controller: str) -> bool:
        """A binding in `unit` did not write the label `key` to a pod of the controller with this
        uid. Returns whether this is new."""
        entries = self._kept.setdefault(policy, {})
        entry = (unit, key, controller)
        if entry in entries or len(entries) >= MOST_LABELS:
            return False
        entries[entry] = None
        return True

    def of(self, policy: PolicyKey) -> list[tuple[str, str]]:
        """The units and label keys, without duplicates, in order of their first appearance."""
        return list(dict.fromkeys((unit, key) for unit, key, _ in self._kept.get(policy, {})))

    def forget(self, policy: PolicyKey) -> None:
        self._kept.pop(policy, None)

    def forget_controller(self, namespace: str, uid: str) -> list[PolicyKey]:
        """Removes the entries of a workload. Returns the policies that lost an entry."""
        changed = []
        for policy, entries in list(self._kept.items()):
            gone = [entry for entry in entries if entry[2] == uid]
            if policy.namespace != namespace or not gone:
                continue
            changed.append(policy)
            for entry in gone:
                del entries[entry]
            if not entries:
                del self._kept[policy]
        return changed

    def clear(self) -> None:
        """The term is over: another replica binds now."""
        self._kept.clear()
