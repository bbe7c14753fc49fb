"""Lets a task wait for a condition that another task may make true."""

import asyncio
from collections.abc import Callable


class Signal:
    """A signal that is notified of every change that may make a condition true."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def mark(self) -> asyncio.Event:
        """An event that is set by the next change."""
        return self._changed

    async def after(self, mark: asyncio.Event, seconds: float) -> None:
        """Returns when something has changed since `mark` was taken, or after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await mark.wait()
        except TimeoutError:
            return

    async def until(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Returns whether the condition is true, now or within `seconds`."""
        if condition():
            return True
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True
