"""Pods that filter has rejected, and which of them should be tried again after a change.

kube-scheduler and the extender learn of a change separately. Where the scheduler is first, it
retries the pod at once, the extender still rejects it, and nothing retries it for minutes. So every
rejection is remembered, and when our own, later view would accept the pod, it is nudged:

    rejected ──decision is now a placement──▶ nudged ──filter asks again──▶ placed: forgotten
       ▲                                        │  └──────────────────────▶ rejected anew
       └── rests, MOST_NUDGES times at most ◀───┘ no call within ANSWER_SECONDS

A rejected pod whose decision is now a placement has not been asked for since the change: the call
would have been answered with that placement. So no versions need to be compared.

At most as many pods are nudged as there are slots: a nudged pod holds the slot it was nudged for
until filter asks for it, or ANSWER_SECONDS have passed. Highest priority and oldest first; those
whose last nudge had no answer come after all others. A pod that the scheduler has refused since
without asking us is forgotten: no node is feasible for it, and once one is, we are asked.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from spillover.core.demand import Demand
from spillover.core.limits import Usage
from spillover.core.pods import Pod
from spillover.core.policy import PolicyKey, UnitKey

ANSWER_SECONDS = 5.0
"""The scheduler's longest backoff (podMaxBackoffSeconds: 3), and time for its queue."""

MOST_NUDGES = 4
"""Without an answer, at 0 s and about 10, 25 and 50 s. Then the scheduler finds no node at all for
the pod: what was offered is out of date, and it will ask by itself once it finds one."""

FAILED_REST_SECONDS = 2.0
"""At least, and at most twice that, after a nudge that could not be written."""

MEMORY_SECONDS = 400.0
"""A live scheduler tries every waiting pod at least every 5 minutes (its flush)."""

MOST_PODS = 100_000
MOST_NAMES = 500_000
"""Of all offered sets together: about 50 MB. Beyond it the longest unasked is remembered without
them, beyond MOST_PODS it is forgotten."""

MOST_UNANSWERED = 100
"""Nudges of one namespace without an answer. A unit without a limit has slots for all, its nodes
perhaps for one: the others follow as the scheduler answers."""

_ROUND_COST = 60_000
_DECISION_COST = 200
_UNKNOWN_NAMES = 5_000
"""A round of decisions takes some milliseconds: the cost of one is this and one a name."""

MOST_AT_ONCE = 64
"""Nudges of one round."""


class Outlook(NamedTuple):
    """What the last answer left open: the unit where the pod `waits` for a time, else ""; and the
    units where it `hopes` for room by preemption."""

    waits: str = ""
    hopes: frozenset[str] = frozenset()


NO_OUTLOOK = Outlook()


class Shape(NamedTuple):
    """What a decision rests on: pods of one shape are nudged for the same changes. `offered` is
    None where the nodes of the last call are not known: any node may be."""

    policy: PolicyKey | None
    demand: Demand
    offered: frozenset[str] | None
    outlook: Outlook = NO_OUTLOOK


@dataclass(slots=True)
class _Waiter:
    """`holds` is the unit that it was nudged for, until `answer_by`. It is not nudged again before
    `rests_until`. Times are in seconds of the clock."""

    pod: Pod
    shape: Shape
    asked: float
    reasons: frozenset[str]
    reasons_before: frozenset[str] = frozenset()
    nudges: int = 0
    holds: UnitKey | None = None
    answer_by: float = 0.0
    rests_until: float = 0.0

    def may_be_nudged(self, now: float) -> bool:
        """A pod whose nodes are not known is nudged once: its next call makes them known."""
        most = 1 if self.shape.offered is None else MOST_NUDGES
        return self.rests_until <= now and self.nudges < most


@dataclass(slots=True)
class _Namespace:
    """`settled` are shapes that this look has rejected, and `wait_ends` is when the first timed
    wait among them is over; `changed` is whether the look is to go on, `again` whether another is
    to follow; `look_at` is when to look though nothing changed."""

    groups: dict[Shape, dict[str, _Waiter]]
    settled: set[Shape]
    changed: bool = False
    again: bool = False
    look_at: float = inf
    wait_ends: float = inf


