"""Pods that filter has rejected, and which of them should be tried again after a change.

kube-scheduler and the extender learn of a change separately. If the scheduler is first, it retries
the pod at once, the extender still rejects the pod, and nothing retries the pod for minutes. So the
extender remembers every rejection. When its own, later view accepts the pod, it nudges the pod:

    rejected ──decision is now a placement──▶ nudged ──filter asks again──▶ placed: forgotten
       ▲                                        │  └──────────────────────▶ rejected anew
       └── rests, MOST_NUDGES times at most ◀───┘ no call within ANSWER_SECONDS

If the decision for a rejected pod is now a placement, the scheduler has not called filter for the
pod since the change: filter would have answered with that placement. So no versions need to be
compared.

The number of nudged pods is at most the number of free slots. A nudged pod holds the slot that it
was nudged for until the scheduler calls filter for the pod, or until ANSWER_SECONDS have passed.
Pods with the highest priority come first, then the oldest pods. Pods whose last nudge had no answer
come last. If the scheduler refuses a pod without a call of filter, the pod is forgotten: no node is
feasible for it. Once a node is feasible, the scheduler calls filter.

A gated pod (see `spillover.core.cache.crowds`) waits like a rejected pod whose offered nodes are
not known. To nudge a gated pod is to remove its gate. The removal is retried until it succeeds.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from spillover.core.cache.crowds import MOST_TRIED, Crowds, Wait
from spillover.core.decision.demand import Demand
from spillover.core.decision.limits import Usage
from spillover.core.model.pods import Pod
from spillover.core.model.policy import PolicyKey, UnitKey

ANSWER_SECONDS = 5.0
"""The scheduler's longest backoff (podMaxBackoffSeconds: 3), plus time in its queue."""

MOST_NUDGES = 4
"""Nudges of a pod without an answer, at 0 s and at about 10, 25 and 50 s. After these, the
scheduler evidently finds no feasible node: the nodes that it offered last are out of date. It calls
filter by itself once it finds a node."""

FAILED_REST_SECONDS = 2.0
"""The shortest rest after a nudge that could not be written. The longest rest is twice that."""

MEMORY_SECONDS = 400.0
"""A pod is forgotten this long after its last call of filter. A live scheduler tries every waiting
pod at least every 5 minutes (its flush)."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is remembered of waiting pods, and how much one round of decisions may cost."""

    tried: int = MOST_TRIED
    """A namespace with at most this many waiting pods is not crowded."""
    pods: int = 100_000
    """Above this, the pod with the oldest call of filter is forgotten."""
    names: int = 500_000
    """Names in all sets of offered nodes together: about 50 MB. Above this, the pod with the oldest
    call of filter loses its set."""
    round_cost: int = 60_000
    """Some milliseconds: a decision costs `_DECISION_COST`, and 1 for each name."""


DEFAULT_BOUNDS = Bounds()


MOST_UNANSWERED = 100
"""Nudges of one namespace without an answer. A unit without a limit has slots for all pods, but its
nodes may have room for one pod only. The other pods are nudged as the scheduler answers."""

_ROUND_SECONDS = 0.005
"""After this time, a round begins no further decision: a policy with many units makes decisions
expensive."""

FIRST_TRICKLE_SECONDS = 1.0
"""The first pause between two gates of a namespace that are removed although it has no room. Such a
removal is needed: the pods that the scheduler tries may never find a node, but the next gated pod
may find one. There is no pause if the pod whose gate was removed last stops waiting. There is none
either if only the scheduler's own plugins refuse it, while no more pods than there is room for have
lost their gate."""
LONGEST_TRICKLE_SECONDS = 60.0
"""The longest such pause."""
_DOUBLES_WITH = 30
"""The pause doubles with every 30 pods that have lost their gate beyond the room."""

_LOOK_SHARE = 0.03
"""The part of the time for looks at one namespace: each look walks through all its waiting pods."""
_LONGEST_REST = 2.0
"""Seconds after which the next look may begin in any case."""

_DECISION_COST = 200
"""The cost of one decision. Each name of an offered node adds 1."""
_UNKNOWN_NAMES = 5_000
"""The names that a decision is charged for if the offered nodes are not known."""

