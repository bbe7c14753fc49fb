"""Which slot of its unit each pod has, under policies with a ratio. The numbers of the slots decide
the deletion costs (`spillover.core.decision.fill_order`).

A pod gets the lowest free number of its unit when it is bound. When a pod is gone, the pod with the
highest number gets the free one, so that the numbers of a unit's pods are always 1 to their count.
One change of the pods changes at most one number.
"""

from collections.abc import Callable, Mapping, Sequence, Set

from spillover.core.model.pods import Pod
from spillover.core.model.policy import PolicyKey

_Unit = tuple[PolicyKey, str]


class SlotNumbers:
    def __init__(self) -> None:
        self._units: dict[_Unit, dict[str, int]] = {}

    def take(self, policy: PolicyKey, unit: str, uid: str) -> int:
        """The number of a pod that is about to be bound."""
        numbers = self._units.setdefault((policy, unit), {})
        if uid not in numbers:
            numbers[uid] = _lowest_free(set(numbers.values()))
        return numbers[uid]

    def settle(
        self,
        policy: PolicyKey,
        unit: str,
        pods: Sequence[Pod],
        is_binding: Callable[[str], bool],
        number_of: Callable[[Pod], int | None],
    ) -> Mapping[str, int]:
        """The numbers of the unit's bound pods, by uid, without gaps. `is_binding`: the binding of
        the pod with this uid is in flight, so it keeps its number. `number_of` reads the number
        that a pod had before a restart."""
        known = self._units.get((policy, unit), {})
        there = {pod.uid for pod in pods}
        kept = {uid: number for uid, number in known.items() if uid in there or is_binding(uid)}
        homeless = sorted((pod for pod in pods if pod.uid not in kept), key=_age)
        taken = set(kept.values())
        for pod in homeless:
            number = number_of(pod)
            if number is not None and number not in taken:
                kept[pod.uid] = number
                taken.add(number)
        count = len(there | kept.keys())
        moving = [pod for pod in sorted(pods, key=_age) if not 0 < kept.get(pod.uid, 0) <= count]
        free = iter(sorted(set(range(1, count + 1)) - taken))
        for pod in moving:
            kept[pod.uid] = next(free)
        if kept:
            self._units[policy, unit] = kept
        else:
            self._units.pop((policy, unit), None)
        return {uid: kept[uid] for uid in there}

    def forget(self, policy: PolicyKey, units: Set[str] = frozenset()) -> None:
        """Forgets all units of the policy but `units`."""
        for key in [each for each in self._units if each[0] == policy and each[1] not in units]:
            del self._units[key]

    def clear(self) -> None:
        """The term is over: another replica binds now."""
        self._units.clear()


def _lowest_free(taken: set[int]) -> int:
    # Without gaps, which are rare, the first candidate is free.
    candidate = len(taken) + 1
    if candidate not in taken and (not taken or max(taken) < candidate):
        return candidate
    return next(number for number in range(1, candidate + 1) if number not in taken)


def _age(pod: Pod) -> tuple[bool, str, str]:
    """Ready pods come first, then the oldest. A ReplicaSet deletes pods that are not ready before
    it looks at their costs, so these get the last numbers."""
    return (not pod.ready, pod.created, pod.name)
