"""The annotations that the controller wants on pods: the deletion cost for the order of scale-in,
and the scale-up delay for pods that no autoscaler should add a node for."""

from collections.abc import Iterable, Mapping, Set
from functools import partial

from spillover.core.cache.cluster import ClusterCache
from spillover.core.cache.deletion_cost import above, cost_at, cost_changes, place_of
from spillover.core.cache.policy_index import Home
from spillover.core.decision import limits
from spillover.core.decision.fill_order import FillOrder, fill_order
from spillover.core.decision.limits import Usage
from spillover.core.model.pods import ATTRIBUTION, Pod
from spillover.core.model.policy import Policy, PolicyKey, Unit, UnitKey
from spillover.core.reporting.scale_up import delay_change, held_back, may_be_held


class DesiredAnnotations:
    """Call `look` for each changed policy first, then `wanted` for single pods."""

    def __init__(self, state: ClusterCache) -> None:
        self._state = state
        self._misplaced: dict[PolicyKey, Set[str]] = {}
        self._held: dict[PolicyKey, Set[str]] = {}
        self._placed: dict[PolicyKey, Mapping[str, int | None]] = {}

    def look(self, key: PolicyKey) -> None:
        """Looks at a policy that has changed or whose pods have changed. Marks the pods whose
        desired annotations change."""
        self._state.dirty.looked(key)
        policy = self._state.policies.get(key)
        misplaced: Set[str] = frozenset()
        held: Set[str] = frozenset()
        placed: Mapping[str, int | None] = {}
        if isinstance(policy, Policy):
            placed = self._places(policy)
            misplaced = self._above(policy)
            held = self._held_back(policy)
        self._keep(self._misplaced, key, misplaced)
        self._keep(self._held, key, held)
        self._keep_places(key, placed)

    def wanted(self, pod: Pod) -> dict[str, str | None]:
        """The annotations to write. None removes an annotation. Empty if no change is needed."""
        if pod.finished or pod.terminating:
            return {}
        if not pod.node:
            return delay_change(pod, self._is_held(pod))
        home = self._state.home_of(pod)
        misplaced = self._is_misplaced(pod, home)
        moved = {key: pod.annotations.get(key) for key in ATTRIBUTION} if pod.is_moved else {}
        costs = cost_changes(pod, home, misplaced, self._cost_of(pod, home))
        return {**moved, **costs, **delay_change(pod, held=False)}

    def why(self, pod: Pod) -> str:
        """The reason for what `wanted` says."""
        if not pod.node:
            return "only a maximum is against it" if self._is_held(pod) else "it has a slot"
        if pod.is_moved:
            return "somebody else has changed where it counts"
        home = self._state.home_of(pod)
        if home.policy is None:
            return "it is under no policy"
        if home.left:
            return f"its unit is no more in {home.policy.key}"
        if home.unit is None:
            return f"it is in no unit of {home.policy.key}"
        places = self._placed.get(home.policy.key, {})
        placed = places.get(pod.uid)
        if pod.uid in places and placed is None:
            return f"it has no place in the fill order of {home.policy.key}"
        if self._is_misplaced(pod, home):
            return f"it is above the maximum of {home.unit.title} of {home.policy.key}"
        if placed is not None:
            return f"it has place {placed} in the fill order of {home.policy.key}"
        return f"it is in {home.unit.title} of {home.policy.key}"

    def clear(self) -> None:
        """Forgets all results: another replica was the leader since."""
        self._misplaced.clear()
        self._held.clear()
        self._placed.clear()

    def _is_held(self, pod: Pod) -> bool:
        policy = self._state.policy_of(pod)
        return policy is not None and pod.uid in self._held.get(policy.key, ())

    def _is_misplaced(self, pod: Pod, home: Home) -> bool:
        return home.policy is not None and pod.uid in self._misplaced.get(home.policy.key, ())

    def _cost_of(self, pod: Pod, home: Home) -> int | None:
        """The cost by the fill order, or None."""
        places = self._placed.get(home.policy.key) if home.policy is not None else None
        return cost_at(places[pod.uid]) if places is not None and pod.uid in places else None

    def _keep_places(self, key: PolicyKey, now: Mapping[str, int | None]) -> None:
        before = self._placed.pop(key, {})
        if now:
            self._placed[key] = now
        for uid in before.keys() | now.keys():
            if before.get(uid, 0) != now.get(uid, 0):
                self._state.dirty.pod(uid)

    def _places(self, policy: Policy) -> Mapping[str, int | None]:
        """The places in the fill order of the bound pods, by uid. None for a pod beyond its unit's
        maximum. Empty for a policy without a ratio."""
        slots = self._state.slot_numbers
        if not policy.has_ratio:
            slots.forget(policy.key)
            return {}
        slots.forget(policy.key, {unit.identity for unit in policy.units})
        order, found = fill_order(policy), dict[str, int | None]()
        for index, unit in enumerate(policy.units):
            groups = self._state.counts.members(policy.key, unit.identity).values()
            pods = [
                pod
                for pod in self._pods(uid for members in groups for uid in members.pods)
                if not pod.terminating
            ]
            numbers = slots.settle(
                policy.key,
                unit.identity,
                pods,
                self._is_being_bound,
                partial(_number_of, order, index, len(pods)),
            )
            found |= {uid: order.place(index, number) for uid, number in numbers.items()}
        return found

    def _is_being_bound(self, uid: str) -> bool:
        """Whether the pod's binding is in flight, or the watch has not shown the pod's node yet."""
        ledger, pod = self._state.ledger, self._state.pod(uid)
        return ledger.in_flight(uid) or (ledger.is_bound(uid) and (pod is None or not pod.node))

    def _keep(self, kept: dict[PolicyKey, Set[str]], key: PolicyKey, now: Set[str]) -> None:
        before = kept.pop(key, frozenset[str]())
        if now:
            kept[key] = now
        for uid in before ^ now:
            self._state.dirty.pod(uid)

    def _above(self, policy: Policy) -> Set[str]:
        found: set[str] = set()
        for unit in policy.units:
            # Under a ratio, the fill order tells which pods are above a maximum.
            most = None if policy.has_ratio else limits.cap(unit, policy, self._state.workloads)
            for members in self._state.counts.members(policy.key, unit.identity).values():
                if _is_exceeded(unit, most, members.usage()):
                    found |= above(self._pods(members.pods), unit, most)
        return found

    def _held_back(self, policy: Policy) -> Set[str]:
        tally, ledger = self._state.counts, self._state.ledger
        refused = tally.refused(policy.key)
        if not refused or not may_be_held(policy):
            return frozenset()
        placing = ledger.with_slots(tally.unbound(policy.key))
        used = {
            UnitKey(policy.key, unit.identity, group): members.usage()
            for unit in policy.units
            for group, members in tally.members(policy.key, unit.identity).items()
        }
        waiting = self._pods(refused | placing)
        return held_back(policy, waiting, placing, used, self._state.workloads) & refused

    def _pods(self, uids: Iterable[str]) -> list[Pod]:
        found = (self._state.pod(uid) for uid in uids)
        return [pod for pod in found if pod is not None]


def _number_of(order: FillOrder, unit: int, most: int, pod: Pod) -> int | None:
    """The number of the pod's slot in the unit with this index, as the pod's cost says, if it is at
    most `most`."""
    place = place_of(pod)
    return order.number(unit, place, most) if place is not None else None


def _is_exceeded(unit: Unit, most: int | None, used: Usage) -> bool:
    return (most is not None and used.pods > most) or any(
        used.resources.get(name, 0) > limit for name, limit in unit.max_resources.items()
    )
