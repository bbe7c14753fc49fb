"""Label matching with the operators of node affinity.

Source: k8s.io/component-helpers/scheduling/corev1/nodeaffinity, k8s.io/apimachinery/pkg/labels.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from spillover.api.kubernetes import LabelSelector


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


def requirements_of(selector: LabelSelector | None) -> tuple[Requirement, ...]:
    """The conditions of a workload's selector. Raises ValueError for an unknown operator."""
    if selector is None:
        return ()
    labels = (selector.match_labels or {}).items()
    return (
        *(Requirement(key, Operator.IN, (value,)) for key, value in labels),
        *(
            Requirement(each.key, Operator(each.operator), tuple(each.values or ()))
            for each in selector.match_expressions or ()
        ),
    )


def lost(
    selector: Iterable[Requirement], before: Mapping[str, str], after: Mapping[str, str]
) -> frozenset[str]:
    """The keys of the conditions that `before` meets and `after` does not."""
    return frozenset(
        each.key for each in selector if each.matches(before) and not each.matches(after)
    )


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
    return wanted.items() <= labels.items()
