"""Durations as Go writes them: `15m`, `1h30m`, `1.5s`."""

import re
from decimal import Decimal

_UNITS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "\u00b5s": Decimal("1e-6"),
    "\u03bcs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_PART = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)"
_LONGEST = 64
_LARGEST = Decimal(2**63 - 1) / 10**9  # Go counts nanoseconds in 64 bits
_DURATION = re.compile(rf"[-+]?(?:0|(?:{_PART})+)", re.ASCII)


def parse_duration(text: str) -> float:
    """Returns the seconds of a Go duration. Raises ValueError for text that `time.ParseDuration`
    refuses, and for text of more than 64 characters."""
    if len(text) > _LONGEST or not _DURATION.fullmatch(text):
        raise ValueError(f"{text[:_LONGEST]!r} is not a duration such as 30s, 15m or 1h30m")
    parts = re.findall(_PART, text, re.ASCII)
    total = sum((Decimal(number) * _UNITS[unit] for number, unit in parts), Decimal(0))
    if total > _LARGEST:
        raise ValueError(f"{text!r} is longer than 292 years")
    return float(-total if text.startswith("-") else total)
