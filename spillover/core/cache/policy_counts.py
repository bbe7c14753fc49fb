"""How many pods each policy has, in which unit and in which state: maintained incrementally.

`PolicyCounts.see` is called for every change of a pod. Its cost does not depend on the number of
other pods. It marks the policies that the reconciler looks at next (`spillover.core.cache.dirty`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from spillover.core.cache.deletion_cost import has_own_cost
from spillover.core.cache.dirty import DirtySet
from spillover.core.cache.ledger import Slot
from spillover.core.cache.policy_index import Home
from spillover.core.decision.limits import Usage
from spillover.core.model.pods import Pod
from spillover.core.model.policy import LoadedPolicy, Policy, PolicyKey, UnitKey
from spillover.core.model.resources import Requests

NO_UNIT = ""
"""Stands for a unit's identity if the pod is on nodes of no unit, or if its unit no longer exists.
"""


class State(NamedTuple):
    """What is counted of one live (not finished) pod."""

    bound: bool
    started: bool
    ready: bool
    terminating: bool
    refused: bool
    """The pod waits, and our scheduler has found no node for it."""


class _Entry(NamedTuple):
    """Everything that the counts depend on for one pod."""

    policy: PolicyKey
    unit: str
    """NO_UNIT also for a waiting pod."""
    state: State
    counts_under: UnitKey | None
    """The unit and group whose maximum the pod counts against."""
    requests: Requests
    """The pod's requests of limited resources."""
    own_cost: bool
    """Whether the pod is bound and its deletion cost is not ours."""
    foreign: bool
    """Whether another scheduler places the pod. False for a terminating pod."""
    younger: tuple[PolicyKey, ...]
    """Younger policies that also select the pod, but do not apply to it."""


@dataclass(slots=True)
class UnitCount:
    """Pods that are bound to a unit."""

    assigned: int = 0
    pending: int = 0
    ready: int = 0
    terminating: int = 0
    """Pods that are being deleted. The other counts do not include these."""


@dataclass(slots=True, eq=False)
class _Kind:
    """The number of pods with an equal entry."""

    entry: _Entry
    pods: int = 0


@dataclass(slots=True)
class Members:
    """The pods, by uid, that count in one unit and group, and what they take together."""

    pods: set[str] = field(default_factory=set)
    resources: Counter[str] = field(default_factory=Counter)

    def usage(self) -> Usage:
        return Usage(len(self.pods), self.resources)


@dataclass(slots=True)
class _Policy:
    """The pods of one policy."""

    kinds: dict[_Entry, _Kind] = field(default_factory=dict)
    unbound: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    own_cost: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)
    members: dict[str, dict[tuple[str, ...], Members]] = field(default_factory=dict)
    older: Counter[PolicyKey] = field(default_factory=Counter)

    def is_empty(self) -> bool:
        return not (self.kinds or self.older)


