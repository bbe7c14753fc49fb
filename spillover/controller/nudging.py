"""Nudges: make the scheduler try a waiting pod again, by a change of an annotation or by removal of
our scheduling gate.

`spillover.core.cache.unschedulable` decides which pods are nudged, and when.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

from spillover.controller.audit import audit
from spillover.controller.pod_writer import Outcome, PodWriter
from spillover.core.model.pods import Pod
from spillover.core.scheduler import Scheduler

NUDGE_ANNOTATION = "spillover.dev/nudge"
"""The time of the pod's last nudge, in RFC 3339. Only the change has an effect; the value has
none."""

_LOOK_SECONDS = 0.25
"""A retry by the scheduler itself within this time makes the nudge unnecessary."""


class Nudger:
    """Writes the nudges that are due. `now` returns the time of the wall clock."""

    def __init__(
        self, scheduler: Scheduler, writer: PodWriter, now: Callable[[], datetime]
    ) -> None:
        self._scheduler = scheduler
        self._writer = writer
        self._now = now

    async def run(self) -> None:
        """Looks for due nudges and writes them. Never returns."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            async with asyncio.TaskGroup() as writes:
                for pod in self._scheduler.due_nudges():
                    writes.create_task(self._nudge(pod))

    async def _nudge(self, pod: Pod) -> None:
        waiting = self._scheduler.cluster.waiting

        def is_wanted() -> bool:
            return waiting.holds(pod.uid)

        outcome = await (
            self._writer.take_gate(pod, is_wanted)
            if pod.is_gated
            else self._writer.annotate(pod, NUDGE_ANNOTATION, self._now().isoformat(), is_wanted)
        )
        match outcome:
            case Outcome.WRITTEN:
                where = {"namespace": pod.namespace, "pod": pod.name}
                what, why = (
                    ("gate taken away", "it is to be tried now")
                    if pod.is_gated
                    else ("nudged", "filter has a place for it now")
                )
                audit.info(what, extra={**where, "reason": why})
            case Outcome.GONE:
                waiting.forget(pod.uid)
            case Outcome.FAILED:
                waiting.not_nudged(pod.uid)
            case Outcome.NEEDLESS if pod.is_gated:
                # The turn of the write came too late, and nothing else makes the scheduler try it.
                waiting.not_nudged(pod.uid)
