"""In which order a ReplicaSet deletes pods: `controller.kubernetes.io/pod-deletion-cost`.

Pods of the last unit cost least, those of the first one most. Below them all are pods that a fresh
start would not put where they are: above a unit's maximum, or in a unit that is no more. A cost
that is not ours is never touched: ours are written together with a mark that says so.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Set

from spillover.api.labels import DELETION_COST
from spillover.core.matching import Home
from spillover.core.pods import Pod
from spillover.core.policy import InvalidPolicy, Policy, Unit

COST_MARK = "spillover.dev/deletion-cost"
"""An annotation with the cost that we wrote last. While both are equal the cost is ours."""

STEP = 100
MISPLACED = -100


def has_own_cost(annotations: Mapping[str, str]) -> bool:
    """Whether the pod's cost is its user's, or its unit's podAnnotations say it."""
    cost = annotations.get(DELETION_COST)
    return cost is not None and cost != annotations.get(COST_MARK)


def cost_in(policy: Policy, unit: Unit) -> int:
    """Of a pod of this unit."""
    return STEP * policy.rank_from_end(unit)


def cost_annotations(cost: int) -> dict[str, str]:
    return {DELETION_COST: str(cost), COST_MARK: str(cost)}


def wanted_cost(home: Home, misplaced: bool) -> int | None:
    """For a bound pod; None: none of ours. Not to be asked under an invalid policy, which leaves
    everything as it is. `misplaced`: the pod is above its unit's maximum."""
    if not isinstance(home.policy, Policy):
        return None
    if home.left:
        return MISPLACED
    if home.unit is None:
        return None  # 0, as for any pod: below every unit
    return MISPLACED if misplaced else cost_in(home.policy, home.unit)


def cost_changes(pod: Pod, home: Home, misplaced: bool) -> dict[str, str | None]:
    """The annotations that a bound pod is to get; None: to lose. Empty if it is as it should be."""
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
    """Uids of the pods, of those that count in a unit (and group), that would have to go, the
    newest first, for the unit to keep to its maximum of `most` pods and to its maxResources."""
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
    """The newest is the largest. Those that are going anyway are the first to go."""
    return (pod.terminating, pod.created, pod.name, pod.uid)
