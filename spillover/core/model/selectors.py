"""Label matching with the operators of node affinity.

Source: k8s.io/component-helpers/scheduling/corev1/nodeaffinity, k8s.io/apimachinery/pkg/labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Operator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on labels."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()
    """Empty for Exists and DoesNotExist, one integer for Gt and Lt."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value in self.values
            case Operator.NOT_IN:
                return value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.DOES_NOT_EXIST:
                return value is None
            case Operator.GT | Operator.LT:
                return self._compares(value)

    def _compares(self, value: str | None) -> bool:
        number, bound = (integer(text) for text in (value, self.values[0]))
        if number is None or bound is None:
            return False
        return number > bound if self.operator is Operator.GT else number < bound


def integer(text: str | None) -> int | None:
    """Parses a signed 64-bit decimal integer as Go's ParseInt does. None for any other text."""
    if text is None or not text.isascii():
        return None
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isdigit() or len(digits.lstrip("0")) > 19:
        return None
    number = int(digits.lstrip("0") or "0") * (-1 if text[0] == "-" else 1)
    return number if -(2**63) <= number < 2**63 else None


def includes(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether `labels` has every pair of `wanted`."""
    return all(labels.get(key) == value for key, value in wanted.items())
