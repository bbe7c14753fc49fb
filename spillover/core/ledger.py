"""Who holds a slot of which unit.

A pod has at most one slot, in one of three states:

    filter answers            bind is sent               API answered, or seen bound
    ──────────────▶ reserved ──────────────▶ binding ───────────────────────────────▶ bound
                       │                        │                                       │
                       │ refused, expired,      │ the API's answer is final, or the     │
                       │ another decision       │ write can no longer commit            │
                       ▼                        ▼                                       ▼
                      gone ◀─────────────────── pod deleted or finished ────────────── gone

Only `reserved` expires. A reservation also ends with the term (`spillover.core.term`) in which it
was made. Counting is by unit identity and group; a slot may belong to no unit (a pod under no
policy, or on nodes of no unit): it then tells the state of the pod's binding and counts nowhere.

A binding of an earlier leader, which may yet be executed, is one that nobody here has sent:

    no patch changes the pod's version           its version has changed, or it is bound or gone
    ────────────────────────────────▶ doubted ───────────────────────────────────────▶ gone

A doubted pod counts in every unit that it could be bound to.

Beside that, a waiting pod for which others were preempted holds a slot (`hold`) until it is placed
or the scheduler gives up the nomination, so that nobody else gets what was freed for it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from typing import NamedTuple

from cachetools import TLRUCache

from spillover.core.limits import Usage
from spillover.core.pods import Pod
from spillover.core.policy import PolicyKey, UnitKey
from spillover.core.resources import Requests
from spillover.core.verdicts import Passed

RESERVATION_SECONDS = 60.0
SLOW_RESERVATION_SECONDS = 660.0
"""For pods with volumes or claims: PreBind waits up to 600 s (the scheduler's bindTimeout)."""

HOLD_SECONDS = 30.0
"""From an answer to preempt to the nomination in the pod's status."""
NOMINATED_SECONDS = 3600.0
"""For the preempted pods to end. After that others may have the slot."""

MAX_RESERVATIONS = 100_000


class Slot(NamedTuple):
    """What a pod takes: a place in `unit` (None: it counts nowhere) and its requests."""

    unit: UnitKey | None
    requests: Requests = ()


NOWHERE = Slot(None)


@dataclass(frozen=True, slots=True)
class Reservation:
    """`pod` is the scheduler's view at the time of filter; `nodes` is what filter answered under
    `policy`, and `passed` is why no unit before took the pod; `expires` is in seconds of the
    ledger's clock."""

    policy: PolicyKey | None
    slot: Slot
    pod: Pod
    nodes: Set[str]
    expires: float
    passed: tuple[Passed, ...]


@dataclass(frozen=True, slots=True)
class Hold:
    """`shown`: the watch has shown the pod's nomination. `expires` as in Reservation."""

    slot: Slot
    shown: bool
    expires: float


class Bound(NamedTuple):
    """Where a bound pod counts, and which unit it is leaving, whether it counts there or not."""

    slot: Slot
    leaving: tuple[PolicyKey, str] | None = None


@dataclass(slots=True, eq=False)
class Flight:
    """A binding that was sent, until its outcome is known. Whoever sent it keeps this object: only
    with it can the binding be ended, so that news of an old one never ends a newer one.

    `lands` is the pod as it will be once bound. `fenced_from` is the version it was sent with, once
    its outcome is unknown: an unbound pod at a newer one proves that the write did not commit."""

    lands: Pod
    slot: Slot
    fenced_from: int | None = None


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A pod that an earlier leader may yet bind to one of the `units`, at this version of it."""

    pod: Pod
    units: tuple[UnitKey, ...]

    def counts_in(self) -> Iterator[Slot]:
        return (Slot(unit, self.pod.requests) for unit in self.units)


class Ledger:
    """`clock` gives seconds on any clock that never goes back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # Time stands still within one operation: what the cache drops by itself would stay counted.
        self._now = clock()
        self._reserved: TLRUCache[str, Reservation] = TLRUCache(
            MAX_RESERVATIONS, ttu=lambda _uid, kept, _now: kept.expires, timer=lambda: self._now
        )
        self._held: TLRUCache[str, Hold] = TLRUCache(
            MAX_RESERVATIONS, ttu=lambda _uid, kept, _now: kept.expires, timer=lambda: self._now
        )
        self._binding: dict[str, Flight] = {}
        self._doubted: dict[str, _Doubt] = {}  # bounded by the pods that wait
        self._bound: dict[str, Bound] = {}
        self._pods: Counter[UnitKey] = Counter()
        self._resources: dict[UnitKey, Counter[str]] = {}
        self._leaving: Counter[tuple[PolicyKey, str]] = Counter()
        self._freed: set[UnitKey] = set()
        self._let_go: set[str] = set()

    def usage(self, unit: UnitKey, besides: str) -> Usage:
        """What is taken of a unit, not counting what the pod of uid `besides` has reserved."""
        self._expire()
        pods = self._pods[unit]
        resources = self._resources.get(unit, Counter())
        for slot in self._own(besides):
            if slot.unit == unit:
                pods -= 1
                resources = resources - Counter(dict(slot.requests))
        return Usage(pods, resources)

    def has_terminating(self, policy: PolicyKey, unit: str) -> bool:
        """Whether a pod that was bound to the unit, in any group, is being deleted."""
        return self._leaving[policy, unit] > 0

    def take_freed(self) -> set[UnitKey]:
        """Units that a slot may have become free in since the last call, or that a pod has left."""
        self._expire()
        freed, self._freed = self._freed, set()
        return freed

    def take_let_go(self) -> set[str]:
        """Pods whose hold has ended since the last call: what is decided for them is another."""
        self._expire()
        ended, self._let_go = self._let_go, set()
        return ended

    def reservations(self) -> int:
        self._expire()
        return len(self._reserved)

    def bindings(self) -> int:
        """Bindings that were sent and whose outcome is not known."""
        return len(self._binding)

    def reserve(
        self,
        pod: Pod,
        policy: PolicyKey | None,
        unit: UnitKey | None,
        nodes: Set[str],
        passed: tuple[Passed, ...] = (),
    ) -> None:
        """Replaces what the pod had reserved or held before. Raises ValueError for a pod that is
        binding or bound: it has its slot."""
        if self.in_flight(pod.uid) or self.is_bound(pod.uid):
            raise ValueError(f"pod {pod.uid} is binding or bound")
        self.release(pod.uid)
        self.let_go(pod.uid)
        if len(self._reserved) >= MAX_RESERVATIONS:
            # Losing a reservation is safe: bind then decides again.
            _, oldest = self._reserved.popitem()
            self._count(oldest.slot, -1)
        seconds = SLOW_RESERVATION_SECONDS if pod.slow_to_bind else RESERVATION_SECONDS
        slot = Slot(unit, pod.requests)
        self._reserved[pod.uid] = Reservation(policy, slot, pod, nodes, self._now + seconds, passed)
        self._count(slot, +1)

    def release(self, uid: str) -> None:
        """End a reservation, if there is one."""
        self._expire()
        reservation = self._reserved.pop(uid, None)
        if reservation is not None:
            self._count(reservation.slot, -1)

    def release_namespace(self, namespace: str) -> None:
        """End the reservations in a namespace whose policies have changed: bind decides anew."""
        self._expire()
        for uid, reservation in list(self._reserved.items()):
            if reservation.pod.namespace == namespace:
                self.release(uid)

    def release_all(self) -> None:
        """The term is over: others may place pods now, who know of no reservation or hold."""
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
        return reservation if reservation is not None and node in reservation.nodes else None

    def hold(self, pod: Pod, unit: UnitKey) -> None:
        """Keep what is being freed in a unit for a waiting pod that others were preempted for."""
        self.let_go(pod.uid)
        if len(self._held) >= MAX_RESERVATIONS:
            uid, oldest = self._held.popitem()
            self._end_hold(uid, oldest)
        slot = Slot(unit, pod.requests)
        self._held[pod.uid] = Hold(slot, shown=False, expires=self._now + HOLD_SECONDS)
        self._count(slot, +1)

    def let_go(self, uid: str) -> None:
        """End a hold, if there is one."""
        self._expire()
        hold = self._held.pop(uid, None)
        if hold is not None:
            self._end_hold(uid, hold)

    def held(self, uid: str) -> UnitKey | None:
        """The unit in which a waiting pod holds a slot."""
        self._expire()
        hold = self._held.get(uid)
        return hold.slot.unit if hold is not None else None

    def in_flight(self, uid: str) -> bool:
        """Whether a binding of the pod was sent and its outcome is not known."""
        return uid in self._binding

    def with_slots(self, uids: Iterable[str]) -> set[str]:
        """Those that have their place: reserved, of a binding under way, or bound, which the watch
        may not have shown yet."""
        self._expire()
        return {
            uid
            for uid in uids
            if uid in self._reserved or uid in self._binding or uid in self._bound
        }

    def is_bound(self, uid: str) -> bool:
        """Whether the pod is live and bound, by the API server's answer or by the watch."""
        return uid in self._bound

    def start_binding(self, lands: Pod) -> Flight:
        """reserved → binding, for a pod as it will be once bound. It must have a reservation."""
        reservation = self._reserved.pop(lands.uid)
        flight = self._binding[lands.uid] = Flight(lands, reservation.slot)
        return flight

    def doubt(self, pod: Pod, units: tuple[UnitKey, ...]) -> None:
        """An earlier leader may yet bind the pod, at the version it has, to one of these units."""
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

    def flights(self) -> Iterator[Flight]:
        return iter(list(self._binding.values()))

    def recount(self, flight: Flight, slot: Slot) -> None:
        """What a pod counts under whose binding is under way has changed."""
        if self.is_open(flight.lands.uid, flight):
            self._count(flight.slot, -1)
            flight.slot = slot
            self._count(flight.slot, +1)

    def is_open(self, uid: str, flight: Flight) -> bool:
        """Whether the outcome of this very binding is still to be found out."""
        return self._binding.get(uid) is flight

    def outcome_unknown(self, uid: str, flight: Flight, version: int) -> None:
        """The binding that was sent with precondition `version` may or may not be committed."""
        if self.is_open(uid, flight):
            flight.fenced_from = version

    def bound(self, uid: str, flight: Flight) -> None:
        """binding → bound, on the API server's word. The watch confirms it later."""
        if self.is_open(uid, flight):
            self._bound[uid] = Bound(self._binding.pop(uid).slot)
            self.trust(uid)

    def not_bound(self, uid: str, flight: Flight) -> None:
        """binding → gone, on the API server's word."""
        if self.is_open(uid, flight):
            self._end_binding(uid)

    def see_bound(self, uid: str, state: Bound) -> None:
        """The watch shows a live pod on a node: it counts as `state` says from now on."""
        if self._bound.get(uid) == state:
            return
        self.forget(uid)
        self._bound[uid] = state
        self._count(state.slot, +1)
        if state.leaving is not None:
            self._leaving[state.leaving] += 1

    def see_unbound(self, pod: Pod) -> None:
        """The watch shows a pod on no node. That ends a reservation when the scheduler has refused
        the pod since, and a binding only when it proves that the write did not commit: any other
        view may be older than the write."""
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
        """The pod is gone, or will be counted anew."""
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

    def _own(self, uid: str) -> Iterator[Slot]:
        """What a pod that waits takes itself."""
        for own in (self._reserved.get(uid), self._held.get(uid)):
            if own is not None:
                yield own.slot
        if (doubt := self._doubted.get(uid)) is not None:
            yield from doubt.counts_in()

    def _see_nomination(self, pod: Pod) -> None:
        hold = self._held.get(pod.uid)
        if hold is None:
            return
        if pod.terminating or (hold.shown and not pod.nominated):
            self.let_go(pod.uid)
        elif pod.nominated and not hold.shown:
            self._held[pod.uid] = Hold(hold.slot, shown=True, expires=self._now + NOMINATED_SECONDS)

    def _end_hold(self, uid: str, hold: Hold) -> None:
        self._count(hold.slot, -1)
        self._let_go.add(uid)

    def _end_binding(self, uid: str) -> None:
        self._count(self._binding.pop(uid).slot, -1)

    def _expire(self) -> None:
        self._now = self._clock()
        for _, reservation in self._reserved.expire():
            self._count(reservation.slot, -1)
        for uid, hold in self._held.expire():
            self._end_hold(uid, hold)

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
