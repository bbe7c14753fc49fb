"""Which pod holds a slot of which unit.

A pod has at most one slot, in one of three states:

    filter answers            bind is sent               API answered, or seen bound
    ──────────────▶ reserved ──────────────▶ binding ───────────────────────────────▶ bound
                       │                        │                                       │
                       │ refused, expired,      │ the API's answer is final, or the     │
                       │ another decision       │ write can no longer commit            │
                       ▼                        ▼                                       ▼
                      gone ◀─────────────────── pod deleted or finished ────────────── gone

Only `reserved` expires. A reservation also ends with the term in which it was made
(`spillover.core.cache.term`). Counting is by unit identity and group. A slot may belong to no unit
(a pod under no policy, or on nodes of no unit). Such a slot only records the state of the pod's
binding and counts nowhere.

The API server may still execute a binding that an earlier leader has sent. A pod is doubted while
such a binding of it is possible:

    no patch changes the pod's version           its version has changed, or it is bound or gone
    ────────────────────────────────▶ doubted ───────────────────────────────────────▶ gone

A doubted pod counts in every unit that it could be bound to.

A waiting pod for which other pods were preempted also holds a slot (`hold`). It holds the slot
until it is placed or the scheduler gives up the nomination, so that no other pod gets what was
freed for it.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from spillover.core.decision.limits import Usage
from spillover.core.decision.outcomes import Passed
from spillover.core.model.nodes import Names
from spillover.core.model.pods import Pod
from spillover.core.model.policy import PolicyKey, UnitKey
from spillover.core.model.resources import Requests

RESERVATION_SECONDS = 60.0
SLOW_RESERVATION_SECONDS = 660.0
"""For pods with volumes or resource claims: PreBind waits up to 600 s (the scheduler's
bindTimeout)."""

HOLD_SECONDS = 30.0
"""From the answer to the preempt call until the nomination is in the pod's status."""
NOMINATED_SECONDS = 3600.0
"""The time that the preempted pods have to end. After that, other pods may get the slot."""

MAX_RESERVATIONS = 100_000
_MOST_ENDED = 2000
"""Entries of ended reservations and holds, beside as many as there are live ones."""


class Slot(NamedTuple):
    """What a pod takes of a unit."""

    unit: UnitKey | None
    """The unit where the pod counts. None if it counts nowhere."""
    requests: Requests = ()


NOWHERE = Slot(None)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A slot for a pod from filter's answer until its binding is sent."""

    policy: PolicyKey | None
    """The policy that filter decided under."""
    slot: Slot
    pod: Pod
    """The scheduler's view of the pod at the call of filter."""
    nodes: bytes
    """The nodes that filter answered, as JSON: a tenth of the memory of their names."""
    expires: float
    """In seconds of the ledger's clock."""
    passed: tuple[Passed, ...]
    """Why each earlier unit did not take the pod."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A slot for a waiting pod for which other pods were preempted."""

    slot: Slot
    shown: bool
    """Whether the watch has shown the pod's nomination."""
    expires: float
    """In seconds of the ledger's clock."""


class Bound(NamedTuple):
    """Where a bound pod counts, and which unit it is leaving."""

    slot: Slot
    leaving: tuple[PolicyKey, str] | None = None
    """The policy and unit that a terminating pod is in, even if it does not count there."""