class Prospect(NamedTuple):
    """`due`: another call of filter would lead to something, in the unit `holds` where that is one.
    Otherwise `seconds` tells when a timed wait is over; infinity where only a change can help."""

    due: bool
    holds: UnitKey | None = None
    seconds: float = inf


Find = Callable[[Pod, Shape, Mapping[UnitKey, Usage]], Prospect]
"""Tells the prospect of a pod, with what nudged pods hold of the units."""

ShapeOf = Callable[[Pod], tuple[PolicyKey | None, Demand]]
"""The policy that a pod is under now, and what a decision reads of it."""


@dataclass(slots=True)
class _Offered:
    """One set of names for all waiters to whom the same nodes were offered."""

    names: frozenset[str]
    users: int = 0


class WaitingPods:
    """Single-threaded, like the cache that it belongs to. `clock` gives seconds, `jitter` numbers
    from 0 to 1 by chance."""

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float]) -> None:
        self._clock = clock
        self._jitter = jitter
        self._waiters: dict[str, _Waiter] = {}  # longest unasked first
        self._namespaces: dict[str, _Namespace] = {}
        self._offered: dict[frozenset[str], _Offered] = {}
        self._names = 0

    def __len__(self) -> int:
        return len(self._waiters)

    # --- what happens to pods ------------------------------------------------------------------

    def rejected(
        self,
        pod: Pod,
        policy: PolicyKey | None,
        demand: Demand,
        offered: frozenset[str] | None,
        reasons: frozenset[str] = frozenset(),
        outlook: Outlook = NO_OUTLOOK,
        rest_seconds: float = 0.0,
    ) -> None:
        """Filter has rejected the pod among the `offered` nodes with these `reasons`; None: in a
        call that we do not know of. It is left alone for `rest_seconds`."""
        before = self._waiters.get(pod.uid)
        self.forget(pod.uid)
        if len(offered or ()) > MOST_NAMES:
            offered = None
        self._make_room(offered)
        shape = Shape(policy, demand, self._share(offered), outlook)
        now = self._clock()
        waiter = self._waiters[pod.uid] = _Waiter(
            pod,
            shape,
            now,
            reasons,
            before.reasons if before is not None else frozenset(),
            rests_until=now + rest_seconds,
        )
        namespace = self._namespaces.setdefault(pod.namespace, _Namespace({}, set()))
        namespace.groups.setdefault(shape, {})[pod.uid] = waiter
        if offered is None or outlook.waits or rest_seconds:
            namespace.again = True  # no decision that we know of, or one that time will change

    def clear(self) -> None:
        """Nobody asks us any more."""
        for uid in list(self._waiters):
            self.forget(uid)

    def forget(self, uid: str) -> None:
        """The pod waits no more, or is rejected anew."""
        waiter = self._waiters.pop(uid, None)
        if waiter is None:
            return
        namespace = self._namespaces[waiter.pod.namespace]
        self._leave_group(namespace, waiter)
        self._unshare(waiter.shape.offered)
        if waiter.answer_by > self._clock():
            self.slots_freed([waiter.pod.namespace])  # somebody else may have what it held
        if not namespace.groups:
            del self._namespaces[waiter.pod.namespace]

    def seen(self, pod: Pod, shape_of: ShapeOf) -> None:
        """An unbound pod as it is now. Its labels or tolerations may have changed."""
        waiter = self._waiters.get(pod.uid)
        if waiter is None or waiter.pod.version >= pod.version:
            return
        if _tried_without_us(pod, waiter):
            self.forget(pod.uid)
            return
        waiter.pod = pod
        self._renew(waiter, shape_of)

    def demand_changed(self, uid: str, shape_of: ShapeOf) -> None:
        """Something else that a decision for the pod reads may have changed."""
        waiter = self._waiters.get(uid)
        if waiter is not None:
            self._renew(waiter, shape_of)

    # --- what may make filter accept them --------------------------------------------------------

    def policies_changed(self, namespace: str, shape_of: ShapeOf) -> None:
        for waiter in self._of(namespace):
            self._renew(waiter, shape_of)
        self.slots_freed([namespace])

    def nodes_changed(self) -> None:
        self.slots_freed(list(self._namespaces))

    def slots_freed(self, namespaces: Iterable[str]) -> None:
        for name in namespaces:
            namespace = self._namespaces.get(name)
            if namespace is not None:
                namespace.again = True

    # --- who is to be nudged ---------------------------------------------------------------------

    def due(self, find: Find) -> list[Pod]:
        """Pods to nudge now. They hold their slots from here on, whatever becomes of the nudge."""
        now = self._clock()
        self._forget_unasked(now)
        left = _ROUND_COST
        found: list[Pod] = []
        for name, namespace in list(self._namespaces.items()):
            wanted = namespace.changed or namespace.again or namespace.look_at <= now
            if wanted and left > 0 and len(found) < MOST_AT_ONCE:
                left = self._round(namespace, find, now, left, found)
                self._namespaces[name] = self._namespaces.pop(name)  # the others come first next
        return found

    def _round(
        self, namespace: _Namespace, find: Find, now: float, left: int, found: list[Pod]
    ) -> int:
        """Adds the namespace's pods to `found`. Returns what is left of the cost allowed."""
        if not namespace.changed:
            # From the start only once the last look is complete: changes that come faster than
            # looks would otherwise keep the last shapes from ever being looked at.
            namespace.settled.clear()
            namespace.again, namespace.wait_ends = False, inf
        held, unanswered = _held(namespace, now)
        queue = [
            (_urgency(first), first)
            for shape, group in namespace.groups.items()
            if shape not in namespace.settled and (first := _most_urgent(group, now)) is not None
        ]
        heapq.heapify(queue)
        following: dict[Shape, list[_Waiter]] = {}
        while queue and left > 0 and unanswered < MOST_UNANSWERED and len(found) < MOST_AT_ONCE:
            _, waiter = heapq.heappop(queue)
            shape = waiter.shape
            names = _UNKNOWN_NAMES if shape.offered is None else len(shape.offered)
            left -= _DECISION_COST + names
            prospect = find(waiter.pod, shape, held)
            if not prospect.due:
                namespace.settled.add(shape)
                namespace.wait_ends = min(namespace.wait_ends, now + prospect.seconds)
                continue
            self._nudge(waiter, prospect.holds, now)
            unanswered += 1
            _add(held, waiter)
            found.append(waiter.pod)
            if shape not in following:  # sorted only where the first one was accepted
                following[shape] = _line(namespace.groups[shape], now)
            if following[shape]:
                follower = following[shape].pop()
                heapq.heappush(queue, (_urgency(follower), follower))
        # With something left in the queue, the next look goes on: what is settled stays so.
        namespace.changed = bool(queue) and unanswered < MOST_UNANSWERED
        namespace.look_at = min([namespace.wait_ends, *_times_ahead(namespace, now)])
        return left

    def _nudge(self, waiter: _Waiter, unit: UnitKey | None, now: float) -> None:
        rest = ANSWER_SECONDS * 2**waiter.nudges
        waiter.nudges += 1
        waiter.holds = unit
        waiter.answer_by = now + ANSWER_SECONDS
        waiter.rests_until = waiter.answer_by + rest * self._jitter()

    def holds(self, uid: str) -> bool:
        """Whether a nudge for the pod is still wanted."""
        waiter = self._waiters.get(uid)
        return waiter is not None and waiter.answer_by > self._clock()

    def not_nudged(self, uid: str) -> None:
        """The nudge could not be written. It counts for nothing, and is tried again soon."""
        waiter = self._waiters.get(uid)
        if waiter is None or not waiter.nudges:
            return
        waiter.nudges -= 1
        waiter.answer_by = self._clock()
        waiter.rests_until = waiter.answer_by + FAILED_REST_SECONDS * (1 + self._jitter())
        self.slots_freed([waiter.pod.namespace])

    # --- bookkeeping -----------------------------------------------------------------------------

    def _of(self, namespace: str) -> list[_Waiter]:
        known = self._namespaces.get(namespace)
        return [w for group in known.groups.values() for w in group.values()] if known else []

    def _renew(self, waiter: _Waiter, shape_of: ShapeOf) -> None:
        policy, demand = shape_of(waiter.pod)
        self._reshape(waiter, waiter.shape._replace(policy=policy, demand=demand))

    def _reshape(self, waiter: _Waiter, shape: Shape) -> None:
        if shape == waiter.shape:
            return
        namespace = self._namespaces[waiter.pod.namespace]
        self._leave_group(namespace, waiter)
        waiter.shape = shape
        namespace.groups.setdefault(shape, {})[waiter.pod.uid] = waiter
        namespace.changed = True

    def _leave_group(self, namespace: _Namespace, waiter: _Waiter) -> None:
        group = namespace.groups[waiter.shape]
        del group[waiter.pod.uid]
        if not group:
            del namespace.groups[waiter.shape]
            namespace.settled.discard(waiter.shape)

    def _share(self, names: frozenset[str] | None) -> frozenset[str] | None:
        """The same set that other waiters have, where there is one."""
        if names is None:
            return None
        offered = self._offered.get(names)
        if offered is None:
            offered = self._offered[names] = _Offered(names)
            self._names += len(names)
        offered.users += 1
        return offered.names

    def _unshare(self, names: frozenset[str] | None) -> None:
        if names is None:
            return
        offered = self._offered[names]
        offered.users -= 1
        if not offered.users:
            del self._offered[names]
            self._names -= len(names)

    def _make_room(self, offered: frozenset[str] | None) -> None:
        """For one more pod, and for its names if nobody has the same."""
        while len(self._waiters) >= MOST_PODS:
            self.forget(next(iter(self._waiters)))
        if offered is None or offered in self._offered:
            return
        for waiter in self._waiters.values():
            if self._names + len(offered) <= MOST_NAMES:
                break
            self._unshare(waiter.shape.offered)
            self._reshape(waiter, waiter.shape._replace(offered=None))

    def _forget_unasked(self, now: float) -> None:
        """Those that the scheduler asks for no more."""
        gone = []
        for uid, waiter in self._waiters.items():
            if now - waiter.asked <= MEMORY_SECONDS:
                break
            gone.append(uid)
        for uid in gone:
            self.forget(uid)


