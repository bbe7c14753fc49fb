"""Policies that are too large, and texts that would act upon a terminal."""

import time
from typing import Any

import pytest

from spillover.api import ack, bounds, vke
from spillover.api.errors import FieldError, harmless
from spillover.core.dialects import load
from spillover.core.model.policy import InvalidPolicy, Policy

Object = dict[str, Any]


def policy(spec: Object) -> Object:
    return {"metadata": {"namespace": "n", "name": "p", "uid": "u"}, "spec": spec}


def units(*each: Object) -> Object:
    return {"selector": {"app": "a"}, "units": list(each)}


def subsets(*each: Object) -> Object:
    return {"selector": {"app": "a"}, "subsets": list(each)}


PAIRS = {f"k{number}": "v" for number in range(bounds.MOST_PAIRS + 1)}
LONG = "x" * (bounds.LONGEST_TEXT + 1)


@pytest.mark.parametrize(
    ("group", "spec", "path"),
    [
        (ack.GROUP, units(*[{"resource": "ecs"}] * 101), "spec.units"),
        (ack.GROUP, {"selector": PAIRS, "units": [{"resource": "ecs"}]}, "spec.selector"),
        (ack.GROUP, units({"resource": "ecs", "nodeSelector": PAIRS}),
         "spec.units[0].nodeSelector"),
        (ack.GROUP, units({"resource": "ecs", "podLabels": PAIRS}), "spec.units[0].podLabels"),
        (ack.GROUP, units({"resource": LONG}), "spec.units[0].resource"),
        (ack.GROUP, {**units({"resource": "ecs"}), "matchLabelKeys": ["a"] * 65},
         "spec.matchLabelKeys"),
        (vke.GROUP, subsets(*[{"name": "a", "type": "ecs"}] * 400_000), "spec.subsets"),
        (vke.GROUP, subsets({"name": "a" * 64, "type": "ecs"}), "spec.subsets[0].name"),
        (vke.GROUP, subsets({"name": "a\x1b[2J", "type": "ecs"}), "spec.subsets[0].name"),
        (vke.GROUP, subsets({"name": "a", "type": "ecs", "nodeSelectorTerm": [{}] * 33}),
         "spec.subsets[0].nodeSelectorTerm"),
        (vke.GROUP, subsets({"name": "a", "type": "ecs", "nodeSelectorTerm": [
            {"key": "k", "operator": "In", "values": ["v"] * 65}]}),
         "spec.subsets[0].nodeSelectorTerm[0].values"),
    ],
)  # fmt: skip
def test_what_is_too_large_is_named(group: str, spec: Object, path: str) -> None:
    loaded = load(policy(spec), group)
    assert isinstance(loaded, InvalidPolicy)
    assert [error.path for error in loaded.errors] == [path]


@pytest.mark.parametrize(
    "spec",
    [
        {"units": [{}] * 400_000},
        {"units": [{"resource": 7, "max": "x", "podLabels": {"a": 1}}] * 100},
        units(*[{"resource": "moon", "max": -1, "nodeSelector": {"!": "!"}}] * 100),
        {"selector": {f"k{n}": "v" for n in range(100_000)}},
        {"units": [[[[[[[[[[[[]]]]]]]]]]]]},
        {"units": "x" * 1_000_000},
    ],
    ids=["many", "wrong types", "wrong values", "a wide map", "nested", "long"],
)
def test_a_policy_with_many_faults_costs_little_and_tells_twenty(spec: Object) -> None:
    began = time.process_time()
    loaded = load(policy(spec), ack.GROUP)
    assert time.process_time() - began < 0.5  # some milliseconds; it was ten seconds
    assert isinstance(loaded, InvalidPolicy)
    assert 1 <= len(loaded.errors) <= bounds.MOST_ERRORS
    assert sum(len(str(error)) for error in loaded.errors) < 20_000


def test_a_policy_at_its_bounds_is_valid() -> None:
    pairs = {f"k{number}": "v" * 63 for number in range(bounds.MOST_PAIRS)}
    unit = {"resource": "ecs", "nodeSelector": pairs, "podLabels": pairs, "podAnnotations": pairs}
    loaded = load(policy(units(*[unit] * bounds.MOST_UNITS)), ack.GROUP)
    assert isinstance(loaded, Policy)
    assert len({unit.title for unit in loaded.units}) == bounds.MOST_UNITS
    assert all(len(unit.title) < 100 for unit in loaded.units)  # one is written for each node


def test_nothing_reaches_a_terminal_as_it_is() -> None:
    assert harmless("a\x1b[31mb\nc\x07\u202e") == "a\\x1b[31mb\nc\\x07\\u202e"
    assert harmless("ein Wort, 字") == "ein Wort, 字"
    assert str(FieldError("spec.\x1b]0;x", "no")) == "spec.\\x1b]0;x: no"


def test_fields_of_a_vendor_that_nobody_knows_have_no_bounds() -> None:
    more = {"future": {"x": [1] * 500, "y": PAIRS, "z": LONG}, "another": "x" * 5_000}
    loaded = load(policy({**units({"resource": "ecs", **more}), **more}), ack.GROUP)
    assert isinstance(loaded, Policy)
