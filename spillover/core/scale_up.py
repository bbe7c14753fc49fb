"""Pods for which no autoscaler should buy a node, because a maximum holds them back.

cluster-autoscaler leaves a pod alone until it is older than its annotation says. Pods that would be
placed nowhere, however many nodes there were, get one that is longer than any wait; of pods that
wait for fewer slots than there are pods, the most urgent are the ones that get those.
"""

from collections.abc import Iterable, Mapping, Set

from spillover.core import limits
from spillover.core.demand import demand_of
from spillover.core.limits import Usage, WorkloadView
from spillover.core.pods import Pod
from spillover.core.policy import LoadedPolicy, Policy, UnitKey

DELAY = "cluster-autoscaler.kubernetes.io/pod-scale-up-delay"
OUR_DELAY = "8760h"
"""A year, as a Go duration. A value that is another one is the user's."""


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
    waiting: Iterable[Pod],
    placing: Set[str],
    used: Mapping[UnitKey, Usage],
    workloads: WorkloadView,
) -> Set[str]:
    """Uids of the waiting pods for which no unit has a slot left. `placing` are those of them that
    have a slot already; `used` is what bound pods take."""
    taken = dict(used)
    full: set[object] = set()
    held = set()
    for pod in sorted(waiting, key=lambda each: (each.uid not in placing, *_urgency(each))):
        demand = demand_of(pod, policy)
        shape = (demand.group, demand.requests)
        if demand.missing or (demand.owner and not workloads.is_known(demand.owner)):
            continue
        if shape not in full and _takes_a_slot(policy, demand.group, pod, taken, workloads):
            continue
        full.add(shape)
        held.add(pod.uid)
    return held


def delay_change(pod: Pod, held: bool) -> dict[str, str | None]:
    """The annotation that the pod is to get, or to lose (None). Empty if it is as it should be."""
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


def _urgency(pod: Pod) -> tuple[int, str, str]:
    return (-pod.priority, pod.created, pod.name)
