"""A delaying work queue: each key is in the queue at most once, and is taken when it is due."""

import heapq
from collections.abc import Callable, Hashable
from itertools import count
from typing import Generic, TypeVar

_MOST_STALE = 64
"""Entries of the heap that are out of date, besides as many as there are keys."""

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """A delaying work queue. `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: dict[K, float] = {}
        # Sorted by due time; keys with the same time in the order of their arrival. An entry whose
        # time differs from the time in `_due` is out of date.
        self._heap: list[tuple[float, int, K]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._due)

    def add(self, key: K, after: float = 0.0) -> None:
        """The key is due in so many seconds, or earlier if it was due earlier."""
        at = self._clock() + max(0.0, after)
        if key in self._due and self._due[key] <= at:
            return
        self._due[key] = at
        heapq.heappush(self._heap, (at, next(self._numbers), key))
        if len(self._heap) > 2 * len(self._due) + _MOST_STALE:
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def take(self, most: int) -> list[K]:
        """Removes and returns the keys that are due, at most `most`, in the order of their due
        time."""
        now = self._clock()
        taken: list[K] = []
        while self._heap and self._heap[0][0] <= now and len(taken) < most:
            at, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == at:
                del self._due[key]
                taken.append(key)
        return taken

    def clear(self) -> None:
        self._due.clear()
        self._heap.clear()