@dataclass(slots=True, eq=False)
class InFlightBinding:
    """A binding that was sent, until its outcome is known. The sender keeps this object and needs
    it to end the binding, so that a late outcome of an old binding never ends a newer one."""

    lands: Pod
    """The pod as it will be once it is bound."""
    slot: Slot
    fenced_from: int | None = None
    """The version that the binding was sent with, once its outcome is unknown. An unbound pod at a
    newer version proves that the write did not commit."""


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A pod that an earlier leader may still bind to one of `units`, at the version of `pod`."""

    pod: Pod
    units: tuple[UnitKey, ...]

    def counts_in(self) -> Iterator[Slot]:
        return (Slot(unit, self.pod.requests) for unit in self.units)


_NOTHING: Counter[str] = Counter()
"""Never changed."""


class Ledger:
    """All slots. `clock` returns the seconds of any clock that never goes back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._now = clock()
        # At most MAX_RESERVATIONS each, the oldest first. A cache with times to live of a library
        # took a third of the time of a decision.
        self._reserved: dict[str, Reservation] = {}
        self._held: dict[str, Hold] = {}
        # Who may expire, and when. Each entry goes when its time has come. Entries of reservations
        # and holds that have ended before go when they are many.
        self._expiries: list[tuple[float, str]] = []
        self._binding: dict[str, InFlightBinding] = {}
        self._doubted: dict[str, _Doubt] = {}  # at most one for each waiting pod
        self._bound: dict[str, Bound] = {}
        self._pods: Counter[UnitKey] = Counter()
        self._resources: dict[UnitKey, Counter[str]] = {}
        self._leaving: Counter[tuple[PolicyKey, str]] = Counter()
        self._freed: set[UnitKey] = set()
        self._let_go: set[str] = set()

    def usage(self, unit: UnitKey, besides: str) -> Usage:
        """What pods take of a unit, without the reservation of the pod with the uid `besides`."""
        self._expire()
        pods = self._pods[unit]
        resources = self._resources.get(unit, _NOTHING)
        for slot in self._own(besides):
            if slot.unit == unit:
                pods -= 1
                resources = resources - Counter(dict(slot.requests))
        return Usage(pods, resources)

    def has_terminating(self, policy: PolicyKey, unit: str) -> bool:
        """Whether a pod that was bound to the unit, in any group, is being deleted."""
        return self._leaving[policy, unit] > 0

    def take_freed(self) -> set[UnitKey]:
        """Units where a slot may have become free, or that a pod has left, since the last call."""
        self._expire()
        freed, self._freed = self._freed, set()
        return freed

    def take_let_go(self) -> set[str]:
        """Pods whose hold has ended since the last call: the decision for them changes."""
        self._expire()
        ended, self._let_go = self._let_go, set()
        return ended

    def reservations(self) -> int:
        self._expire()
        return len(self._reserved)

    def bindings(self) -> int:
        """The number of bindings that were sent and whose outcome is not known."""
        return len(self._binding)

    def reserve(
        self,
        pod: Pod,
        policy: PolicyKey | None,
        unit: UnitKey | None,
        nodes: Names,
        passed: tuple[Passed, ...] = (),
    ) -> None:
        """Replaces the pod's earlier reservation or hold. Raises ValueError for a pod that is
        binding or bound: such a pod has its slot already."""
        if self.in_flight(pod.uid) or self.is_bound(pod.uid):
            raise ValueError(f"pod {pod.uid} is binding or bound")
        self.release(pod.uid)
        self.let_go(pod.uid)
        if len(self._reserved) >= MAX_RESERVATIONS:
            # It is safe to lose a reservation: bind then decides again.
            self._count(self._reserved.pop(next(iter(self._reserved))).slot, -1)
        seconds = SLOW_RESERVATION_SECONDS if pod.slow_to_bind else RESERVATION_SECONDS
        slot = Slot(unit, pod.requests)
        expires = self._expiring(pod.uid, seconds)
        self._reserved[pod.uid] = Reservation(policy, slot, pod, nodes.encoded, expires, passed)
        self._count(slot, +1)

    def release(self, uid: str) -> None:
        """End a reservation, if there is one."""
        self._expire()
        reservation = self._reserved.pop(uid, None)
        if reservation is not None:
            self._count(reservation.slot, -1)

    def release_namespace(self, namespace: str) -> None:
        """End the reservations in a namespace whose policies have changed: bind decides again."""
        self._expire()
        for uid, reservation in list(self._reserved.items()):
            if reservation.pod.namespace == namespace:
                self.release(uid)

    def release_all(self) -> None:
        """The term is over: another replica may place pods now, and does not know of reservations
        or holds here."""
        self._expire()
        for uid in list(self._reserved):
            self.release(uid)
        for uid in list(self._held):
            self.let_go(uid)

    def release_policy(self, policy: PolicyKey) -> None:
        """End the reservations under a policy whose maximum has become smaller."""
        self._expire()
        for uid, reservation in list(self._reserved.items()):
            if reservation.policy == policy:
                self.release(uid)

    def reservation(self, uid: str, node: str) -> Reservation | None:
        """The live reservation of a pod for a node."""
        self._expire()
        reservation = self._reserved.get(uid)
        # No name of a node has a comma, which stands between two names.
        is_name = "," not in node
        has_node = reservation is not None and msgspec.json.encode(node) in reservation.nodes
        return reservation if is_name and has_node else None

    def hold(self, pod: Pod, unit: UnitKey) -> None:
        """Keep what preemption frees in a unit for the waiting pod that preempts."""
        self.let_go(pod.uid)
        if len(self._held) >= MAX_RESERVATIONS:
            self._end_hold(next(iter(self._held)))
        slot = Slot(unit, pod.requests)
        expires = self._expiring(pod.uid, HOLD_SECONDS)
        self._held[pod.uid] = Hold(slot, shown=False, expires=expires)
        self._count(slot, +1)

    def let_go(self, uid: str) -> None:
        """End a hold, if there is one."""
        self._expire()
        if uid in self._held:
            self._end_hold(uid)

    def held(self, uid: str) -> UnitKey | None:
        """The unit in which a waiting pod holds a slot."""
        self._expire()
        hold = self._held.get(uid)
        return hold.slot.unit if hold is not None else None

    def in_flight(self, uid: str) -> bool:
        """Whether a binding of the pod was sent and the outcome is not known."""
        return uid in self._binding

    def with_slots(self, uids: Iterable[str]) -> set[str]:
        """The pods that have a slot: reserved, binding, or bound. The watch may not have shown the
        binding yet."""
        self._expire()
        return {
            uid
            for uid in uids
            if uid in self._reserved or uid in self._binding or uid in self._bound
        }

    def is_bound(self, uid: str) -> bool:
        """Whether the pod is live and bound, by the API server's answer or by the watch."""
        return uid in self._bound

    def start_binding(self, lands: Pod) -> InFlightBinding:
        """reserved → binding. `lands` is the pod as it will be once it is bound. The pod must have
        a reservation."""
        reservation = self._reserved.pop(lands.uid)
        flight = self._binding[lands.uid] = InFlightBinding(lands, reservation.slot)
        return flight

    def doubt(self, pod: Pod, units: tuple[UnitKey, ...]) -> None:
        """An earlier leader may still bind the pod, at its present version, to one of `units`."""
        self.trust(pod.uid)
        doubt = self._doubted[pod.uid] = _Doubt(pod, units)
        for slot in doubt.counts_in():
            self._count(slot, +1)

    def trust(self, uid: str) -> None:
        """End a doubt, if there is one."""
        doubt = self._doubted.pop(uid, None)
        for slot in doubt.counts_in() if doubt is not None else ():
            self._count(slot, -1)

    def doubted(self) -> list[Pod]:
        return [doubt.pod for doubt in self._doubted.values()]

    def flights(self) -> Iterator[InFlightBinding]:
        return iter(list(self._binding.values()))

    def recount(self, flight: InFlightBinding, slot: Slot) -> None:
        """A pod whose binding is in flight now counts in another slot."""
        if self.is_open(flight.lands.uid, flight):
            self._count(flight.slot, -1)
            flight.slot = slot
            self._count(flight.slot, +1)

    def is_open(self, uid: str, flight: InFlightBinding) -> bool:
        """Whether the outcome of exactly this binding is not known yet."""
        return self._binding.get(uid) is flight

    def outcome_unknown(self, uid: str, flight: InFlightBinding, version: int) -> None:
        """It is not known whether the binding that was sent with the precondition `version` has
        committed."""
        if self.is_open(uid, flight):
            flight.fenced_from = version

    def bound(self, uid: str, flight: InFlightBinding) -> None:
        """binding → bound: the API server has answered so. The watch confirms it later."""
        if self.is_open(uid, flight):
            self._bound[uid] = Bound(self._binding.pop(uid).slot)
            self.trust(uid)

    def not_bound(self, uid: str, flight: InFlightBinding) -> None:
        """binding → gone: the API server has answered so."""
        if self.is_open(uid, flight):
            self._end_binding(uid)

    def see_bound(self, uid: str, state: Bound) -> None:
        """The watch shows a live pod on a node. From now on, the pod counts as `state` says."""
        if self._bound.get(uid) == state:
            return
        self.forget(uid)
        self._bound[uid] = state
        self._count(state.slot, +1)
        if state.leaving is not None:
            self._leaving[state.leaving] += 1

    def see_unbound(self, pod: Pod) -> None:
        """The watch shows a pod on no node. This ends a reservation if the scheduler has refused
        the pod since the reservation was made. It ends a binding only if it proves that the write
        did not commit: any other view of the pod may be older than the write."""
        self._expire()
        reservation = self._reserved.get(pod.uid)
        if reservation is not None and (
            pod.terminating or (pod.refusal and pod.refusal != reservation.pod.refusal)
        ):
            self.release(pod.uid)
        binding = self._binding.get(pod.uid)
        if binding and binding.fenced_from is not None and pod.version > binding.fenced_from:
            self._end_binding(pod.uid)
        doubt = self._doubted.get(pod.uid)
        if doubt is not None and pod.version > doubt.pod.version:
            self.trust(pod.uid)
        self._see_nomination(pod)

    def forget(self, uid: str) -> None:
        """The pod is gone, or the caller counts it again."""
        self.release(uid)
        self.let_go(uid)
        self.trust(uid)
        if uid in self._binding:
            self._end_binding(uid)
        bound = self._bound.pop(uid, None)
        if bound is None:
            return
        self._count(bound.slot, -1)
        if bound.leaving is not None:
            self._leaving[bound.leaving] -= 1
            if not self._leaving[bound.leaving]:
                del self._leaving[bound.leaving]
            self._freed.add(UnitKey(*bound.leaving))

    def _own(self, uid: str) -> list[Slot]:
        """The slots that a waiting pod takes itself."""
        own: list[Slot] = []
        if (reservation := self._reserved.get(uid)) is not None:
            own.append(reservation.slot)
        if (hold := self._held.get(uid)) is not None:
            own.append(hold.slot)
        if (doubt := self._doubted.get(uid)) is not None:
            own += doubt.counts_in()
        return own

    def _see_nomination(self, pod: Pod) -> None:
        hold = self._held.get(pod.uid)
        if hold is None:
            return
        if pod.terminating or (hold.shown and not pod.nominated):
            self.let_go(pod.uid)
        elif pod.nominated and not hold.shown:
            expires = self._expiring(pod.uid, NOMINATED_SECONDS)
            self._held[pod.uid] = Hold(hold.slot, shown=True, expires=expires)

    def _expiring(self, uid: str, seconds: float) -> float:
        """When something of the pod that begins now ends by itself. Notes that it does."""
        at = self._now + seconds
        heapq.heappush(self._expiries, (at, uid))
        if len(self._expiries) > 2 * (len(self._reserved) + len(self._held)) + _MOST_ENDED:
            self._expiries = [
                (at, uid),
                *((each.expires, owner) for owner, each in self._reserved.items()),
                *((each.expires, owner) for owner, each in self._held.items()),
            ]
            heapq.heapify(self._expiries)
        return at

    def _end_hold(self, uid: str) -> None:
        self._count(self._held.pop(uid).slot, -1)
        self._let_go.add(uid)

    def _end_binding(self, uid: str) -> None:
        self._count(self._binding.pop(uid).slot, -1)

    def _expire(self) -> None:
        self._now = self._clock()
        while self._expiries and self._expiries[0][0] <= self._now:
            _, uid = heapq.heappop(self._expiries)
            reservation, hold = self._reserved.get(uid), self._held.get(uid)
            if reservation is not None and reservation.expires <= self._now:
                self._count(self._reserved.pop(uid).slot, -1)
            if hold is not None and hold.expires <= self._now:
                self._end_hold(uid)

    def _count(self, slot: Slot, change: int) -> None:
        unit = slot.unit
        if unit is None:
            return
        self._pods[unit] += change
        if change < 0:
            self._freed.add(unit)
        resources = self._resources.setdefault(unit, Counter())
        for name, amount in slot.requests:
            resources[name] += change * amount
        if not self._pods[unit]:
            del self._pods[unit], self._resources[unit]
