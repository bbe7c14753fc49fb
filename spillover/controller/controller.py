"""The background tasks of the leader replica, next to its answers to the scheduler. A task that
fails because of a bug is restarted, and pods are still placed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from random import Random

from spillover.kube.backoff import Backoff

_STEADY_SECONDS = 60.0
"""A task that runs for this long resets the backoff of its restarts."""

_log = logging.getLogger(__name__)

Task = Callable[[], Awaitable[None]]


class Controller:
    """Runs the tasks of one term, and restarts a task that fails.

    `tasks` never return by themselves. `reset` is called before and after each term. `failed` is
    called with the name of a task that has failed. `clock` returns seconds."""

    def __init__(
        self,
        tasks: Mapping[str, Task],
        reset: Callable[[], None],
        failed: Callable[[str], None],
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._tasks = tasks
        self._reset = reset
        self._failed = failed
        self._clock = clock
        self._random = random

    async def run(self) -> None:
        """Runs the tasks for one term, until it is cancelled."""
        self._reset()
        try:
            async with asyncio.TaskGroup() as group:
                for name, task in self._tasks.items():
                    group.create_task(self._guard(name, task), name=name)
        finally:
            self._reset()

    async def _guard(self, name: str, task: Task) -> None:
        backoff = Backoff(first=1.0, longest=30.0, random=self._random)
        while True:
            begun = self._clock()
            try:
                await task()
            except Exception:  # noqa: BLE001 - a bug in a background task must not stop placement
                _log.exception("task failed", extra={"task": name})
                self._failed(name)
            if self._clock() - begun > _STEADY_SECONDS:
                backoff.reset()
            await asyncio.sleep(0.5 + backoff.next())
