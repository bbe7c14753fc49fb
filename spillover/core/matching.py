"""Which policy a pod is under, and which unit a bound pod counts in."""

from bisect import insort
from collections.abc import Iterator, Mapping

from spillover.core.nodes import NodeIndex
from spillover.core.pods import POLICY_ANNOTATION, UNIT_ANNOTATION, Pod
from spillover.core.policy import LoadedPolicy, Policy, PolicyKey, UnitKey
from spillover.core.selectors import includes


class PolicyIndex:
    """All policies, by key and by namespace in order of age."""

    def __init__(self) -> None:
        self._by_key: dict[PolicyKey, LoadedPolicy] = {}
        self._by_namespace: dict[str, list[LoadedPolicy]] = {}

    def put(self, policy: LoadedPolicy) -> None:
        self.drop(policy.key)
        self._by_key[policy.key] = policy
        insort(self._by_namespace.setdefault(policy.key.namespace, []), policy, key=_age)

    def drop(self, key: PolicyKey) -> LoadedPolicy | None:
        policy = self._by_key.pop(key, None)
        if policy is not None:
            peers = self._by_namespace[key.namespace]
            peers.remove(policy)
            if not peers:
                del self._by_namespace[key.namespace]
        return policy

    def get(self, key: PolicyKey) -> LoadedPolicy | None:
        return self._by_key.get(key)

    def keys(self, group: str) -> Iterator[PolicyKey]:
        return (key for key in self._by_key if key.group == group)

    def for_pod(self, namespace: str, labels: Mapping[str, str]) -> LoadedPolicy | None:
        """The oldest policy of the namespace that selects the labels, valid or not."""
        return next(
            (
                policy
                for policy in self._by_namespace.get(namespace, ())
                if includes(labels, policy.selector)
            ),
            None,
        )


def _age(policy: LoadedPolicy) -> tuple[str, str, str]:
    return (policy.created, policy.key.name, policy.key.group)


def unit_of(pod: Pod, policies: PolicyIndex, nodes: NodeIndex) -> UnitKey | None:
    """The unit that a bound pod counts in.

    A pod that we bound counts where its annotation says, and nowhere once that unit is removed. A
    pod that others bound counts in the first unit whose nodes, labels and annotations it has.
    """
    group, _, name = pod.annotations.get(POLICY_ANNOTATION, "").partition("/")
    placed_by = policies.get(PolicyKey(group, pod.namespace, name))
    if placed_by is not None:
        identity = pod.annotations.get(UNIT_ANNOTATION, "")
        known = isinstance(placed_by, Policy) and placed_by.unit(identity) is not None
        return UnitKey(placed_by.key, identity) if known else None
    policy = policies.for_pod(pod.namespace, pod.labels)
    if not isinstance(policy, Policy):
        return None
    return next(
        (
            UnitKey(policy.key, unit.identity)
            for unit in policy.units
            if pod.node in nodes.members(unit.pool)
            and includes(pod.labels, unit.pod_labels)
            and includes(pod.annotations, unit.pod_annotations)
        ),
        None,
    )
