"""Runs all tasks of a service until one of them ends or the process is told to stop."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping

_log = logging.getLogger(__name__)


async def _nothing() -> None:
    pass


async def run_together(
    tasks: Mapping[str, Coroutine[object, object, None]],
    before_end: Callable[[], Awaitable[None]] = _nothing,
) -> int:
    """Runs the named tasks until SIGTERM or SIGINT, then awaits `before_end` and cancels the tasks.
    Returns the exit status: 0 after a signal, 1 if a task ended by itself. In the second case all
    other tasks are cancelled at once, because half a service is worse than none."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = [asyncio.create_task(task, name=name) for name, task in tasks.items()]
    told = asyncio.create_task(stop.wait(), name="signal")
    done, _ = await asyncio.wait([*running, told], return_when=asyncio.FIRST_COMPLETED)
    status = 0
    for task in done - {told}:
        status = 1
        _log.critical("task %s ended", task.get_name(), exc_info=task.exception())
    if status == 0:
        await before_end()
    for task in [*running, told]:
        task.cancel()
    await asyncio.gather(*running, told, return_exceptions=True)
    return status
