"""When something may be written again."""

from collections.abc import Callable, Hashable
from random import Random
from typing import Generic, TypeVar

import msgspec
from cachetools import LRUCache

_MOST_KEYS = 100_000
_FIRST_REST = 1.0
_LONGEST_REST = 60.0

K = TypeVar("K", bound=Hashable)


class Pace(Generic[K]):
    """Once in `seconds` for each key, and never twice at the same time; after a failure longer, and
    longer with each in a row. Writing the same again and again is a failure too: something takes it
    back. `clock` gives seconds. Bounded: the longest unused key is forgotten first."""

    def __init__(self, seconds: float, clock: Callable[[], float], random: Random) -> None:
        self._seconds = seconds
        self._clock = clock
        self._random = random
        self._next: LRUCache[K, float] = LRUCache(_MOST_KEYS)
        self._failures: LRUCache[K, int] = LRUCache(_MOST_KEYS)
        self._written: LRUCache[K, int] = LRUCache(_MOST_KEYS)
        self._busy: set[K] = set()

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._busy)

    def reset(self) -> set[K]:
        """Nothing is under way any more. Returns what was: it may not have been done."""
        busy, self._busy = self._busy, set()
        return busy

    def is_busy(self, key: K) -> bool:
        return key in self._busy

    def allows(self, key: K) -> bool:
        return key not in self._busy and self.rests(key) <= 0

    def rests(self, key: K) -> float:
        """For so many seconds; less than 0 if it does not."""
        return self._next.get(key, 0.0) - self._clock()

    def begin(self, key: K) -> None:
        """It waits for its turn."""
        self._busy.add(key)

    def wrote(self, key: K, what: object) -> None:
        """It is written. `what` is anything that msgspec encodes."""
        # From now on, not from when it was sent: it may have been long on its way.
        self._next[key] = self._clock() + self._seconds
        digest = hash(msgspec.json.encode(what))
        if self._written.get(key) == digest:
            self.failed(key)
            return
        self._written[key] = digest
        self._failures.pop(key, None)
        self._busy.discard(key)

    def needless(self, key: K) -> None:
        """It was as wanted when its turn came."""
        self._busy.discard(key)

    def failed(self, key: K) -> None:
        self._busy.discard(key)
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        rest = min(_LONGEST_REST, _FIRST_REST * 2 ** min(failures, 10))
        self._next[key] = self._clock() + rest * (0.5 + self._random.random())
