"""The order in which a fresh start fills the units of a policy with a ratio.

A fresh start of N pods fills the units in the policy's order, each up to its maximum for N
replicas. A slot that N pods fill and N - 1 pods do not has the place N. If pods are deleted from
the highest place on, then what is left at each size is a fresh start of that size. With two ratios
that grow at the same N, a fresh start of N pods does not contain the one of N - 1 pods. What is
left then differs from it by a pod or two in a unit.
"""

from bisect import bisect_left
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from spillover.core.model.policy import Policy, Unit

LAST_PLACE = 500_000
"""Slots with a higher place count as beyond every maximum."""
_MOST_ORDERS = 256

_Limits = tuple[tuple[int | None, Decimal | None], ...]
"""`max` and `max_ratio` of each unit."""


class FillOrder:
    """The places of the units' slots. They are computed as far as somebody has asked for them: at
    most one for each pod that was in the unit at a time."""

    def __init__(self, limits: _Limits) -> None:
        self._limits = [
            (most, Fraction(ratio) if ratio is not None else None) for most, ratio in limits
        ]
        self._places: list[list[int]] = [[] for _ in limits]
        self._ended = [False for _ in limits]

    def place(self, unit: int, number: int) -> int | None:
        """The place of the slot `number` (from 1) of the unit with this index. None if the unit
        never has so many slots."""
        places = self._places[unit]
        while len(places) < number and not self._ended[unit]:
            following = self._next(unit)
            if following is None:
                self._ended[unit] = True
            else:
                places.append(following)
        return places[number - 1] if len(places) >= number else None

    def number(self, unit: int, place: int, most: int) -> int | None:
        """Which of the unit's first `most` slots has this place, or None."""
        self.place(unit, most)
        places = self._places[unit]
        index = bisect_left(places, place, hi=min(most, len(places)))
        return index + 1 if index < len(places) and places[index] == place else None

    def _next(self, unit: int) -> int | None:
        """The smallest size, beyond the place before, at which a fresh start fills one slot more.
        Steps that double, and then a binary search."""
        wanted = len(self._places[unit]) + 1
        low = self._places[unit][-1] if self._places[unit] else 0
        step = 1
        while self._filled(unit, low + step) < wanted:
            if low + step >= LAST_PLACE:
                return None
            step *= 2
        high, low = low + step, low + step // 2
        while high - low > 1:
            middle = (low + high) // 2
            if self._filled(unit, middle) < wanted:
                low = middle
            else:
                high = middle
        return high

    def _filled(self, unit: int, size: int) -> int:
        """How many slots of the unit a fresh start of this size fills."""
        left = size
        for index, (most, ratio) in enumerate(self._limits):
            filled = left
            if most is not None:
                filled = min(filled, most)
            if ratio is not None:
                filled = min(filled, size * ratio.numerator // ratio.denominator)
            if index == unit:
                return filled
            left -= filled
        raise IndexError(unit)


@lru_cache(maxsize=_MOST_ORDERS)
def _order(limits: _Limits) -> FillOrder:
    return FillOrder(limits)


def fill_order(policy: Policy) -> FillOrder:
    """One shared object for policies with the same limits."""
    return _order(tuple((unit.max, unit.max_ratio) for unit in policy.units))


def place_in(policy: Policy, unit: Unit, number: int) -> int | None:
    """The place of the slot `number` of the unit, or None beyond its maximum."""
    return fill_order(policy).place(policy.units.index(unit), number)
