"""Whether the data that the watches have read from the API server are complete and fresh."""

import asyncio
from collections.abc import Sequence
from typing import Any

from spillover.kube.reflector import Reflector

SYNC_SECONDS = 30.0
"""The length of one wait for the first lists, for callers that wait repeatedly."""


class Readiness:
    """The state of a service's watches. They are synced when every reflector has its first list.
    They are ready while, in addition, none of them has been silent for too long."""

    def __init__(self, watches: Sequence[Reflector[Any]]) -> None:
        self._watches = watches

    def obstacle(self) -> str | None:
        """The reason why the service is not ready, or None."""
        for watch in self._watches:
            if not watch.synced.is_set():
                reason = f": {watch.trouble}" if watch.trouble else ""
                return f"the first list of {watch.path} is not complete{reason}"
            if watch.silence() > watch.limits.silence:
                reason = f": {watch.trouble}" if watch.trouble else ""
                return f"nothing heard of {watch.path} for {watch.silence():.0f} s{reason}"
        return None

    def is_current(self) -> bool:
        """Whether every watch has caught up with the API server."""
        return all(watch.is_current() for watch in self._watches)

    async def synced(self, seconds: float) -> bool:
        """Returns whether every first list is complete, now or within `seconds`."""
        if all(watch.synced.is_set() for watch in self._watches):
            return True
        try:
            async with asyncio.timeout(seconds):
                for watch in self._watches:
                    await watch.synced.wait()
        except TimeoutError:
            return False
        return True
