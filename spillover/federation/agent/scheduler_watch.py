"""Whether the member's scheduler decides, from what its pods say. Pure.

A pod that waits without an answer (no condition PodScheduled, or the reason SchedulerError) while
no other pod gets an answer either, shows that the scheduler does not decide.

    such a pod for 10 s ─▶ failing ─▶ a pod gets an answer ─▶ well
                              │
                              └─▶ no pod waits without an answer ─▶ after a rest: well, on trial

After the rest one replica may come back. If it gets no answer, the next rest is twice as long.
"""

from collections.abc import Callable, Iterable

from spillover.core.model.pods import Pod

UNANSWERED_SECONDS = 10.0
_LONGEST_REST = 1800.0
SCHEDULER_ERROR = "SchedulerError"
"""The reason in PodScheduled while the extender does not answer, or answers with an error."""


class SchedulerWatch:
    """`rest` is the first rest in seconds. `clock` returns seconds."""

    def __init__(self, rest: float, clock: Callable[[], float]) -> None:
        self._first_rest = rest
        self._rest = rest
        self._clock = clock
        self._unanswered: dict[str, float] = {}
        """Since when each pod is seen without an answer."""
        self._decided = ""
        """The time of the newest answer, as the API server writes it."""
        self._progressed = clock()
        """When a newer answer was last seen."""
        self._failing_until: float | None = None
        """The end of the rest. None: the scheduler is well."""

    def look(self, pods: Iterable[Pod]) -> bool:
        """Takes in all live pods of our scheduler. Returns whether the scheduler is failing."""
        now = self._clock()
        unanswered: dict[str, float] = {}
        newest = self._decided
        for pod in pods:
            if pod.node or pod.is_refused:
                newest = max(newest, pod.since)
            elif not (pod.has_crowd_gate or pod.has_other_gates):
                unanswered[pod.uid] = self._unanswered.get(pod.uid, now)
        self._unanswered = unanswered
        if newest > self._decided:
            self._decided, self._progressed = newest, now
            self._failing_until, self._rest = None, self._first_rest
        if any(self._is_stuck(since, now) for since in unanswered.values()):
            if self._failing_until is None or self._failing_until <= now:
                self._rest = (
                    min(_LONGEST_REST, 2 * self._rest) if self._is_on_trial() else self._rest
                )
            self._failing_until = now + self._rest
        return self._failing_until is not None and now < self._failing_until

    def _is_stuck(self, since: float, now: float) -> bool:
        return now - since >= UNANSWERED_SECONDS and self._progressed <= since

    def _is_on_trial(self) -> bool:
        return self._failing_until is not None
