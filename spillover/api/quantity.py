"""Kubernetes quantities: `500m`, `2`, `1Gi`, `1e3`.

Source: k8s.io/apimachinery/pkg/api/resource.
"""

import re
from decimal import Decimal

_BINARY = {f"{prefix}i": Decimal(1024) ** power for power, prefix in enumerate("KMGTPE", start=1)}
_DECIMAL = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal("1e3"),
    "M": Decimal("1e6"),
    "G": Decimal("1e9"),
    "T": Decimal("1e12"),
    "P": Decimal("1e15"),
    "E": Decimal("1e18"),
}
_LONGEST = 64
_SUFFIXES = _BINARY | _DECIMAL
_QUANTITY = re.compile(
    r"(?P<number>[-+]?(?:\d+(?:\.\d*)?|\.\d+))(?:[eE](?P<exponent>[-+]?\d{1,3})|(?P<suffix>[KMGTPE]i|[numkMGTPE]?))",
    re.ASCII,
)


def parse_quantity(text: str | int) -> Decimal:
    """The value of a quantity, to 28 digits. Raises ValueError for what the API server refuses, and
    for more than 64 characters."""
    written = str(text)
    match = _QUANTITY.fullmatch(written) if len(written) <= _LONGEST else None
    if match is None:
        raise ValueError(f"{written[:_LONGEST]!r} is not a quantity such as 500m, 2 or 4Gi")
    number = Decimal(match["number"])
    if match["exponent"] is not None:
        return number.scaleb(int(match["exponent"]))
    return number * _SUFFIXES[match["suffix"]]
