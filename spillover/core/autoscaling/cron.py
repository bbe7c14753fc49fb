"""Cron expressions of five fields: minute, hour, day of month, month, day of week."""

import re
from dataclasses import dataclass
from datetime import datetime

LONGEST = 256
"""Most characters of an expression."""

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_PART = re.compile(
    r"(?:(\*|\?)|([0-9]{1,2}|[A-Z]{3})(?:-([0-9]{1,2}|[A-Z]{3}))?)(?:/([0-9]{1,2}))?"
)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """The minutes that an expression names."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    is_any_day: bool
    """Whether the day of month or the day of week is `*` or `?`."""

    @classmethod
    def parse(cls, text: str) -> "Cron":
        """Raises ValueError, which names the field at fault."""
        parts = text[:LONGEST].upper().split()
        if len(text) > LONGEST or len(parts) != len(_FIELDS):
            raise ValueError(
                "must have five fields: minute, hour, day of month, month and day of week"
            )
        minutes, hours, days, months, weekdays = map(_numbers, parts, _FIELDS)
        return cls(
            minutes,
            hours,
            days,
            months,
            frozenset(day % 7 for day in weekdays),
            is_any_day=parts[2][0] in "*?" or parts[4][0] in "*?",
        )

    def matches(self, time: datetime) -> bool:
        """Whether the minute of `time`, in the zone of the expression, is one of its minutes. If
        day of month and day of week are both restricted, one of them is enough, as for cron."""
        of_month, of_week = time.day in self.days, time.isoweekday() % 7 in self.weekdays
        is_day = of_month and of_week if self.is_any_day else of_month or of_week
        return (
            is_day
            and time.minute in self.minutes
            and time.hour in self.hours
            and time.month in self.months
        )


def _numbers(text: str, field: _Field) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{field.name}: {part[:40]!r} is no number, name, range or step")
        any_, low, high, step = match.groups()
        first = field.first if any_ else _number(low, field)
        last = first
        if high is not None:
            last = _number(high, field)
        elif any_ or step:
            last = field.last
        if field.names == _WEEKDAYS and last == 0 and first > 0:
            last = 7  # FRI-SUN
        if last < first:
            raise ValueError(f"{field.name}: {part[:40]!r} ends before it begins")
        if step is not None and int(step) == 0:
            raise ValueError(f"{field.name}: {part[:40]!r} has a step of 0")
        found.update(range(first, last + 1, int(step or 1)))
    return frozenset(found)


def _number(text: str, field: _Field) -> int:
    if text.isdigit():
        number = int(text)
    elif text in field.names:
        number = field.names.index(text) + (field.names == _MONTHS)
    else:
        raise ValueError(f"{field.name}: {text!r} is no name of it")
    if not field.first <= number <= field.last:
        raise ValueError(f"{field.name}: {number} is not from {field.first} to {field.last}")
    return number
