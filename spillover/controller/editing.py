"""Applies edits of policies that had to wait for their namespace's share of time."""

import asyncio

from spillover.core.cache.edits import PolicyEdits

_LOOK_SECONDS = 0.02


async def take_in_edits(edits: PolicyEdits) -> None:
    """Takes in pending edits, slice by slice: the service answers requests in between. Never
    returns."""
    while True:
        is_more = edits.take_in_due()
        await asyncio.sleep(0 if is_more else _LOOK_SECONDS)
