"""Durations as Go writes them: `15m`, `1h30m`, `1.5s`."""

import re
from decimal import Decimal

_UNITS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_PART = r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)"
_DURATION = re.compile(rf"[-+]?(?:0|(?:{_PART})+)", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds in a Go duration. Raises ValueError for anything `time.ParseDuration` refuses."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration such as 30s, 15m or 1h30m")
    parts = re.findall(_PART, text, re.ASCII)
    total = sum((Decimal(number) * _UNITS[unit] for number, unit in parts), Decimal(0))
    return float(-total if text.startswith("-") else total)
