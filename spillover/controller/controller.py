"""The tasks of the replica that leads, beside its answers to the scheduler. If one of them fails by
a bug, it is begun anew: pods go on being placed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from random import Random

from spillover.kube.backoff import Backoff

_log = logging.getLogger(__name__)

Task = Callable[[], Awaitable[None]]


class Controller:
    """`tasks` never return by themselves. `begin` is called at the beginning of each term;
    `failed` hears the name of a task that has failed."""

    def __init__(
        self,
        tasks: Mapping[str, Task],
        begin: Callable[[], None],
        failed: Callable[[str], None],
        random: Random,
    ) -> None:
        self._tasks = tasks
        self._begin = begin
        self._failed = failed
        self._random = random

    async def run(self) -> None:
        """For one term, until cancelled."""
        self._begin()
        async with asyncio.TaskGroup() as group:
            for name, task in self._tasks.items():
                group.create_task(self._guard(name, task), name=name)

    async def _guard(self, name: str, task: Task) -> None:
        backoff = Backoff(first=1.0, longest=30.0, random=self._random)
        while True:
            try:
                await task()
            except Exception:  # noqa: BLE001 - a bug in what tells people must not stop placement
                _log.exception("task failed", extra={"task": name})
                self._failed(name)
            await asyncio.sleep(0.5 + backoff.next())
