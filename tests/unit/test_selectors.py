"""Operators of node selector terms, as in a node affinity."""

import pytest

from spillover.core.model.selectors import Operator, Requirement, includes, integer

LABELS = {"zone": "a", "cores": "8", "empty": "", "big": "9223372036854775808"}


@pytest.mark.parametrize(
    ("key", "operator", "values", "matches"),
    [
        ("zone", "In", ["a", "b"], True),
        ("zone", "In", ["b"], False),
        ("none", "In", ["a"], False),
        ("empty", "In", [""], True),
        ("zone", "NotIn", ["a"], False),
        ("zone", "NotIn", ["b"], True),
        ("none", "NotIn", ["a"], True),
        ("zone", "Exists", [], True),
        ("empty", "Exists", [], True),
        ("none", "Exists", [], False),
        ("zone", "DoesNotExist", [], False),
        ("none", "DoesNotExist", [], True),
        ("cores", "Gt", ["7"], True),
        ("cores", "Gt", ["8"], False),
        ("cores", "Lt", ["9"], True),
        ("cores", "Lt", ["8"], False),
        ("cores", "Lt", ["+9"], True),
        ("cores", "Gt", ["-1"], True),
        ("none", "Gt", ["1"], False),
        ("none", "Lt", ["1"], False),
        ("zone", "Gt", ["1"], False),
        ("empty", "Lt", ["1"], False),
        ("big", "Gt", ["1"], False),
    ],
)
def test_requirement(key: str, operator: str, values: list[str], *, matches: bool) -> None:
    assert Requirement(key, Operator(operator), tuple(values)).matches(LABELS) is matches


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0), ("-7", -7), ("+7", 7), ("007", 7),
        ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)),
        ("9223372036854775808", None), ("", None), ("-", None), ("1_000", None), ("1.0", None),
        (" 1", None), ("٣", None), ("²", None), (None, None), ("1" * 5000, None),
        ("0" * 30 + "7", 7), ("-" + "0" * 30, 0), ("+", None),
    ],
)  # fmt: skip
def test_integer_reads_what_go_reads(text: str | None, number: int | None) -> None:
    assert integer(text) == number


def test_includes() -> None:
    assert includes({"a": "1", "b": "2"}, {"a": "1"})
    assert includes({}, {})
    assert not includes({"a": "1"}, {"a": "2"})
    assert not includes({}, {"a": ""})
