"""How many pods each policy has, where and in which state: kept up pod by pod, never counted anew.

`Tally.see` is told of every change of a pod; what it costs does not depend on how many others there
are. Who looks at policies or pods because of it learns from `spillover.core.changes` which.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from spillover.core.changes import Changes
from spillover.core.deletion_cost import has_own_cost
from spillover.core.ledger import Slot
from spillover.core.limits import Usage
from spillover.core.matching import Home
from spillover.core.pods import Pod
from spillover.core.policy import LoadedPolicy, Policy, PolicyKey, UnitKey
from spillover.core.resources import Requests

NO_UNIT = ""
"""In place of a unit's identity: on nodes of no unit, or in one that is no more."""


class State(NamedTuple):
    """What is counted of one live (not finished) pod. `refused`: it waits, and our scheduler has
    found no place for it."""

    bound: bool
    started: bool
    ready: bool
    terminating: bool
    refused: bool


class _Entry(NamedTuple):
    """`unit` is NO_UNIT also for a pod that waits. `counts_under` is where it takes of a maximum,
    `requests` what it takes of limited resources. `younger` are policies that select the pod too,
    and do not have it."""

    policy: PolicyKey
    unit: str
    state: State
    counts_under: UnitKey | None
    requests: Requests
    own_cost: bool
    younger: tuple[PolicyKey, ...]


@dataclass(slots=True)
class UnitCount:
    """Pods that are bound to a unit; only `terminating` ones are being deleted."""

    assigned: int = 0
    pending: int = 0
    ready: int = 0
    terminating: int = 0


@dataclass(slots=True, eq=False)
class _Kind:
    """Pods that are counted alike."""

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
    members: dict[str, dict[tuple[str, ...], Members]] = field(default_factory=dict)
    older: Counter[PolicyKey] = field(default_factory=Counter)

    def is_empty(self) -> bool:
        return not (self.kinds or self.older)


class Tally:
    """Single-threaded, like the state that it belongs to."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._pods: dict[str, _Kind] = {}
        self._policies: dict[PolicyKey, _Policy] = {}

    def see(
        self, pod: Pod, home: Home, slot: Slot, younger: Iterable[LoadedPolicy], *, refused: bool
    ) -> None:
        """A live pod as it is now, and the policies younger than its own that select it too. It may
        be under no policy."""
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

    # --- what there is --------------------------------------------------------------------------

    def unit(self, policy: PolicyKey, unit: str) -> UnitCount:
        """The pods bound to a unit; NO_UNIT: those bound elsewhere."""
        found = UnitCount()
        for entry, kind in self._of(policy).kinds.items():
            if entry.unit == unit and entry.state.bound:
                _add(found, entry.state, kind.pods)
        return found

    def waiting(self, policy: PolicyKey) -> int:
        """Pods of the policy without a node, those apart that are being deleted."""
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
        """Uids of those for which our scheduler has found no place."""
        return self._of(policy).refused

    def members(self, policy: PolicyKey, unit: str) -> Mapping[tuple[str, ...], Members]:
        """The pods that count in a unit, by group."""
        return self._of(policy).members.get(unit, {})

    def with_own_cost(self, policy: PolicyKey) -> Set[str]:
        """Uids of bound pods whose deletion cost is not ours."""
        return self._of(policy).own_cost

    def older(self, policy: PolicyKey) -> list[PolicyKey]:
        """Policies that have pods which this one selects too."""
        return sorted(self._of(policy).older)

    # --- within ---------------------------------------------------------------------------------

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
        for uids in (mine.unbound, mine.refused, mine.own_cost):
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
    """What a pod takes of the resources that the policy limits."""
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