_STEP = 50
"""Pods that one step of a policy's edit looks at."""

MOST_AT_ONCE = 64
"""Nudges of one round."""


class Outlook(NamedTuple):
    """What may still change for the pod after the last answer."""

    waits: str = ""
    """The unit where the pod is in a timed wait, else ""."""
    hopes: frozenset[str] = frozenset()
    """The units where preemption may make room for the pod."""


NO_OUTLOOK = Outlook()


class EquivalenceClass(NamedTuple):
    """What a decision depends on. The same changes lead to a nudge for all pods of one class."""

    policy: PolicyKey | None
    demand: Demand
    offered: frozenset[str] | None
    """The nodes of the last call. None if they are not known: any node may be among them."""
    outlook: Outlook = NO_OUTLOOK
    gated: bool = False


@dataclass(slots=True)
class _Waiter:
    """A waiting pod. Times are in seconds of the clock."""

    pod: Pod
    alike: EquivalenceClass
    asked: float
    """When the scheduler last called filter for the pod. A gated pod gets a new time instead of
    being forgotten."""
    reasons: frozenset[str]
    """The reasons of the last rejection."""
    reasons_before: frozenset[str] = frozenset()
    """The reasons of the rejection before the last one."""
    nudges: int = 0
    """Nudges without an answer."""
    holds: UnitKey | None = None
    """The unit that the pod was nudged for. The pod holds a slot there until `answer_by`."""
    answer_by: float = 0.0
    rests_until: float = 0.0
    """The pod is not nudged again before this time."""

    def may_be_nudged(self, now: float) -> bool:
        """A pod whose nodes are not known is nudged once: the next call of filter makes its nodes
        known. A gated pod is nudged without limit: the scheduler never calls filter for it."""
        most = inf if self.alike.gated else 1 if self.alike.offered is None else MOST_NUDGES
        return self.rests_until <= now and self.nudges < most


@dataclass(slots=True)
class _Namespace:
    """The waiting pods of one namespace, and how far the look at them has come."""

    groups: dict[EquivalenceClass, dict[str, _Waiter]]
    settled: set[EquivalenceClass]
    """The classes that the current look has rejected."""
    unfinished: bool = False
    """Whether the current look must continue."""
    again: bool = False
    """Whether another look must follow the current one."""
    look_at: float = inf
    """When the next look begins if nothing changes."""
    wait_ends: float = inf
    """When the first timed wait of a class in `settled` is over."""
    rests_until: float = 0.0
    """No look begins before this time."""
    last_out: str = ""
    """The uid of the pod whose gate was removed last."""
    trickles_at: float = -inf
    """Without room, no gate is removed before this time."""

    def next_trickle(self, now: float) -> list[float]:
        is_waited_for = self.trickles_at > now and any(alike.gated for alike in self.groups)
        return [self.trickles_at] if is_waited_for else []


class Prospect(NamedTuple):
    """What another call of filter would change for a pod."""

    due: bool
    """Whether another call of filter would change anything."""
    holds: UnitKey | None = None
    """The unit where the pod would get a slot, if there is one."""
    seconds: float = inf
    """If not `due`: the time until a timed wait is over. Infinity if only a change can help."""


Find = Callable[[Pod, EquivalenceClass, Mapping[UnitKey, Usage]], Prospect]
"""Returns the prospect of a pod. The mapping says what nudged pods hold in each unit."""

EquivalenceClassOf = Callable[[Pod], tuple[PolicyKey | None, Demand]]
"""Returns the policy that a pod is under now, and what a decision reads of the pod."""


@dataclass(slots=True)
class _Offered:
    """One set of node names, shared by all waiting pods with the same offered nodes."""

    names: frozenset[str]
    users: int = 0


