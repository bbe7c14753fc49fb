"""Nudges: make the scheduler try a waiting pod again, by a change of an annotation or by removal of
our scheduling gate.

`spillover.core.cache.unschedulable` decides which pods are nudged, and when.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
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


_WRITES_OF_A_NAMESPACE = 4
"""Writes at once to pods of one namespace: a half of the writer's."""


@dataclass(slots=True)
class _Turn:
    """The writes to the pods of one namespace."""

    room: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(_WRITES_OF_A_NAMESPACE)
    )
    users: int = 0


class Nudger:
    """Writes the nudges that are due. `now` returns the time of the wall clock."""

    def __init__(
        self, scheduler: Scheduler, writer: PodWriter, now: Callable[[], datetime]
    ) -> None:
        self._scheduler = scheduler
        self._writer = writer
        self._now = now
        self._turns: dict[str, _Turn] = {}

    async def run(self) -> None:
        """Looks for due nudges and writes them. Never returns."""
        async with asyncio.TaskGroup() as writes:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                for pod in self._scheduler.due_nudges():
                    writes.create_task(self._nudge_in_turn(pod))

    async def _nudge_in_turn(self, pod: Pod) -> None:
        """Slow answers to writes in one namespace leave other namespaces their writes."""
        turn = self._turns.setdefault(pod.namespace, _Turn())
        turn.users += 1
        try:
            async with turn.room:
                await self._nudge(pod)
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[pod.namespace]

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
            case Outcome.GONE if not pod.is_gated:
                waiting.forget(pod.uid)
            case _:
                # The turn of the write came too late, or it failed. Nothing else takes a gate away:
                # if the pod is gone, the watch tells it.
                waiting.not_nudged(pod.uid)
