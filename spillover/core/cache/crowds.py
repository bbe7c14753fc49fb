"""Namespaces with so many waiting pods that pods of other namespaces would have to queue for long.

kube-scheduler has one queue for all namespaces, and retries a pod that an extender has rejected
after nearly any event. So the scheduler tries only some waiting pods of a namespace. Pods that are
created beyond these get a scheduling gate, and the scheduler does not try a gated pod:

    few wait ──more than `most`──▶ crowded: new pods are gated
       ▲                             │
       └── half as many, or fewer ◀──┘

A gate is removed when a decision would place the pod, or when a new node would help the pod:
autoscalers do not see gated pods. A gate is removed only while fewer than `most` pods of the
namespace take room, or while fewer than twice as many do and none of them is of the same policy. A
pod takes room while it seeks a node, and from the removal of its gate until it is placed or
deleted. A pod that filter has placed and that comes back, because it was not bound, takes room
until it is bound. Pods that the scheduler's own plugins refuse without a call of filter have a room
of their own, ten times as large. From time to time, one gate of a namespace is removed in any case
(see `spillover.core.cache.unschedulable`).
"""

from collections import Counter
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple, TypeVar

from spillover.core.model.policy import PolicyKey

CONDITION = "Crowded"
"""A condition of a policy's status. It tells the webhook which namespaces are crowded."""

MOST_TRIED = 10
"""Each tried pod costs the scheduler some milliseconds every 3 seconds (podMaxBackoffSeconds)."""


class Wait(Enum):
    """How a pod waits."""

    HELD = "held"
    """Only maxima keep the pod off every unit, or its policy is invalid: no node would help."""
    SEEKING = "seeking"
    """The pod seeks a node, or is in a timed wait, or its state is not known yet."""
    ELSEWHERE = "elsewhere"
    """The scheduler's own plugins refuse the pod, without a call of filter. The scheduler retries
    such a pod only after events that may help it."""
    GATED = "gated"
    """The scheduler does not try it."""


def told_by(status: object) -> bool:
    """Whether a policy's status says that its namespace is crowded. `status` may be any value."""
    conditions = status.get("conditions") if isinstance(status, Mapping) else None
    return any(
        isinstance(each, dict) and each.get("type") == CONDITION and each.get("status") == "True"
        for each in (conditions if isinstance(conditions, list) else ())
    )


_TIMES_ELSEWHERE = 10
"""So many times as many pods that only the scheduler's own plugins refuse may be tried."""

K = TypeVar("K")


class _Pod(NamedTuple):
    namespace: str
    policy: PolicyKey | None
    wait: Wait
    let_out: bool
    """The pod had a gate, and the extender has taken it away."""
    came_back: bool = False
    """Filter has placed the pod, and the scheduler has tried it again since."""

    @property
    def takes_room(self) -> bool:
        """A tenant can edit a policy so that its pods are held, and back: pods that were let out
        count all the time."""
        return self.wait is Wait.SEEKING or (self.let_out and self.wait is Wait.HELD)


