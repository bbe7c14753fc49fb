"""Limits how often each object is written."""

from collections.abc import Callable, Hashable
from random import Random
from typing import Generic, TypeVar

import msgspec
from cachetools import LRUCache

_MOST_KEYS = 100_000
_FIRST_REST = 1.0
_LONGEST_REST = 60.0

K = TypeVar("K", bound=Hashable)


class RateLimiter(Generic[K]):
    """Allows one write in `seconds` for each key, and never two writes of a key at the same time.

    After a failed write the key rests for longer, and each further failure in a row makes the rest
    longer. Writing the same content twice in a row is also a failure: something reverts the write.
    `clock` returns seconds. Memory is bounded: the least recently used key is forgotten first."""

    def __init__(self, seconds: float, clock: Callable[[], float], random: Random) -> None:
        self._seconds = seconds
        self._clock = clock
        self._random = random
        self._next: LRUCache[K, float] = LRUCache(_MOST_KEYS)
        self._least: LRUCache[K, float] = LRUCache(_MOST_KEYS)  # the earliest end of the rest
        self._hurried: set[K] = set()  # busy keys that `hurry` was called for
        self._failures: LRUCache[K, int] = LRUCache(_MOST_KEYS)
        self._written: LRUCache[K, int] = LRUCache(_MOST_KEYS)
        self._busy: set[K] = set()

    def __len__(self) -> int:
        """The number of busy keys: their write waits for its turn or is in flight."""
        return len(self._busy)

    def reset(self) -> set[K]:
        """Ends all busy keys without a result, and returns them: their writes may not have
        happened."""
        busy, self._busy = self._busy, set()
        self._hurried.clear()
        return busy

    def is_busy(self, key: K) -> bool:
        return key in self._busy

    def allows(self, key: K) -> bool:
        return key not in self._busy and self.rests(key) <= 0

    def rests(self, key: K) -> float:
        """The seconds until the rest of the key ends. Zero or negative: the key does not rest."""
        return self._next.get(key, 0.0) - self._clock()

    def begin(self, key: K) -> None:
        """Makes the key busy: its write waits for its turn."""
        self._busy.add(key)

    def hurry(self, key: K) -> None:
        """Cuts the rest of the key to the `seconds` of this limiter, unless the last write
        failed."""
        if key in self._failures:
            return
        self._next[key] = min(self._next.get(key, 0.0), self._least.get(key, 0.0))
        if key in self._busy:
            self._hurried.add(key)

    def wrote(self, key: K, what: object, seconds: float = 0.0) -> None:
        """Records a successful write. `what` is the content, anything that msgspec encodes.
        `seconds` is the rest that follows, if it is longer than the rest of this limiter."""
        # The rest begins now and not when the write was sent: the write may have taken long.
        now = self._clock()
        self._least[key] = now + self._seconds
        longer = now + (self._seconds if key in self._hurried else max(self._seconds, seconds))
        self._next[key] = longer
        digest = hash(msgspec.json.encode(what))
        if self._written.get(key) == digest:
            self.failed(key)
            self._next[key] = max(self._next[key], longer)
            return
        self._written[key] = digest
        self._failures.pop(key, None)
        self._end(key)

    def needless(self, key: K) -> None:
        """Records that no write was necessary when its turn came."""
        self._end(key)

    def _end(self, key: K) -> None:
        self._busy.discard(key)
        self._hurried.discard(key)

    def failed(self, key: K) -> None:
        self._end(key)
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        rest = min(_LONGEST_REST, _FIRST_REST * 2 ** min(failures, 10))
        self._next[key] = self._clock() + rest * (0.5 + self._random.random())
