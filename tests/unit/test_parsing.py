"""Quantities, durations and label rules, as the API server reads them."""

from decimal import Decimal

import pytest

from spillover.api.duration import parse_duration
from spillover.api.errors import field_path
from spillover.api.labels import annotation_errors, key_problem, label_errors, value_problem
from spillover.api.quantity import parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"), ("8", "8"), (8, "8"), ("500m", "0.5"), ("1.5", "1.5"), (".5", "0.5"),
        ("1.", "1"), ("4Gi", str(4 * 1024**3)), ("1Ki", "1024"), ("2k", "2000"), ("3E", "3e18"),
        ("1e3", "1000"), ("1E3", "1000"), ("1e-3", "0.001"), ("-1", "-1"), ("+1M", "1000000"),
        ("100n", "1e-7"), ("5u", "5e-6"), ("1Ei", str(1024**6)), ("1e0003", "1000"),
        ("0" * 70 + "1", "1"), (".", "0"), ("+", "0"), ("Ki", "0"), ("1 ", "1"), (".5Ki", "512"),
        ("1e-2147483648", "1e-9"), ("1e2147483647", str(2**63 - 1)), ("1e4294967297", "10"),
        ("1" * 8000, str(2**63 - 1)), ("0." + "0" * 8000 + "1", "1e-9"),
        ("-" + "9" * 30 + "Ei", str(-(2**63 - 1))), ("1.0000000001", "1.000000001"),
    ],
)  # fmt: skip
def test_quantity(text: str | int, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize(
    "text", ["", "x", "1\t", "1K", "1ki", "1e", "1.2.3", "--1", "1mm", "٣", "1 0", "1" * 8000 + "!"]
)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0), ("30s", 30), ("15m", 900), ("1h30m", 5400), ("1.5s", 1.5), (".5s", 0.5),
        ("300ms", 0.3), ("1\u00b5s", 1e-6), ("1\u03bcs", 1e-6), ("2562047h47m16s", 9223372036),
        ("-1s", -1), ("+2s", 2), ("1us", 1e-6), ("2ns", 2e-9),
    ],
)  # fmt: skip
def test_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "30", "s", "1d", "1 s", "1s2", "-", "1h-2m", "٣s", "1" * 8000 + "!", "9" * 70 + "s"],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    "key", ["a", "a.b_c-d", "A9", "example.com/a", "a.b.c/x", "x" * 63, "1/2", f"{'a' * 63}.io/x"]
)
def test_label_key(key: str) -> None:
    assert key_problem(key) is None


@pytest.mark.parametrize(
    "key",
    ["", "/", "a/", "/a", "a/b/c", "-a", "a-", "a b", "x" * 64, "Example.com/a", "a_b.c/x", "ä",
     "a\n", f"{'a' * 254}/x"],
)  # fmt: skip
def test_what_is_no_label_key(key: str) -> None:
    assert key_problem(key) is not None


@pytest.mark.parametrize("value", ["", "a", "a.b", "A-b_c.9", "x" * 63])
def test_label_value(value: str) -> None:
    assert value_problem(value) is None


@pytest.mark.parametrize("value", ["-", "a-", ".a", "a/b", "a b", "x" * 64, "é"])
def test_what_is_no_label_value(value: str) -> None:
    assert value_problem(value) is not None


def test_errors_name_the_field() -> None:
    errors = list(label_errors("spec.podLabels", {"fine": "yes", "bad key": "x", "v": "a b"}))
    assert [error.path for error in errors] == ["spec.podLabels", "spec.podLabels[v]"]
    assert "'bad key'" in errors[0].message


def test_annotations_may_have_any_value_and_keys_in_any_case_up_to_256_kib() -> None:
    assert not list(annotation_errors("a", {"Example.com/Key": "any thing\n{}"}))
    assert [error.path for error in annotation_errors("a", {"k": "x" * 262_144})] == ["a"]
    assert not list(annotation_errors("a", {"k": "x" * 262_143}))


def test_a_duration_that_go_cannot_hold() -> None:
    with pytest.raises(ValueError, match="longer than 292 years"):
        parse_duration("2562048h")


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("spillover.dev/unit", "x", "is Spillover's own"),
        ("seccomp.security.alpha.kubernetes.io/pod", "foo", "cannot be set on a pod that exists"),
        ("kubernetes.io/config.mirror", "x", "cannot be set on a pod that exists"),
        ("controller.kubernetes.io/pod-deletion-cost", "x", "'x' is not a 9-digit integer"),
        ("controller.kubernetes.io/pod-deletion-cost", "+1", "'+1' is not a 9-digit integer"),
    ],
)
def test_annotations_that_would_break_the_pod(key: str, value: str, problem: str) -> None:
    assert list(map(str, annotation_errors("a", {key: value}))) == [f"a[{key}]: {problem}"]
    assert not list(annotation_errors("a", {"controller.kubernetes.io/pod-deletion-cost": "-100"}))


def test_field_path() -> None:
    assert field_path(("spec", "units", 0, "max")) == "spec.units[0].max"
