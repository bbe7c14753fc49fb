"""Kubernetes quantities: `500m`, `2`, `1Gi`, `1e3`, and whatever else an API server stores.

Source: k8s.io/apimachinery/pkg/api/resource, ParseQuantity. It accepts more than its documentation
says: `.5`, `+`, `Ki`, `1e0003`, any number of digits. tests/cluster/test_quantities.py compares.
"""

import re
from decimal import Decimal

MOST = 2**63 - 1
"""The largest amount, as Go's Quantity.Value has it, and likewise the least."""

_BINARY = {f"{prefix}i": 10 * power for power, prefix in enumerate("KMGTPE", start=1)}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_QUANTITY = re.compile(
    r"(?P<sign>[-+]?)(?P<whole>[0-9]*)(?:\.(?P<part>[0-9]*))?"
    r"(?P<suffix>[eEinumkKMGTP]*[-+]?[0-9]*)"
)
_EXPONENT = re.compile(r"[eE](?P<number>[-+]?[0-9]+)")
_SPACE = " \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""What Go's TrimSpace removes, of what stands in JSON as it is."""
_NANO = 9
_MOST_NANOS = MOST * 1_000_000_000
_FAST = 40
"""The power of 2 of `Ti`."""
_MOST_DIGITS = 20
"""Before the point: more of them are more than the most."""
_EXTRA_DIGITS = 60
"""Kept below a thousand-millionth where a binary suffix makes them count: 2**60 has 19."""
_LONGEST_SHOWN = 64


def parse_quantity(text: str | int) -> Decimal:
    """The value of a quantity: exact, but for what is below a thousand-millionth, which is rounded
    away from zero, and for what is beyond `MOST`, which is `MOST`. Raises ValueError for what the
    API server refuses."""
    written = str(text).strip(_SPACE)
    match = _QUANTITY.fullmatch(written) if written else None
    scale = _scale(match["suffix"]) if match is not None else None
    if match is None or scale is None or not _is_read(match, *scale):
        raise ValueError(f"{written[:_LONGEST_SHOWN]!r} is not a quantity such as 500m, 2 or 4Gi")
    nanos = _nanos(match["whole"], match["part"] or "", *scale)
    return Decimal(-nanos if match["sign"] == "-" else nanos).scaleb(-_NANO)


def _scale(suffix: str) -> tuple[int, int] | None:
    """Base and exponent of a suffix."""
    if suffix in _DECIMAL:
        return 10, _DECIMAL[suffix]
    if suffix in _BINARY:
        return 2, _BINARY[suffix]
    match = _EXPONENT.fullmatch(suffix)
    if match is None:
        return None
    digits = match["number"].lstrip("+-").lstrip("0")
    if len(digits) > 19:  # beyond 64 bits
        return None
    number = int(digits or "0")
    number = -number if match["number"][0] == "-" else number
    if not -(2**63) <= number < 2**63:
        return None
    return 10, (number + 2**31) % 2**32 - 2**31  # Go keeps the lower 32 bits


def _is_read(match: re.Match[str], base: int, exponent: int) -> bool:
    """Without any digit it is 0, where Kubernetes takes the fast one of its two ways: not for `Pi`
    and `Ei`, nor below a thousand-millionth."""
    digits = match["whole"] or match["part"]
    return bool(digits) or (exponent <= _FAST if base == 2 else exponent >= -_NANO)


def _nanos(whole: str, part: str, base: int, exponent: int) -> int:
    """`whole.part * base**exponent` in thousand-millionths, rounded up; `MOST` at the most."""
    digits = (whole + part).lstrip("0")
    if not digits:
        return 0
    # The value is 0.DIGITS * 10**point, times a power of 2 for a binary suffix.
    point = len(digits) - len(part) + (exponent if base == 10 else 0)
    factor = 1 << exponent if base == 2 else 1
    if point > _MOST_DIGITS:
        return _MOST_NANOS
    # Of digits far behind the point only matters that there are some.
    kept = point + _NANO + (_EXTRA_DIGITS if base == 2 else 0)
    if kept <= 0:
        return 1
    number = int(digits[:kept] or "0") * factor
    if digits[kept:].strip("0"):
        number += 1
    shift = point + _NANO - min(kept, len(digits))
    ten = int(10 ** abs(shift))
    return min(_MOST_NANOS, number * ten if shift >= 0 else -(-number // ten))
