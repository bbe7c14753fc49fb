"""Pods for which no autoscaler should add a node, because a maximum holds them back.

cluster-autoscaler ignores a pod until the pod is older than the delay in its annotation. A pod that
has no slot in any unit, however many nodes there are, gets a delay that is longer than any wait. If
there are fewer slots than waiting pods, the most urgent pods get the slots, and the other pods get
the delay.
"""

from collections.abc import Collection, Mapping, Set

from spillover.core.decision import limits
from spillover.core.decision.demand import group_of
from spillover.core.decision.limits import Usage, WorkloadView
from spillover.core.model.pods import Pod
from spillover.core.model.policy import LoadedPolicy, Policy, UnitKey
from spillover.core.model.resources import Requests

DELAY = "cluster-autoscaler.kubernetes.io/pod-scale-up-delay"
OUR_DELAY = "8760h"
"""A year, as a Go duration. Any other value comes from the user."""


def may_be_held(policy: LoadedPolicy) -> bool:
    """Whether a maximum can keep a pod off every node."""
    return (
        isinstance(policy, Policy)
        and not policy.open
        and all(
            unit.max is not None or unit.max_ratio is not None or unit.max_resources
            for unit in policy.units
        )
    )


def held_back(
    policy: Policy,
    waiting: Collection[Pod],
    placing: Set[str],
    used: Mapping[UnitKey, Usage],
    workloads: WorkloadView,
) -> Set[str]:
    """Uids of the waiting pods for which no unit has a slot left. `placing` are the waiting pods
    that have a slot already. `used` is what bound pods take of each unit."""
    if not (policy.match_label_keys or policy.limited_resources or policy.has_ratio):
        # All pods are equal except in urgency. To count slots is enough, and is fast for a crowd.
        slots = sum(
            max(0, (unit.max or 0) - used.get(UnitKey(policy.key, unit.identity), Usage()).pods)
            for unit in policy.units
        )
        if slots >= len(waiting):
            return frozenset()
        first = sorted(waiting, key=lambda pod: _urgency(pod, placing))[:slots] if slots else ()
        return {pod.uid for pod in waiting} - {pod.uid for pod in first}
    taken = dict(used)
    full: set[object] = set()
    held = set()
    limited = policy.limited_resources
    for pod in sorted(waiting, key=lambda pod: _urgency(pod, placing)):
        if _is_undecided(pod, policy, workloads):
            continue
        shape = _shape(pod, policy, limited)
        if shape not in full:
            if _takes_a_slot(policy, shape[0], pod, taken, workloads):
                continue
            full.add(shape)
        held.add(pod.uid)
    return held


def _urgency(pod: Pod, placing: Set[str]) -> tuple[bool, int, str, str]:
    return (pod.uid not in placing, -pod.priority, pod.created, pod.name)


def _shape(pod: Pod, policy: Policy, limited: Set[str]) -> tuple[tuple[str, ...], Requests]:
    """What decides whether a unit has room for the pod. It is equal for pods of one shape."""
    requests = tuple(each for each in pod.requests if each[0] in limited) if limited else ()
    return (group_of(pod, policy) if policy.match_label_keys else (), requests)


def _is_undecided(pod: Pod, policy: Policy, workloads: WorkloadView) -> bool:
    """Whether something other than a maximum blocks the pod: a missing label, or an owner that is
    not read yet."""
    if any(key not in pod.labels for key in policy.match_label_keys):
        return True
    return policy.has_ratio and bool(pod.owner) and not workloads.is_known(pod.owner)


def delay_change(pod: Pod, held: bool) -> dict[str, str | None]:
    """The annotation to write to the pod. None removes the annotation. Empty if no change is
    needed."""
    is_ours = pod.annotations.get(DELAY) == OUR_DELAY
    if held and DELAY not in pod.annotations:
        return {DELAY: OUR_DELAY}
    return {DELAY: None} if is_ours and not held else {}


def _takes_a_slot(
    policy: Policy,
    group: tuple[str, ...],
    pod: Pod,
    taken: dict[UnitKey, Usage],
    workloads: WorkloadView,
) -> bool:
    for unit in policy.units:
        key = UnitKey(policy.key, unit.identity, group)
        used = taken.get(key, Usage())
        if limits.obstacle(unit, policy, pod.requests, used, workloads) is None:
            taken[key] = used + Usage(1, dict(pod.requests))
            return True
    return False