def _held(namespace: _Namespace, now: float) -> tuple[dict[UnitKey, Usage], int]:
    """What nudged pods hold, by unit, and how many pods have not been asked for yet."""
    held: dict[UnitKey, Usage] = {}
    unanswered = 0
    for group in namespace.groups.values():
        for waiter in group.values():
            if waiter.answer_by > now:
                unanswered += 1
                _add(held, waiter)
    return held, unanswered


def _add(held: dict[UnitKey, Usage], waiter: _Waiter) -> None:
    if waiter.holds is not None:
        own = Usage(1, dict(waiter.pod.requests))
        held[waiter.holds] = held.get(waiter.holds, Usage()) + own


def _tried_without_us(pod: Pod, waiter: _Waiter) -> bool:
    """Whether the scheduler has refused the pod since its last call, for reasons not ours."""
    if not waiter.reasons or not pod.is_refused or pod.refusal == waiter.pod.refusal:
        return False
    # The status may be that of the call before: it is written later than the answer is given.
    ours = waiter.reasons | waiter.reasons_before
    return not any(reason in pod.refusal for reason in ours)


def _urgency(waiter: _Waiter) -> tuple[int, int, str, str, str]:
    """Less is sooner: no nudge without an answer yet, highest priority, oldest."""
    pod = waiter.pod
    return (waiter.nudges, -pod.priority, pod.created, pod.name, pod.uid)


def _most_urgent(group: Mapping[str, _Waiter], now: float) -> _Waiter | None:
    ready = (waiter for waiter in group.values() if waiter.may_be_nudged(now))
    return min(ready, key=_urgency, default=None)


def _line(group: Mapping[str, _Waiter], now: float) -> list[_Waiter]:
    """Those of a group that may be nudged, the most urgent last."""
    ready = (waiter for waiter in group.values() if waiter.may_be_nudged(now))
    return sorted(ready, key=_urgency, reverse=True)


def _times_ahead(namespace: _Namespace, now: float) -> Iterator[float]:
    """When a nudge's slot is free again, and when a pod has rested."""
    for group in namespace.groups.values():
        for waiter in group.values():
            if waiter.answer_by > now:
                yield waiter.answer_by
            elif waiter.rests_until > now:
                yield waiter.rests_until
