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

LAST_PLACE = 200_000
"""Slots with a higher place count as beyond every maximum."""

_Limits = tuple[tuple[int | None, Decimal | None], ...]
"""`max` and `max_ratio` of each unit."""


class FillOrder:
    """The places of the units' slots. They are computed as far as somebody has asked for them."""

    def __init__(self, limits: _Limits) -> None:
        self._limits = [
            (most, Fraction(ratio) if ratio is not None else None) for most, ratio in limits
        ]
        self._places: list[list[int]] = [[] for _ in limits]
        self._size = 0

    def place(self, unit: int, number: int) -> int | None:
        """The place of the slot `number` (from 1) of the unit with this index. None if the unit
        never has so many slots."""
        places = self._places[unit]
        most = self._limits[unit][0]
        if most is not None and number > most:
            return None
        while len(places) < number and self._size < LAST_PLACE:
            self._grow()
        return places[number - 1] if len(places) >= number else None

    def number(self, unit: int, place: int) -> int | None:
        """The number of the unit's slot at this place, or None."""
        while self._size < min(place, LAST_PLACE):
            self._grow()
        places = self._places[unit]
        index = bisect_left(places, place)
        return index + 1 if index < len(places) and places[index] == place else None

    def _grow(self) -> None:
        """Adds the slots that one more pod fills."""
        self._size += 1
        left = self._size
        wanted = []
        for most, ratio in self._limits:
            cap = left
            if most is not None:
                cap = min(cap, most)
            if ratio is not None:
                cap = min(cap, self._size * ratio.numerator // ratio.denominator)
            wanted.append(cap)
            left -= cap
        missing = sum(wanted) - sum(map(len, self._places))
        for places, cap in zip(self._places, wanted, strict=True):
            while missing > 0 and len(places) < cap:
                places.append(self._size)
                missing -= 1


@lru_cache(maxsize=1024)
def _order(limits: _Limits) -> FillOrder:
    return FillOrder(limits)


def fill_order(policy: Policy) -> FillOrder:
    """One shared object for policies with the same limits."""
    return _order(tuple((unit.max, unit.max_ratio) for unit in policy.units))


def place_in(policy: Policy, unit: Unit, number: int) -> int | None:
    """The place of the slot `number` of the unit, or None beyond its maximum."""
    return fill_order(policy).place(policy.units.index(unit), number)
