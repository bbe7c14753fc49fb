"""Writes the start of a pod's wait for nodes of a unit into an annotation of the pod, so that the
wait survives a restart of the extender."""

import asyncio
from random import Random

from spillover.controller.pod_writer import Outcome, PodWriter
from spillover.core.cache.attempts import Attempts
from spillover.core.model.pods import WAITING_ANNOTATION, Pod

_LOOK_SECONDS = 0.25
_REST_SECONDS = 2.0
"""The rest after a failed write: between this and twice this."""


class WaitMarks:
    """Writes each beginning of a wait once, and its end if the unit has reached a limit. Every
    write to a waiting pod makes the scheduler try the pod again."""

    def __init__(self, histories: Attempts, writer: PodWriter, random: Random) -> None:
        self._histories = histories
        self._writer = writer
        self._random = random

    async def run(self) -> None:
        """Looks for waits that are not written. Never returns."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            async with asyncio.TaskGroup() as writes:
                for pod, value in self._histories.unwritten():
                    writes.create_task(self._write(pod, value))

    async def _write(self, pod: Pod, value: str) -> None:
        outcome = await self._writer.annotate(pod, WAITING_ANNOTATION, value)
        if outcome is Outcome.FAILED:
            rest = _REST_SECONDS * (1 + self._random.random())
            self._histories.write_failed(pod.uid, rest)
        else:
            self._histories.wrote(pod.uid, value)
