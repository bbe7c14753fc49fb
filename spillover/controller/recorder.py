"""Telling people by Events, but not too often.

The same about the same object is told once in the time that the API server keeps an Event; each
kind of object has a budget, so that a crowd of pods does not silence what is said of policies, and
each namespace has a share of it, so that no tenant silences the others.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from datetime import datetime
from hashlib import blake2b
from random import Random

from cachetools import LRUCache, TTLCache

from spillover.core.happenings import Happening
from spillover.kube.backoff import Backoff
from spillover.kube.events import Event, Regarding, Told, write_event
from spillover.kube.session import ApiSession

REPEAT_SECONDS = 3900.0
"""The API server keeps an Event for an hour and a minute at most: one of the same name is written
anew after that."""
BURST = 200
PER_SECOND = 10.0
"""Events about one kind of object, in the whole cluster."""
NAMESPACE_BURST = 50
NAMESPACE_PER_SECOND = 1.0
"""Events about one kind of object, in one namespace: a tenant cannot use up what is for all."""
_MOST_NAMESPACES = 10_000
_MOST_TOLD = 50_000
_TRIES = 3
_LOOK_SECONDS = 0.1
_LONGEST_NAME = 200
_ACTION = "Placing"

_log = logging.getLogger(__name__)


class Budget:
    """A bucket of tokens, `per_second` of which come back. `clock` gives seconds."""

    def __init__(self, burst: int, per_second: float, clock: Callable[[], float]) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._left = float(burst)
        self._at = clock()

    def take(self) -> bool:
        """Whether there was one."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Recorder:
    """`report` hears of each Event whether it was written, failed or dropped. `clock` gives
    seconds, `now` the wall clock."""

    def __init__(
        self,
        session: ApiSession,
        report: Callable[[str], None],
        clock: Callable[[], float],
        now: Callable[[], datetime],
        random: Random,
    ) -> None:
        self._session = session
        self._report = report
        self._now = now
        self._random = random
        self._told: TTLCache[str, bool] = TTLCache(_MOST_TOLD, REPEAT_SECONDS, clock)
        self._budgets = {
            kind: Budget(BURST, PER_SECOND, clock) for kind in ("Pod", "ResourcePolicy")
        }
        self._clock = clock
        self._of_namespaces: LRUCache[tuple[str, str], Budget] = LRUCache(_MOST_NAMESPACES)
        self._queue: deque[tuple[str, Event]] = deque()  # bounded by the budgets

    def __len__(self) -> int:
        """How many are to be written."""
        return len(self._queue)

    def record(self, regarding: Regarding, happening: Happening) -> None:
        """Takes no time: it is written later, if it is news and within the budget."""
        key = _digest(regarding.uid, happening.reason, happening.note)
        if key in self._told:
            return
        if len(self._queue) >= 2 * BURST or not self._may_tell(regarding):
            self._report("dropped")
            return
        self._told[key] = True
        event = Event(
            name=f"{regarding.name[:_LONGEST_NAME]}.{key}",
            regarding=regarding,
            reason=happening.reason,
            action=_ACTION,
            note=happening.note,
            is_warning=happening.is_trouble,
        )
        self._queue.append((key, event))

    def _may_tell(self, regarding: Regarding) -> bool:
        key = (regarding.kind, regarding.namespace)
        own = self._of_namespaces.get(key)
        if own is None:
            own = Budget(NAMESPACE_BURST, NAMESPACE_PER_SECOND, self._clock)
            self._of_namespaces[key] = own
        return own.take() and self._budgets[regarding.kind].take()

    def reset(self) -> None:
        """Before and after a term: what was not written is no news any more."""
        for key, _ in self._queue:
            self._told.pop(key, None)
        self._queue.clear()

    async def run(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            while self._queue:
                key, event = self._queue.popleft()
                told = False
                try:
                    told = await self._write(event)
                finally:
                    if not told:
                        self._told.pop(key, None)  # it may be told when it happens again
                self._report("written" if told else "failed")

    async def _write(self, event: Event) -> bool:
        backoff = Backoff(first=0.2, longest=2.0, random=self._random)
        for _ in range(_TRIES):
            told = await write_event(self._session, event, self._now())
            if told is not Told.LATER:
                return told is Told.WRITTEN
            await asyncio.sleep(backoff.next())
        return False


def _digest(*parts: str) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
