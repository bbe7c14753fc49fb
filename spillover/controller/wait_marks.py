"""Writing down with a pod since when it waits for nodes of a unit, so that a restart finds it."""

import asyncio
from random import Random

from spillover.controller.pod_writer import Outcome, PodWriter
from spillover.core.histories import Histories
from spillover.core.pods import WAITING_ANNOTATION, Pod

_LOOK_SECONDS = 0.25
_REST_SECONDS = 2.0
"""After a failed write, and up to twice that."""


class WaitMarks:
    """Writes once for each wait: every write to a waiting pod has the scheduler try it again."""

    def __init__(self, histories: Histories, writer: PodWriter, random: Random) -> None:
        self._histories = histories
        self._writer = writer
        self._random = random

    async def run(self) -> None:
        """Never returns."""
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
