"""Nudging: having the scheduler try a waiting pod again, by a change of an annotation.

Which pods, and when, is decided in `spillover.core.waiting`.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

from spillover.controller.decisions import audit
from spillover.controller.pod_writer import Outcome, PodWriter
from spillover.core.cache import SchedulingCache
from spillover.core.pods import Pod

NUDGE_ANNOTATION = "spillover.dev/nudge"
"""When the pod was nudged last, in RFC 3339. Only the change counts, not the value."""

_LOOK_SECONDS = 0.25
"""Also the time that a retry by the scheduler itself has to make the nudge needless."""


class Nudger:
    """`now` is the wall clock."""

    def __init__(
        self, cache: SchedulingCache, writer: PodWriter, now: Callable[[], datetime]
    ) -> None:
        self._cache = cache
        self._writer = writer
        self._now = now

    async def run(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            async with asyncio.TaskGroup() as writes:
                for pod in self._cache.due_nudges():
                    writes.create_task(self._nudge(pod))

    async def _nudge(self, pod: Pod) -> None:
        waiting = self._cache.waiting
        outcome = await self._writer.annotate(
            pod, NUDGE_ANNOTATION, self._now().isoformat(), lambda: waiting.holds(pod.uid)
        )
        match outcome:
            case Outcome.WRITTEN:
                where = {"namespace": pod.namespace, "pod": pod.name}
                audit.info("nudged", extra={**where, "reason": "filter has a place for it now"})
            case Outcome.GONE:
                waiting.forget(pod.uid)
            case Outcome.FAILED:
                waiting.not_nudged(pod.uid)
