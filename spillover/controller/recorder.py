"""Writes Events for users, at a limited rate.

The recorder writes the same Event about the same object once in the time that the API server keeps
an Event. Each kind of object has a budget, so that Events about many pods do not suppress Events
about policies. Each namespace has its own budget, so that no tenant suppresses the Events of the
others.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from datetime import datetime
from hashlib import blake2b
from random import Random

from cachetools import LRUCache, TTLCache

from spillover.core.reporting.decision_events import DecisionEvent
from spillover.kube.backoff import Backoff
from spillover.kube.events import Event, Regarding, Told, write_event
from spillover.kube.session import ApiSession

REPEAT_SECONDS = 3900.0
"""The API server keeps an Event for at most an hour and a minute. After that, an Event of the same
name is written again."""
BURST = 200
PER_SECOND = 10.0
"""The budget of one kind of object in the whole cluster, in Events."""
NAMESPACE_BURST = 50
NAMESPACE_PER_SECOND = 1.0
"""The budget of one kind of object in one namespace, in Events. With it a tenant cannot use up the
budget of the cluster."""
_MOST_NAMESPACES = 10_000
_MOST_TOLD = 50_000
_TRIES = 3
_LOOK_SECONDS = 0.1
_LONGEST_NAME = 200
_ACTION = "Placing"

_log = logging.getLogger(__name__)


class Budget:
    """A token bucket of `burst` tokens that regains `per_second`. `clock` returns seconds."""

    def __init__(self, burst: int, per_second: float, clock: Callable[[], float]) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._left = float(burst)
        self._at = clock()

    def take(self) -> bool:
        """Takes one token. Returns False if there is none."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Recorder:
    """Writes Events about pods and policies within their budgets.

    `report` is called for each Event with "written", "failed" or "dropped". `clock` returns
    seconds, and `now` returns the time of the wall clock."""

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
        """The number of Events that wait to be written."""
        return len(self._queue)

    def record(self, regarding: Regarding, what: DecisionEvent) -> None:
        """Queues the Event if it is new and within the budget. `run` writes it later."""
        key = _digest(regarding.uid, what.reason, what.note)
        if key in self._told:
            return
        if len(self._queue) >= 2 * BURST or not self._may_tell(regarding):
            self._report("dropped")
            return
        self._told[key] = True
        event = Event(
            name=f"{regarding.name[:_LONGEST_NAME]}.{key}",
            regarding=regarding,
            reason=what.reason,
            action=_ACTION,
            note=what.note,
            is_warning=what.is_trouble,
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
        """Is called before and after a term. Drops queued Events: they are out of date."""
        for key, _ in self._queue:
            self._told.pop(key, None)
        self._queue.clear()

    async def run(self) -> None:
        """Writes queued Events. Never returns."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            while self._queue:
                key, event = self._queue.popleft()
                told = False
                try:
                    told = await self._write(event)
                finally:
                    if not told:
                        self._told.pop(key, None)  # the next such decision may be recorded again
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
