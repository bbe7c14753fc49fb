"""Kubernetes quantities: `500m`, `2`, `1Gi`, `1e3`, and all other forms that an API server stores.

Source: k8s.io/apimachinery/pkg/api/resource, ParseQuantity. It accepts more than its documentation
says: `.5`, `+`, `Ki`, `1e0003`, any number of digits. tests/cluster/test_quantities.py compares
this module with Kubernetes' parser.
"""

import re
from decimal import Decimal

MOST = 2**63 - 1
"""The largest absolute value, as in Go's Quantity.Value: the smallest value is `-MOST`."""

_BINARY = {f"{prefix}i": 10 * power for power, prefix in enumerate("KMGTPE", start=1)}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_QUANTITY = re.compile(
    r"(?P<sign>[-+]?)(?P<whole>[0-9]*)(?:\.(?P<part>[0-9]*))?"
    r"(?P<suffix>[eEinumkKMGTP]*[-+]?[0-9]*)"
)
_EXPONENT = re.compile(r"[eE](?P<number>[-+]?[0-9]+)")
_SPACE = " \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""The characters that Go's TrimSpace removes and that JSON can contain without an escape."""
_NANO = 9
_MOST_NANOS = MOST * 1_000_000_000
_FAST = 40
"""The exponent of `Ti` as a power of 2."""
_MOST_DIGITS = 20
"""Maximum number of digits before the point. A number with more digits is larger than `MOST`."""
_EXTRA_DIGITS = 60
"""Number of digits to keep below 10**-9 for a binary suffix. The factor of the suffix can make them
count: 2**60 has 19 digits."""
_LONGEST_SHOWN = 64


def parse_quantity(text: str | int) -> Decimal:
    """Returns the value of a quantity. The value is exact, with two exceptions: a fraction below
    10**-9 is rounded away from zero, and an absolute value above `MOST` becomes `MOST`. Raises
    ValueError for text that the API server refuses."""
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
    """Whether Kubernetes accepts the quantity. A quantity without any digit is 0 on the fast path
    of Kubernetes' parser, and an error on its slow path. The slow path is used for `Pi`, `Ei` and
    scales below 10**-9."""
    digits = match["whole"] or match["part"]
    return bool(digits) or (exponent <= _FAST if base == 2 else exponent >= -_NANO)


def _nanos(whole: str, part: str, base: int, exponent: int) -> int:
    """Returns `whole.part * base**exponent` in units of 10**-9, rounded up, and at most `MOST`."""
    digits = (whole + part).lstrip("0")
    if not digits:
        return 0
    # The value is 0.DIGITS * 10**point, times a power of 2 for a binary suffix.
    point = len(digits) - len(part) + (exponent if base == 10 else 0)
    factor = 1 << exponent if base == 2 else 1
    if point > _MOST_DIGITS:
        return _MOST_NANOS
    # Digits far behind the point count only as a whole: if one is not 0, the value is rounded up.
    kept = point + _NANO + (_EXTRA_DIGITS if base == 2 else 0)
    if kept <= 0:
        return 1
    number = int(digits[:kept] or "0") * factor
    if digits[kept:].strip("0"):
        number += 1
    shift = point + _NANO - min(kept, len(digits))
    ten = int(10 ** abs(shift))
    return min(_MOST_NANOS, number * ten if shift >= 0 else -(-number // ten))
