"""The order in which a ReplicaSet deletes pods: `controller.kubernetes.io/pod-deletion-cost`.

Pods of the last unit have the lowest cost of all units, pods of the first unit the highest. Even
lower is the cost of pods that Spillover would not place where they are now: pods above a unit's
maximum, and pods in a unit that no longer exists. Spillover writes its costs together with a mark,
and never changes a cost without that mark.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Set

from spillover.api.labels import DELETION_COST
from spillover.core.cache.policy_index import Home
from spillover.core.model.pods import Pod
from spillover.core.model.policy import InvalidPolicy, Policy, Unit

COST_MARK = "spillover.dev/deletion-cost"
"""An annotation with the cost that Spillover wrote last. The pod's cost is ours while it is equal
to this annotation."""

STEP = 100
MISPLACED = -100


def has_own_cost(annotations: Mapping[str, str]) -> bool:
    """Whether the pod's cost comes from its user or from the podAnnotations of its unit."""
    cost = annotations.get(DELETION_COST)
    return cost is not None and cost != annotations.get(COST_MARK)


def cost_in(policy: Policy, unit: Unit) -> int:
    """The cost of a pod in this unit."""
    return STEP * policy.rank_from_end(unit)


def cost_annotations(cost: int) -> dict[str, str]:
    return {DELETION_COST: str(cost), COST_MARK: str(cost)}


def wanted_cost(home: Home, misplaced: bool) -> int | None:
    """The cost that Spillover wants for a bound pod. None: the pod gets no cost from Spillover.
    Callers must not ask for a pod under an invalid policy: such a policy leaves all annotations
    unchanged. `misplaced` says whether the pod is above its unit's maximum."""
    if not isinstance(home.policy, Policy):
        return None
    if home.left:
        return MISPLACED
    if home.unit is None:
        return None  # Kubernetes takes a missing cost as 0: below the cost in every unit
    return MISPLACED if misplaced else cost_in(home.policy, home.unit)


def cost_changes(pod: Pod, home: Home, misplaced: bool) -> dict[str, str | None]:
    """The annotations to write to a bound pod. None removes an annotation. Empty if no change is
    needed."""
    if isinstance(home.policy, InvalidPolicy) or has_own_cost(pod.annotations):
        return {}
    cost = wanted_cost(home, misplaced)
    wanted: Mapping[str, str | None] = (
        cost_annotations(cost)
        if cost is not None
        else dict.fromkeys((DELETION_COST, COST_MARK), None)
    )
    is_so = all(pod.annotations.get(key) == value for key, value in wanted.items())
    return {} if is_so else dict(wanted)


def above(pods: Iterable[Pod], unit: Unit, most: int | None) -> Set[str]:
    """Uids of the pods in excess of a unit's maximum of `most` pods and of its maxResources. `pods`
    are the pods that count in the unit (and group). The newest pods are in excess first."""
    there = list(pods)
    if not unit.max_resources:
        excess = max(0, len(there) - most) if most is not None else 0
        return {pod.uid for pod in sorted(there, key=_age)[len(there) - excess :]}
    count = len(there)
    used: Counter[str] = Counter()
    for pod in there:
        used.update(dict(pod.requests))
    found = set()
    for pod in sorted(there, key=_age, reverse=True):
        exceeded = {name for name, limit in unit.max_resources.items() if used[name] > limit}
        helps = any(name in exceeded and amount for name, amount in pod.requests)
        if helps or (most is not None and count > most):
            found.add(pod.uid)
            count -= 1
            used.subtract(dict(pod.requests))
        elif not exceeded:
            break
    return found


def _age(pod: Pod) -> tuple[bool, str, str, str]:
    """The newest pod is the largest. Terminating pods are larger than all others, so that they are
    in excess first."""
    return (pod.terminating, pod.created, pod.name, pod.uid)