class UnschedulablePods:
    """All waiting pods. Single-threaded, like `ClusterCache`. `clock` returns seconds, `jitter`
    random numbers from 0 to 1."""

    def __init__(
        self,
        clock: Callable[[], float],
        jitter: Callable[[], float],
        bounds: Bounds = DEFAULT_BOUNDS,
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._waiters: dict[str, _Waiter] = {}  # the pod with the oldest call of filter is first
        self._gated = 0
        self._namespaces: dict[str, _Namespace] = {}
        self._bounds = bounds
        self.crowds = Crowds(bounds.tried)
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
        wait: Wait | None = Wait.SEEKING,
    ) -> None:
        """Filter has rejected the pod on all `offered` nodes with these `reasons`. `offered` is
        None if another process answered the call. The pod is not nudged for `rest_seconds`. `wait`
        is None if it is not known whether our rejection is why the scheduler retries the pod."""
        before = self._waiters.get(pod.uid)
        self._remove(pod.uid)
        if wait is None and not self.crowds.is_let_out(pod.uid):
            self.crowds.forget(pod.uid)
        if len(offered or ()) > self._bounds.names:
            offered = None
        self._make_room(offered)
        alike = EquivalenceClass(policy, demand, self._share(offered), outlook)
        now = self._clock()
        waiter = self._waiters[pod.uid] = _Waiter(
            pod,
            alike,
            now,
            reasons,
            before.reasons if before is not None else frozenset(),
            rests_until=now + rest_seconds,
        )
        namespace = self._join_group(waiter)
        if wait is not None:
            self.crowds.count(pod.uid, pod.namespace, policy, wait)
        if offered is None or outlook.waits or rest_seconds:
            namespace.again = True  # the decision is not known, or it changes with time

    def gated(self, pod: Pod, class_of: EquivalenceClassOf) -> None:
        """The watch shows a pod that has our scheduling gate."""
        if pod.uid in self._waiters:
            self.seen(pod, class_of)
            return
        policy, demand = class_of(pod)
        alike = EquivalenceClass(policy, demand, None, gated=True)
        waiter = self._waiters[pod.uid] = _Waiter(pod, alike, self._clock(), frozenset())
        self._gated += 1
        self._join_group(waiter).again = True
        self.crowds.count(pod.uid, pod.namespace, policy, Wait.GATED)

    def clear(self) -> None:
        """The term is over: the scheduler no longer calls this extender."""
        for uid in list(self._waiters):
            self.forget(uid)
        self.crowds.clear()

    def forget(self, uid: str) -> None:
        """The pod no longer waits."""
        counted_in = self.crowds.namespace_of(uid)
        self._leaves(uid)
        self.crowds.forget(uid)
        if counted_in is not None:
            self.slots_freed([counted_in])  # it may have taken room

    def tried(self, pod: Pod, policy: PolicyKey | None) -> None:
        """The scheduler calls filter for the pod."""
        self.crowds.tried(pod.uid, pod.namespace, policy)

    def placed(self, uid: str) -> None:
        """Filter has placed the pod."""
        self._leaves(uid)
        self.crowds.placed(uid)

    def _leaves(self, uid: str) -> None:
        waiter = self._waiters.get(uid)
        if waiter is not None:
            namespace = self._namespaces[waiter.pod.namespace]
            if namespace.last_out == uid:
                namespace.trickles_at = -inf
            self._remove(uid)

    def _not_asked_for(self, uid: str) -> None:
        """The scheduler no longer calls filter for the pod, but may still try it: a pod that was
        let out goes on to take room."""
        self._remove(uid)
        if not self.crowds.is_let_out(uid):
            self.crowds.forget(uid)

    def _remove(self, uid: str) -> None:
        waiter = self._waiters.pop(uid, None)
        if waiter is None:
            return
        namespace = self._namespaces[waiter.pod.namespace]
        self._leave_group(namespace, waiter)
        self._unshare(waiter.alike.offered)
        self._gated -= waiter.alike.gated
        if waiter.answer_by > self._clock() or not self._has_room(waiter):
            self.slots_freed([waiter.pod.namespace])  # another pod may get what this pod held
        if not namespace.groups:
            del self._namespaces[waiter.pod.namespace]

    def seen(self, pod: Pod, class_of: EquivalenceClassOf) -> None:
        """The watch shows an unbound pod. Its labels or tolerations may have changed."""
        waiter = self._waiters.get(pod.uid)
        if waiter is None or waiter.pod.version >= pod.version:
            return
        if _tried_without_us(pod, waiter):
            if self.crowds.is_let_out(pod.uid):
                self._count(waiter, Wait.ELSEWHERE)
            self._not_asked_for(pod.uid)
            self.slots_freed([pod.namespace])
            return
        waiter.pod = pod
        if waiter.alike.gated and not pod.is_gated:
            self._gated -= 1
            self._reclass(waiter, waiter.alike._replace(gated=False))
            self._count(waiter, Wait.SEEKING)
        if pod.is_refused and not waiter.reasons and self.crowds.is_let_out(pod.uid):
            # The scheduler has tried it without a call of filter: it needs no slot.
            waiter.answer_by = self._clock()
            self._count(waiter, Wait.ELSEWHERE)
            namespace = self._namespaces[pod.namespace]
            namespace.again = True
            if namespace.last_out == pod.uid and not self.crowds.beyond(pod.namespace):
                namespace.trickles_at = -inf
        self._renew(waiter, class_of)

    def may_let_out(self, namespace: str, policy: PolicyKey | None) -> bool:
        """Whether one more pod may lose its gate: there is room for it, or the pause is over."""
        known = self._namespaces.get(namespace)
        is_time = known is None or known.trickles_at <= self._clock()
        return is_time or self.crowds.has_room(namespace, policy)

    def shared(self, names: frozenset[str]) -> frozenset[str]:
        """The equal set of offered nodes of other waiting pods, or `names`."""
        offered = self._offered.get(names)
        return offered.names if offered is not None else names

    def told(self, uid: str) -> Set[str]:
        """The reasons of the pod's last rejection."""
        waiter = self._waiters.get(uid)
        return waiter.reasons if waiter is not None else frozenset()

    def demand_changed(self, uid: str, class_of: EquivalenceClassOf) -> None:
        """Another input of the decision for the pod may have changed."""
        waiter = self._waiters.get(uid)
        if waiter is not None:
            self._renew(waiter, class_of)

    # --- changes that may make filter accept pods ------------------------------------------------

    def policies_changed(
        self,
        namespace: str,
        class_of: EquivalenceClassOf,
        concerns: Callable[[Pod], bool] = lambda _: True,
    ) -> Iterator[None]:
        """Yields every few pods. Must be continued to the end."""
        for index, waiter in enumerate(self._of(namespace)):
            is_there = self._waiters.get(waiter.pod.uid) is waiter
            if is_there and concerns(waiter.pod):
                self._renew(waiter, class_of)
            if index % _STEP == _STEP - 1:
                yield
        self.slots_freed([namespace])

    def nodes_changed(self) -> None:
        self.slots_freed(list(self._namespaces))

    def slots_freed(self, namespaces: Iterable[str]) -> None:
        for name in namespaces:
            namespace = self._namespaces.get(name)
            if namespace is not None:
                namespace.again = True

    # --- which pods to nudge ---------------------------------------------------------------------

    def due(self, find: Find) -> list[Pod]:
        """Pods to nudge now. They hold their slots from now on, even if the nudge then fails."""
        now = self._clock()
        self._forget_unasked(now)
        left, ends = self._bounds.round_cost, now + _ROUND_SECONDS
        found: list[Pod] = []
        for name, namespace in list(self._namespaces.items()):
            # A look that continues does not decide again what it has settled before this time.
            namespace.again = namespace.again or namespace.look_at <= now
            wanted = namespace.unfinished or namespace.again
            has_time = left > 0 and (left == self._bounds.round_cost or self._clock() < ends)
            if not wanted or namespace.rests_until > now:
                continue
            if has_time and len(found) < MOST_AT_ONCE:
                begun = self._clock()
                left = self._round(namespace, find, now, ends, left, found)
                rest = min(_LONGEST_REST, (self._clock() - begun) / _LOOK_SHARE)
                namespace.rests_until = now + rest
                # Move the namespace to the end: the others come first in the next round.
                self._namespaces[name] = self._namespaces.pop(name)
        return found

    def _round(
        self,
        namespace: _Namespace,
        find: Find,
        now: float,
        ends: float,
        left: int,
        found: list[Pod],
    ) -> int:
        """Adds the namespace's due pods to `found`. Returns the rest of the allowed cost."""
        if not namespace.unfinished:
            # A new look begins only after the last look is complete. Otherwise frequent changes
            # would restart the look each time, and it would never reach the last classes.
            namespace.settled.clear()
            namespace.again, namespace.wait_ends = False, inf
        held, unanswered = _held(namespace, now)
        queue = [
            (_urgency(first), first)
            for alike, group in namespace.groups.items()
            if alike not in namespace.settled and (first := _most_urgent(group, now)) is not None
        ]
        heapq.heapify(queue)
        following: dict[EquivalenceClass, list[_Waiter]] = {}
        goes_on = True
        while queue and goes_on and unanswered < MOST_UNANSWERED and len(found) < MOST_AT_ONCE:
            _, waiter = heapq.heappop(queue)
            alike = waiter.alike
            left -= _DECISION_COST + _names(alike)
            prospect = find(waiter.pod, alike, held)
            goes_on = left > 0 and self._clock() < ends
            if not prospect.due:
                namespace.settled.add(alike)
                namespace.wait_ends = min(namespace.wait_ends, now + prospect.seconds)
                continue
            self._nudge(waiter, prospect.holds, now)
            unanswered += 1
            _add(held, waiter)
            found.append(waiter.pod)
            if alike not in following:  # sort a class only after its first pod was accepted
                following[alike] = _line(namespace.groups[alike], now)
            if following[alike]:
                follower = following[alike].pop()
                heapq.heappush(queue, (_urgency(follower), follower))
        # If the queue is not empty, the next round continues this look and keeps `settled`.
        namespace.unfinished = bool(queue) and unanswered < MOST_UNANSWERED
        namespace.look_at = min(
            [namespace.wait_ends, *namespace.next_trickle(now), *_times_ahead(namespace, now)]
        )
        return left

    def _nudge(self, waiter: _Waiter, unit: UnitKey | None, now: float) -> None:
        rest = ANSWER_SECONDS * 2 ** min(waiter.nudges, MOST_NUDGES)
        waiter.nudges += 1
        if waiter.alike.gated:
            self._count(waiter, Wait.SEEKING)
            self._gate_goes(waiter, now)
        waiter.holds = unit
        waiter.answer_by = now + ANSWER_SECONDS
        waiter.rests_until = waiter.answer_by + rest * self._jitter()

    def _gate_goes(self, waiter: _Waiter, now: float) -> None:
        namespace = self._namespaces[waiter.pod.namespace]
        beyond = self.crowds.beyond(waiter.pod.namespace)
        rest = FIRST_TRICKLE_SECONDS * 2 ** min(beyond / _DOUBLES_WITH, 10)
        namespace.last_out = waiter.pod.uid
        namespace.trickles_at = now + min(rest, LONGEST_TRICKLE_SECONDS)

    def holds(self, uid: str) -> bool:
        """Whether a nudge for the pod is still wanted."""
        waiter = self._waiters.get(uid)
        return waiter is not None and waiter.answer_by > self._clock()

    def not_nudged(self, uid: str) -> None:
        """The nudge could not be written. It does not count, and is retried soon. If a gate could
        not be removed, the attempt counts, so the rest before each retry grows."""
        waiter = self._waiters.get(uid)
        if waiter is None or not waiter.nudges:
            return
        if waiter.alike.gated:
            self._count(waiter, Wait.GATED)
            waiter.answer_by = self._clock()
            self.slots_freed([waiter.pod.namespace])
            return
        waiter.nudges -= 1
        waiter.answer_by = self._clock()
        waiter.rests_until = waiter.answer_by + FAILED_REST_SECONDS * (1 + self._jitter())
        self.slots_freed([waiter.pod.namespace])

    # --- bookkeeping -----------------------------------------------------------------------------

    def _of(self, namespace: str) -> list[_Waiter]:
        known = self._namespaces.get(namespace)
        return [w for group in known.groups.values() for w in group.values()] if known else []

    def _renew(self, waiter: _Waiter, class_of: EquivalenceClassOf) -> None:
        policy, demand = class_of(waiter.pod)
        self._reclass(waiter, waiter.alike._replace(policy=policy, demand=demand))

    def _reclass(self, waiter: _Waiter, alike: EquivalenceClass) -> None:
        if alike == waiter.alike:
            return
        namespace = self._namespaces[waiter.pod.namespace]
        self._leave_group(namespace, waiter)
        waiter.alike = alike
        self._join_group(waiter).again = True

    def _count(self, waiter: _Waiter, wait: Wait) -> None:
        self.crowds.count(waiter.pod.uid, waiter.pod.namespace, waiter.alike.policy, wait)

    def _has_room(self, waiter: _Waiter) -> bool:
        return self.crowds.has_room(waiter.pod.namespace, waiter.alike.policy)

    def _join_group(self, waiter: _Waiter) -> _Namespace:
        namespace = self._namespaces.setdefault(waiter.pod.namespace, _Namespace({}, set()))
        namespace.groups.setdefault(waiter.alike, {})[waiter.pod.uid] = waiter
        return namespace

    def _leave_group(self, namespace: _Namespace, waiter: _Waiter) -> None:
        group = namespace.groups[waiter.alike]
        del group[waiter.pod.uid]
        if not group:
            del namespace.groups[waiter.alike]
            namespace.settled.discard(waiter.alike)

    def _share(self, names: frozenset[str] | None) -> frozenset[str] | None:
        """The equal set of other waiting pods, if there is one."""
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
        """Make room for one more pod, and for its names unless another pod has an equal set. Gated
        pods are never forgotten: no call of filter would add them again."""
        while len(self._waiters) - self._gated >= self._bounds.pods:
            first = next(iter(self._waiters))
            if self._waiters[first].alike.gated:
                self._to_the_end(first)
            else:
                self._not_asked_for(first)
        if offered is None or offered in self._offered:
            return
        for waiter in self._waiters.values():
            if self._names + len(offered) <= self._bounds.names:
                break
            self._unshare(waiter.alike.offered)
            self._reclass(waiter, waiter.alike._replace(offered=None))

    def _forget_unasked(self, now: float) -> None:
        """Forget the pods that the scheduler no longer calls filter for."""
        gone = []
        for uid, waiter in self._waiters.items():
            if now - waiter.asked <= MEMORY_SECONDS:
                break
            gone.append(uid)
        for uid in gone:
            if self._waiters[uid].alike.gated:
                self._to_the_end(uid)
            else:
                self._not_asked_for(uid)

    def _to_the_end(self, uid: str) -> None:
        waiter = self._waiters[uid] = self._waiters.pop(uid)
        waiter.asked = self._clock()