class Crowds:
    """Counts waiting pods by namespace. A namespace with more than `most` of them is crowded."""

    def __init__(self, most: int = MOST_TRIED) -> None:
        self._most = most
        self._pods: dict[str, _Pod] = {}
        self._placed: dict[str, bool] = {}  # whether the placed pod was let out
        self._counts: dict[str, Counter[Wait]] = {}
        self._tried: Counter[str] = Counter()
        self._tried_of: Counter[tuple[str, PolicyKey | None]] = Counter()
        self._let_out: Counter[str] = Counter()
        self._crowded: set[str] = set()
        self._changed: set[str] = set()

    def count(self, uid: str, namespace: str, policy: PolicyKey | None, wait: Wait) -> None:
        """The pod is under this policy and waits in this way now."""
        before = self._pods.get(uid)
        was_gated = before is not None and (before.let_out or before.wait is Wait.GATED)
        now = _Pod(
            namespace,
            policy,
            wait,
            let_out=was_gated and wait is not Wait.GATED,
            came_back=before is not None and before.came_back,
        )
        if before == now:
            return
        if before is not None:
            self._add(before, -1)
        self._pods[uid] = now
        self._add(now, 1)
        self._judge(namespace)

    def tried(self, uid: str, namespace: str, policy: PolicyKey | None) -> None:
        """The scheduler calls filter for the pod. A pod that was placed before was not bound: from
        now on it takes room until it is bound."""
        if uid in self._placed:
            let_out = self._placed.pop(uid)
            self._pods[uid] = _Pod(namespace, policy, Wait.SEEKING, let_out, came_back=True)
            self._add(self._pods[uid], 1)
            self._judge(namespace)

    def placed(self, uid: str) -> None:
        """Filter has placed the pod. Its binding follows."""
        before = self._pods.get(uid)
        if before is None or not before.came_back:
            self.forget(uid)
            self._placed[uid] = before is not None and before.let_out

    def namespace_of(self, uid: str) -> str | None:
        """The namespace of a pod that is counted."""
        return self._pods[uid].namespace if uid in self._pods else None

    def forget(self, uid: str) -> None:
        """The pod no longer waits."""
        self._placed.pop(uid, None)
        before = self._pods.pop(uid, None)
        if before is not None:
            self._add(before, -1)
            self._judge(before.namespace)
            if not self._counts[before.namespace].total():
                del self._counts[before.namespace]

    def wait_of(self, uid: str) -> Wait:
        """SEEKING for a pod that is not known."""
        return self._pods[uid].wait if uid in self._pods else Wait.SEEKING

    def is_crowded(self, namespace: str) -> bool:
        return namespace in self._crowded

    def has_room(self, namespace: str, policy: PolicyKey | None) -> bool:
        """Whether the scheduler may try one more pod under this policy."""
        tried = self._tried[namespace]
        is_first = not self._tried_of[namespace, policy] and tried < 2 * self._most
        return (tried < self._most or is_first) and self._elsewhere(namespace) < 0

    def beyond(self, namespace: str) -> int:
        """How many pods more than there is room for have lost their gate and are tried. Pods that
        never had a gate do not count: they may be many before the webhook hears of the crowd."""
        out = self._let_out[namespace] - self._most
        return max(0, out) + max(0, self._elsewhere(namespace))

    def _elsewhere(self, namespace: str) -> int:
        """How many pods more than there is room for the scheduler's own plugins refuse. They are
        cheap, and yet a tenant could make them all pods that filter is asked for."""
        counts = self._counts.get(namespace)
        refused = counts[Wait.ELSEWHERE] if counts is not None else 0
        return refused - _TIMES_ELSEWHERE * self._most

    def is_let_out(self, uid: str) -> bool:
        """Whether the extender has taken the gate of this waiting pod away."""
        return uid in self._pods and self._pods[uid].let_out

    def clear(self) -> None:
        for uid in list(self._pods):
            self.forget(uid)
        self._placed.clear()

    def gated(self) -> int:
        """The number of gated pods in all namespaces."""
        return sum(counts[Wait.GATED] for counts in self._counts.values())

    def take_changed(self) -> set[str]:
        """Namespaces that have become crowded, or are no longer crowded, since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def _add(self, pod: _Pod, number: int) -> None:
        self._counts.setdefault(pod.namespace, Counter())[pod.wait] += number
        if pod.takes_room:
            self._add_tried(self._tried, pod.namespace, number)
            self._add_tried(self._tried_of, (pod.namespace, pod.policy), number)
            if pod.let_out:
                self._add_tried(self._let_out, pod.namespace, number)

    @staticmethod
    def _add_tried(counter: Counter[K], key: K, number: int) -> None:
        counter[key] += number
        if not counter[key]:
            del counter[key]

    def _judge(self, namespace: str) -> None:
        waiting = self._counts[namespace].total()
        if namespace not in self._crowded and waiting > self._most:
            self._crowded.add(namespace)
            self._changed.add(namespace)
        elif namespace in self._crowded and waiting <= self._most // 2:
            self._crowded.remove(namespace)
            self._changed.add(namespace)
