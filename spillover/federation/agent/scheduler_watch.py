"""Whether the member's scheduler decides, from what its pods say. Pure.

A pod of a federated workload that waits without an answer (no condition PodScheduled, or the reason
SchedulerError), while no pod at all gets a new answer, shows that the scheduler does not decide.
Pods with volumes or claims do not count: their binding may take minutes.

    such a pod, and no answer for 10 s ─▶ failing ─▶ a pod gets an answer ─▶ well
                                             │
                                             └─▶ no such pod any more ─▶ after a rest: on trial

On trial one replica may come back. If it gets no answer, the next rest is twice as long.
"""

from collections.abc import Callable, Container, Iterable

from spillover.core.model.pods import Pod

UNANSWERED_SECONDS = 10.0
_LONGEST_REST = 1800.0


class SchedulerWatch:
    """`rest` is the first rest in seconds. `clock` returns seconds."""

    def __init__(self, rest: float, clock: Callable[[], float]) -> None:
        self._first_rest = rest
        self._rest = rest
        self._clock = clock
        self._unanswered: dict[str, float] = {}
        """Since when each pod is seen without an answer."""
        self._answers: dict[str, tuple[str, str]] | None = None
        """The answer that each pod has: its node, and when its condition changed."""
        self._progressed = clock()
        """When a new answer was last seen."""
        self._failing_until: float | None = None
        """The end of the rest. None: the scheduler is well."""

    def is_on_trial(self) -> bool:
        """Whether the rest is over, and no pod has got an answer since."""
        return self._failing_until is not None and self._failing_until <= self._clock()

    def look(self, pods: Iterable[Pod], workloads: Container[str]) -> bool:
        """Takes in all live pods of our scheduler. `workloads` are the uids of pods of federated
        workloads. Returns whether the scheduler is failing."""
        now = self._clock()
        unanswered: dict[str, float] = {}
        answers: dict[str, tuple[str, str]] = {}
        for pod in pods:
            if pod.node or pod.is_refused:
                answers[pod.uid] = (pod.node, pod.since)
            elif pod.uid in workloads and not _has_reason_to_wait(pod):
                unanswered[pod.uid] = self._unanswered.get(pod.uid, now)
        before, self._answers, self._unanswered = self._answers, answers, unanswered
        if before is None:
            self._progressed = now
        elif any(before.get(uid) != answer for uid, answer in answers.items()):
            self._progressed = now
            self._failing_until, self._rest = None, self._first_rest
        if any(self._is_stuck(since, now) for since in unanswered.values()):
            if self.is_on_trial():
                self._rest = min(_LONGEST_REST, 2 * self._rest)
            self._failing_until = now + self._rest
        return self._failing_until is not None and now < self._failing_until

    def _is_stuck(self, since: float, now: float) -> bool:
        return now - max(since, self._progressed) >= UNANSWERED_SECONDS


def _has_reason_to_wait(pod: Pod) -> bool:
    return pod.slow_to_bind or pod.has_crowd_gate or pod.has_other_gates