class PolicyCounts:
    """The counts of all policies. Single-threaded, like `ClusterCache`."""

    def __init__(self, changes: DirtySet) -> None:
        self._changes = changes
        self._pods: dict[str, _Kind] = {}
        self._policies: dict[PolicyKey, _Policy] = {}

    def see(
        self,
        pod: Pod,
        home: Home,
        slot: Slot,
        younger: Iterable[LoadedPolicy],
        *,
        refused: bool,
        foreign: bool = False,
    ) -> None:
        """A live pod is now as `pod` shows it. `younger` are the policies that also select the pod
        and are younger than its own policy. The pod may be under no policy. `foreign`: another
        scheduler places it."""
        if home.policy is None:
            self.forget(pod.uid)
            return
        entry = _Entry(
            home.policy.key,
            home.unit.identity if home.unit is not None else NO_UNIT,
            State(bool(pod.node), pod.started, pod.ready, pod.terminating, refused),
            slot.unit,
            _limited(slot, home.policy),
            has_own_cost(pod.annotations) and bool(pod.node),
            foreign and not pod.terminating,
            tuple(policy.key for policy in younger),
        )
        before = self._pods.get(pod.uid)
        if before is not None:
            if before.entry == entry:
                return
            self._take_out(pod.uid, before)
        self._put_in(pod.uid, entry)

    def forget(self, uid: str) -> None:
        """The pod is gone, finished, or under no policy."""
        kind = self._pods.pop(uid, None)
        if kind is not None:
            self._take_out(uid, kind)

    # --- queries --------------------------------------------------------------------------------

    def unit(self, policy: PolicyKey, unit: str) -> UnitCount:
        """The pods that are bound to a unit. NO_UNIT: the pods that are bound to no unit."""
        found = UnitCount()
        for entry, kind in self._of(policy).kinds.items():
            if entry.unit == unit and entry.state.bound:
                _add(found, entry.state, kind.pods)
        return found

    def waiting(self, policy: PolicyKey) -> int:
        """The number of pods of the policy without a node, except terminating pods."""
        kinds = self._of(policy).kinds.values()
        return sum(
            kind.pods
            for kind in kinds
            if not (kind.entry.state.bound or kind.entry.state.terminating)
        )

    def unbound(self, policy: PolicyKey) -> Set[str]:
        """Uids of pods without a node."""
        return self._of(policy).unbound

    def refused(self, policy: PolicyKey) -> Set[str]:
        """Uids of waiting pods for which our scheduler has found no node."""
        return self._of(policy).refused

    def members(self, policy: PolicyKey, unit: str) -> Mapping[tuple[str, ...], Members]:
        """The pods that count in a unit, by group."""
        return self._of(policy).members.get(unit, {})

    def with_own_cost(self, policy: PolicyKey) -> Set[str]:
        """Uids of bound pods whose deletion cost is not ours."""
        return self._of(policy).own_cost

    def foreign(self, policy: PolicyKey) -> Set[str]:
        """Uids of the pods that another scheduler places."""
        return self._of(policy).foreign

    def with_foreign(self) -> list[PolicyKey]:
        """The policies that have such pods."""
        return [key for key, counts in self._policies.items() if counts.foreign]

    def older(self, policy: PolicyKey) -> list[PolicyKey]:
        """Older policies that apply to pods which this policy also selects."""
        return sorted(self._of(policy).older)

    # --- internal -------------------------------------------------------------------------------

    def _of(self, policy: PolicyKey) -> _Policy:
        return self._policies.get(policy) or _Policy()

    def _put_in(self, uid: str, entry: _Entry) -> None:
        self._changes.policy(entry.policy)
        mine = self._policies.setdefault(entry.policy, _Policy())
        kind = mine.kinds.get(entry)
        if kind is None:
            kind = mine.kinds[entry] = _Kind(entry)
        kind.pods += 1
        self._pods[uid] = kind
        if not entry.state.bound:
            mine.unbound.add(uid)
        if entry.state.refused:
            mine.refused.add(uid)
        if entry.own_cost:
            mine.own_cost.add(uid)
        if entry.foreign:
            mine.foreign.add(uid)
        if (key := entry.counts_under) is not None:
            members = mine.members.setdefault(key.unit, {}).setdefault(key.group, Members())
            members.pods.add(uid)
            members.resources.update(dict(entry.requests))
        for younger in entry.younger:
            self._changes.policy(younger)
            self._policies.setdefault(younger, _Policy()).older[entry.policy] += 1

    def _take_out(self, uid: str, kind: _Kind) -> None:
        entry = kind.entry
        self._changes.policy(entry.policy)
        mine = self._policies[entry.policy]
        kind.pods -= 1
        if not kind.pods:
            del mine.kinds[entry]
        for uids in (mine.unbound, mine.refused, mine.own_cost, mine.foreign):
            uids.discard(uid)
        if (key := entry.counts_under) is not None:
            groups = mine.members[key.unit]
            members = groups[key.group]
            members.pods.discard(uid)
            members.resources.subtract(dict(entry.requests))
            if not members.pods:
                del groups[key.group]
            if not groups:
                del mine.members[key.unit]
        for younger in entry.younger:
            self._changes.policy(younger)
            older = self._policies[younger].older
            older[entry.policy] -= 1
            if not older[entry.policy]:
                del older[entry.policy]
            self._drop_if_empty(younger)
        self._drop_if_empty(entry.policy)

    def _drop_if_empty(self, policy: PolicyKey) -> None:
        found = self._policies.get(policy)
        if found is not None and found.is_empty():
            del self._policies[policy]


def _limited(slot: Slot, policy: LoadedPolicy) -> Requests:
    """The pod's requests of the resources that the policy limits."""
    if slot.unit is None or not isinstance(policy, Policy):
        return ()
    limited = policy.limited_resources
    return tuple(each for each in slot.requests if each[0] in limited) if limited else ()


def _add(found: UnitCount, state: State, count: int) -> None:
    if state.terminating:
        found.terminating += count
        return
    found.assigned += count
    if state.ready:
        found.ready += count
    if not state.started:
        found.pending += count
