"""The order in which a ReplicaSet deletes pods: `controller.kubernetes.io/pod-deletion-cost`.

Pods of the last unit have the lowest cost of all units, pods of the first unit the highest. Even
lower is the cost of pods that Spillover would not place where they are now: pods above a unit's
maximum, and pods in a unit that no longer exists. Under a policy with a ratio, a unit's maximum
falls with the replicas, and a ReplicaSet deletes pods before anybody can change their costs. So the
cost of each pod follows there from its place in the order in which a fresh start fills the units
(`spillover.core.decision.fill_order`). Spillover writes its costs together with a mark, and never
changes a cost without that mark.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Set

from spillover.api.labels import DELETION_COST
from spillover.core.cache.policy_index import Home
from spillover.core.model.pods import Pod
from spillover.core.model.policy import InvalidPolicy, Policy, Unit

COST_MARK = "spillover.dev/deletion-cost"
"""An annotation with the cost that Spillover wrote last. The pod's cost is ours while it is equal
to this annotation."""

_COST = re.compile(r"[0-9]{1,7}", re.ASCII)
STEP = 100
MISPLACED = -100
PLACED = 1_000_000
"""Under a policy with a ratio: the cost is this, less the place in the fill order."""


def has_own_cost(annotations: Mapping[str, str]) -> bool:
    """Whether the pod's cost comes from its user or from the podAnnotations of its unit."""
    cost = annotations.get(DELETION_COST)
    return cost is not None and cost != annotations.get(COST_MARK)


def cost_in(policy: Policy, unit: Unit) -> int:
    """The cost of a pod in this unit."""
    return STEP * policy.rank_from_end(unit)


def cost_at(place: int | None) -> int:
    """The cost of a pod whose slot has this place in the fill order. None: beyond every maximum."""
    return PLACED - place if place is not None else MISPLACED


def place_of(pod: Pod) -> int | None:
    """The place in the fill order that the pod's cost says, or None."""
    text = pod.annotations.get(DELETION_COST, "")
    if has_own_cost(pod.annotations) or not _COST.fullmatch(text):
        return None
    place = PLACED - int(text)
    return place if place > 0 else None


def cost_annotations(cost: int) -> dict[str, str]:
    return {DELETION_COST: str(cost), COST_MARK: str(cost)}


def wanted_cost(home: Home, misplaced: bool, placed: int | None = None) -> int | None:
    """The cost that Spillover wants for a bound pod. None: the pod gets no cost from Spillover.
    Callers must not ask for a pod under an invalid policy: such a policy leaves all annotations
    unchanged. `misplaced` says whether the pod is above its unit's maximum. `placed` is the cost by
    the fill order, under a policy with a ratio."""
    if not isinstance(home.policy, Policy):
        return None
    if home.left:
        return MISPLACED
    if home.unit is None:
        return None  # Kubernetes takes a missing cost as 0: below the cost in every unit
    if misplaced:
        return MISPLACED
    return placed if home.policy.has_ratio else cost_in(home.policy, home.unit)


def cost_changes(
    pod: Pod, home: Home, misplaced: bool, placed: int | None = None
) -> dict[str, str | None]:
    """The annotations to write to a bound pod. None removes an annotation. Empty if no change is
    needed, or if the pod's place in the fill order is not known yet."""
    if isinstance(home.policy, InvalidPolicy) or has_own_cost(pod.annotations):
        return {}
    has_ratio = isinstance(home.policy, Policy) and home.policy.has_ratio
    if has_ratio and home.unit is not None and placed is None and not misplaced:
        return {}
    cost = wanted_cost(home, misplaced, placed)
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
