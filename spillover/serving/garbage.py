"""Keeps long-lived objects out of the collections of Python's garbage collector."""

import asyncio
import gc
from collections.abc import Awaitable, Callable

_LONGEST_SECONDS = 120.0


async def freeze_when(synced: Callable[[], Awaitable[bool]]) -> None:
    """Freezes all objects that exist when the first lists are complete. Most of them live as long
    as the process, and each full collection would spend time on them again. Until then nothing is
    collected, for two minutes at most: the lists would set off one collection after another, which
    find next to nothing. Never returns."""
    gc.disable()
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            while not await synced():
                pass
    except TimeoutError:
        gc.enable()
        while not await synced():
            pass
    finally:
        gc.enable()
    gc.collect()
    gc.freeze()
    await asyncio.Event().wait()
