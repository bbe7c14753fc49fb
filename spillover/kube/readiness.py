"""Whether what was read of the API server is complete and fresh."""

import asyncio
from collections.abc import Sequence
from typing import Any

from spillover.kube.reflector import Reflector


class Readiness:
    """Synced when every reflector has its first list; ready while none of them has lost touch."""

    def __init__(self, watches: Sequence[Reflector[Any]]) -> None:
        self._watches = watches

    def obstacle(self) -> str | None:
        """Why the service is not ready, or None."""
        for watch in self._watches:
            if not watch.synced.is_set():
                reason = f": {watch.trouble}" if watch.trouble else ""
                return f"the first list of {watch.path} is not complete{reason}"
            if watch.silence() > watch.limits.silence:
                reason = f": {watch.trouble}" if watch.trouble else ""
                return f"nothing heard of {watch.path} for {watch.silence():.0f} s{reason}"
        return None

    async def synced(self, seconds: float) -> bool:
        """Whether every first list is complete, now or within some seconds."""
        if all(watch.synced.is_set() for watch in self._watches):
            return True
        try:
            async with asyncio.timeout(seconds):
                for watch in self._watches:
                    await watch.synced.wait()
        except TimeoutError:
            return False
        return True
