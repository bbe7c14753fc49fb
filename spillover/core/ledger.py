"""Who holds a slot of which unit.

A pod has at most one slot, in one of three states:

    filter answers            bind is sent               API answered, or seen bound
    ──────────────▶ reserved ──────────────▶ binding ───────────────────────────────▶ bound
                       │                        │                                       │
                       │ refused, expired,      │ the API's answer is final, or the     │
                       │ another decision       │ write can no longer commit            │
                       ▼                        ▼                                       ▼
                      gone ◀─────────────────── pod deleted or finished ────────────── gone

Only `reserved` expires. Counting is by unit identity; a slot may belong to no unit (a pod under no
policy, or on nodes of no unit): it then tells the state of the pod's binding and counts nowhere.
"""

from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass

from cachetools import TLRUCache

from spillover.core.pods import Pod
from spillover.core.policy import PolicyKey, UnitKey

RESERVATION_SECONDS = 60.0
SLOW_RESERVATION_SECONDS = 660.0
"""For pods with volumes or claims: PreBind waits up to 600 s (the scheduler's bindTimeout)."""

MAX_RESERVATIONS = 100_000


@dataclass(frozen=True, slots=True)
class Reservation:
    """`pod` is the scheduler's view at the time of filter; `nodes` is what filter answered under
    `policy`; `expires` is in seconds of the ledger's clock."""

    policy: PolicyKey | None
    unit: UnitKey | None
    pod: Pod
    nodes: Set[str]
    expires: float


@dataclass(slots=True, eq=False)
class Flight:
    """A binding that was sent, until its outcome is known. Whoever sent it keeps this object: only
    with it can the binding be ended, so that news of an old one never ends a newer one.

    `fenced_from` is the pod version it was sent with, once its outcome is unknown: an unbound pod
    at a newer version proves that the write did not commit."""

    unit: UnitKey | None
    fenced_from: int | None = None


class Ledger:
    """`clock` gives seconds on any clock that never goes back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # Time stands still within one operation: what the cache drops by itself would stay counted.
        self._now = clock()
        self._reserved: TLRUCache[str, Reservation] = TLRUCache(
            MAX_RESERVATIONS,
            ttu=lambda _uid, reservation, _now: reservation.expires,
            timer=lambda: self._now,
        )
        self._binding: dict[str, Flight] = {}
        self._bound: dict[str, UnitKey | None] = {}
        self._taken: Counter[UnitKey] = Counter()
        self._freed: set[UnitKey] = set()

    def taken(self, unit: UnitKey, besides: str) -> int:
        """Slots of a unit in use, not counting what the pod of uid `besides` has reserved."""
        self._expire()
        own = self._reserved.get(besides)
        return self._taken[unit] - (1 if own is not None and own.unit == unit else 0)

    def take_freed(self) -> set[UnitKey]:
        """Units that a slot may have become free in since the last call."""
        self._expire()
        freed, self._freed = self._freed, set()
        return freed

    def reservations(self) -> int:
        self._expire()
        return len(self._reserved)

    def bindings(self) -> int:
        """Bindings that were sent and whose outcome is not known."""
        return len(self._binding)

    def reserve(
        self, pod: Pod, policy: PolicyKey | None, unit: UnitKey | None, nodes: Set[str]
    ) -> None:
        """Replaces what the pod had reserved before. Raises ValueError for a pod that is binding or
        bound: it has its slot."""
        if self.in_flight(pod.uid) or self.is_bound(pod.uid):
            raise ValueError(f"pod {pod.uid} is binding or bound")
        self.release(pod.uid)
        if len(self._reserved) >= MAX_RESERVATIONS:
            # Losing a reservation is safe: bind then decides again.
            _, oldest = self._reserved.popitem()
            self._count(oldest.unit, -1)
        seconds = SLOW_RESERVATION_SECONDS if pod.slow_to_bind else RESERVATION_SECONDS
        self._reserved[pod.uid] = Reservation(policy, unit, pod, nodes, self._now + seconds)
        self._count(unit, +1)

    def release(self, uid: str) -> None:
        """End a reservation, if there is one."""
        self._expire()
        reservation = self._reserved.pop(uid, None)
        if reservation is not None:
            self._count(reservation.unit, -1)

    def release_namespace(self, namespace: str) -> None:
        """End the reservations in a namespace whose policies have changed: bind decides anew."""
        self._expire()
        for uid, reservation in list(self._reserved.items()):
            if reservation.pod.namespace == namespace:
                self.release(uid)

    def reservation(self, uid: str, node: str) -> Reservation | None:
        """The live reservation of a pod for a node."""
        self._expire()
        reservation = self._reserved.get(uid)
        return reservation if reservation is not None and node in reservation.nodes else None

    def in_flight(self, uid: str) -> bool:
        """Whether a binding of the pod was sent and its outcome is not known."""
        return uid in self._binding

    def is_bound(self, uid: str) -> bool:
        """Whether the pod is live and bound, by the API server's answer or by the watch."""
        return uid in self._bound

    def start_binding(self, uid: str) -> Flight:
        """reserved → binding. The pod must have a live reservation."""
        reservation = self._reserved.pop(uid)
        flight = self._binding[uid] = Flight(reservation.unit)
        return flight

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
            self._bound[uid] = self._binding.pop(uid).unit

    def not_bound(self, uid: str, flight: Flight) -> None:
        """binding → gone, on the API server's word."""
        if self.is_open(uid, flight):
            self._end_binding(uid)

    def see_bound(self, pod: Pod, unit: UnitKey | None) -> None:
        """The watch shows a live pod on a node: it counts in `unit` from now on."""
        if self.is_bound(pod.uid) and self._bound[pod.uid] == unit:
            return
        self.forget(pod.uid)
        self._bound[pod.uid] = unit
        self._count(unit, +1)

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

    def forget(self, uid: str) -> None:
        """The pod is gone, or will be counted anew."""
        self.release(uid)
        if uid in self._binding:
            self._end_binding(uid)
        if uid in self._bound:
            self._count(self._bound.pop(uid), -1)

    def _end_binding(self, uid: str) -> None:
        self._count(self._binding.pop(uid).unit, -1)

    def _expire(self) -> None:
        self._now = self._clock()
        for _, reservation in self._reserved.expire():
            self._count(reservation.unit, -1)

    def _count(self, unit: UnitKey | None, change: int) -> None:
        if unit is None:
            return
        self._taken[unit] += change
        if change < 0:
            self._freed.add(unit)
        if not self._taken[unit]:
            del self._taken[unit]
