"""Keeps long-lived objects out of the collections of Python's garbage collector."""

import asyncio
import gc
from collections.abc import Awaitable, Callable


async def freeze_when(synced: Callable[[], Awaitable[bool]]) -> None:
    """Freezes all objects that exist when the first lists are complete. Most of them live as long
    as the process, and each full collection would spend time on them again. Until then nothing is
    collected: the lists would set off one collection after another, which find next to nothing.
    Never returns."""
    gc.disable()
    while not await synced():
        pass
    gc.collect()
    gc.freeze()
    gc.enable()
    await asyncio.Event().wait()
