"""How long to wait before the next try."""

from random import Random


class Backoff:
    """An exponential backoff with full jitter, in seconds.

    The n-th wait is drawn from [0, first * 2**n], with `longest` as the upper bound. `random` is a
    parameter so that tests can predict the waits."""

    def __init__(self, first: float, longest: float, random: Random) -> None:
        self._first = first
        self._longest = longest
        self._random = random
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def next(self) -> float:
        ceiling = min(self._longest, self._first * 2 ** min(self._failures, 30))
        self._failures += 1
        return self._random.uniform(0, ceiling)