def _names(alike: EquivalenceClass) -> int:
    """The cost that its nodes add to a decision."""
    if alike.gated:
        return 0  # `_ROUND_SECONDS` alone limits rounds of gated pods
    return _UNKNOWN_NAMES if alike.offered is None else len(alike.offered)


def _held(namespace: _Namespace, now: float) -> tuple[dict[UnitKey, Usage], int]:
    """What nudged pods hold in each unit, and how many nudges have no answer yet."""
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
    """Whether the scheduler, since its last call of filter, has refused the pod for other reasons
    than ours."""
    if not waiter.reasons or not pod.is_refused or pod.refusal == waiter.pod.refusal:
        return False
    # The status may still show the reasons of the call before: the scheduler writes it later.
    ours = waiter.reasons | waiter.reasons_before
    return not any(reason in pod.refusal for reason in ours)


def _urgency(waiter: _Waiter) -> tuple[int, int, str, str, str]:
    """The smallest comes first: fewest unanswered nudges, then highest priority, then oldest."""
    pod = waiter.pod
    return (waiter.nudges, -pod.priority, pod.created, pod.name, pod.uid)


def _most_urgent(group: Mapping[str, _Waiter], now: float) -> _Waiter | None:
    ready = (waiter for waiter in group.values() if waiter.may_be_nudged(now))
    return min(ready, key=_urgency, default=None)


def _line(group: Mapping[str, _Waiter], now: float) -> list[_Waiter]:
    """The pods of a group that may be nudged, the most urgent last."""
    ready = (waiter for waiter in group.values() if waiter.may_be_nudged(now))
    return sorted(ready, key=_urgency, reverse=True)


def _times_ahead(namespace: _Namespace, now: float) -> Iterator[float]:
    """The times when a nudged pod loses its slot, and when a pod's rest is over."""
    for group in namespace.groups.values():
        for waiter in group.values():
            if waiter.answer_by > now:
                yield waiter.answer_by
            elif waiter.rests_until > now:
                yield waiter.rests_until
