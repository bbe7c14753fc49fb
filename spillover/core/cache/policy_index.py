"""Which policy a pod is under, and which unit a bound pod counts in."""

from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from spillover.core.cache.ledger import NOWHERE, Bound, Slot
from spillover.core.decision.demand import group_of
from spillover.core.model.nodes import NodeIndex
from spillover.core.model.pods import POLICY_ANNOTATION, UNIT_ANNOTATION, Pod
from spillover.core.model.policy import LoadedPolicy, Policy, PolicyKey, Unit, UnitKey
from spillover.core.model.selectors import includes

_Label = tuple[str, str]


class _Namespace:
    """The policies of one namespace, the oldest first. An index by one label of each selector
    limits the comparison of a pod to the policies that may select it."""

    def __init__(self) -> None:
        self.policies: list[LoadedPolicy] = []
        self._by_label: dict[_Label | None, list[LoadedPolicy]] = {}

    def put(self, policy: LoadedPolicy) -> None:
        insort(self.policies, policy, key=_age)
        insort(self._by_label.setdefault(_index_label(policy), []), policy, key=_age)

    def drop(self, policy: LoadedPolicy) -> None:
        self.policies.remove(policy)
        label = _index_label(policy)
        self._by_label[label].remove(policy)
        if not self._by_label[label]:
            del self._by_label[label]

    def for_pod(self, labels: Mapping[str, str]) -> LoadedPolicy | None:
        oldest: LoadedPolicy | None = None
        for label in (None, *labels.items()):
            for policy in self._by_label.get(label, ()):
                if includes(labels, policy.selector):
                    if oldest is None or _age(policy) < _age(oldest):
                        oldest = policy
                    break
        return oldest

    def selecting(self, labels: Mapping[str, str]) -> list[LoadedPolicy]:
        found = [
            policy
            for label in (None, *labels.items())
            for policy in self._by_label.get(label, ())
            if includes(labels, policy.selector)
        ]
        found.sort(key=_age)
        return found


def _index_label(policy: LoadedPolicy) -> _Label | None:
    """One label of the policy's selector. None if the policy selects every pod of its namespace."""
    return min(policy.selector.items(), default=None)


class PolicyIndex:
    """All policies: by key, and by namespace in order of age."""

    def __init__(self) -> None:
        self._by_key: dict[PolicyKey, LoadedPolicy] = {}
        self._by_namespace: dict[str, _Namespace] = {}

    def put(self, policy: LoadedPolicy) -> None:
        self.drop(policy.key)
        self._by_key[policy.key] = policy
        self._by_namespace.setdefault(policy.key.namespace, _Namespace()).put(policy)

    def drop(self, key: PolicyKey) -> LoadedPolicy | None:
        policy = self._by_key.pop(key, None)
        if policy is not None:
            namespace = self._by_namespace[key.namespace]
            namespace.drop(policy)
            if not namespace.policies:
                del self._by_namespace[key.namespace]
        return policy

    def get(self, key: PolicyKey) -> LoadedPolicy | None:
        return self._by_key.get(key)

    def all(self) -> list[LoadedPolicy]:
        return list(self._by_key.values())

    def keys(self, group: str) -> Iterator[PolicyKey]:
        return (key for key in self._by_key if key.group == group)

    def of_namespace(self, namespace: str) -> Sequence[LoadedPolicy]:
        """The oldest first."""
        found = self._by_namespace.get(namespace)
        return found.policies if found is not None else ()

    def for_pod(self, namespace: str, labels: Mapping[str, str]) -> LoadedPolicy | None:
        """The oldest policy of the namespace that selects the labels, valid or not."""
        found = self._by_namespace.get(namespace)
        return found.for_pod(labels) if found is not None else None

    def selecting(self, namespace: str, labels: Mapping[str, str]) -> list[LoadedPolicy]:
        """All policies of the namespace that select the labels, the oldest first."""
        found = self._by_namespace.get(namespace)
        return found.selecting(labels) if found is not None else []


def _age(policy: LoadedPolicy) -> tuple[str, str, str]:
    return (policy.created, policy.key.name, policy.key.group)


class Home(NamedTuple):
    """The policy and unit that a pod belongs to."""

    policy: LoadedPolicy | None
    unit: Unit | None = None
    """None for a waiting pod, under an invalid policy, and for a pod on nodes of no unit."""
    left: bool = False
    """Whether the pod was placed in a unit that the policy no longer has."""


def home_of(
    pod: Pod,
    policies: PolicyIndex,
    nodes: NodeIndex,
    selected_by: LoadedPolicy | None,
    *,
    is_ours: bool,
) -> Home:
    """Where a bound pod belongs, even if it does not count there. `selected_by` is the oldest
    policy that selects the pod. `is_ours` says whether our scheduler places the pod.

    A pod that Spillover has bound belongs to the unit in its annotation, and to no unit after that
    unit is removed. A pod that another component has bound belongs to the first unit that has the
    pod's node and whose labels and annotations are on the pod.
    """
    group, _, name = pod.annotations.get(POLICY_ANNOTATION, "").partition("/")
    placed_by = policies.get(PolicyKey(group, pod.namespace, name)) if is_ours else None
    if placed_by is not None:
        if not isinstance(placed_by, Policy):
            return Home(placed_by)
        identity = pod.annotations.get(UNIT_ANNOTATION, "")
        unit = placed_by.unit(identity)
        return Home(placed_by, unit, left=bool(identity) and unit is None)
    if not isinstance(selected_by, Policy):
        return Home(selected_by)
    return Home(
        selected_by,
        next(
            (
                unit
                for unit in selected_by.units
                if nodes.is_member(pod.node, unit.pool)
                and includes(pod.labels, unit.pod_labels)
                and includes(pod.annotations, unit.pod_annotations)
            ),
            None,
        ),
    )


def counted(pod: Pod, home: Home) -> Bound:
    """Where a bound pod counts, and which unit it is leaving."""
    policy, unit, _ = home
    if not isinstance(policy, Policy) or unit is None:
        return Bound(NOWHERE)
    leaving = (policy.key, unit.identity) if pod.terminating else None
    if pod.terminating and policy.ignore_terminating_pod:
        return Bound(NOWHERE, leaving)
    if policy.ignore_previous_pod and (pod.since or pod.created) < policy.created:
        return Bound(NOWHERE, leaving)
    key = UnitKey(policy.key, unit.identity, group_of(pod, policy))
    return _one(Bound(Slot(key, pod.requests), leaving))


@lru_cache(maxsize=4096)
def _one(state: Bound) -> Bound:
    """The same state, as one object for all pods of a unit."""
    return state
