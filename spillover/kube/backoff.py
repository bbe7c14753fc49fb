"""How long to wait before the next try."""

from random import Random


class Backoff:
    """Exponential with full jitter, in seconds: the n-th wait is drawn from [0, first * 2**n], with
    `longest` as the bound. `random` is passed in so that tests can foresee it."""

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
