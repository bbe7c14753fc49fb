"""The annotation with the limits, whoever wrote it."""

import json

import pytest

from spillover.federation.kubeadmiral import is_valid, limits_of, with_limits


def entry(cluster: str, limit: object) -> dict[str, object]:
    return {"cluster": cluster, "limitedCapacity": limit}


def test_limits_are_read_as_they_are_written() -> None:
    text = with_limits({"b": 2, "a": 0})
    assert text == (
        '{"replicasMigrations":[{"cluster":"a","limitedCapacity":0},'
        '{"cluster":"b","limitedCapacity":2}]}'
    )
    assert limits_of(text) == {"a": 0, "b": 2}
    assert is_valid(text)


def test_no_limits_are_no_annotation() -> None:
    assert with_limits({}) is None
    assert limits_of(None) == {}
    assert is_valid(None)


@pytest.mark.parametrize(
    ("entries", "limits"),
    [
        ([entry("a", 3), entry("a", 6)], {"a": 6}),
        ([entry("a", -1)], {}),
        ([entry("a", "6")], {}),
        ([entry("a", True)], {}),
        ([{"limitedCapacity": 6}, 7, None], {}),
        ("none", {}),
        (None, {}),
    ],
)
def test_what_the_engine_refuses_is_left_out(entries: object, limits: dict[str, int]) -> None:
    text = json.dumps({"replicasMigrations": entries})
    assert limits_of(text) == limits
    assert not is_valid(text)


def test_what_else_the_annotation_has_stays() -> None:
    moved = '{"workloadMigrations":[{"cluster":"c"}]}'
    assert is_valid(moved)
    assert with_limits({}, moved) == moved
    both = with_limits({"a": 1}, moved)
    assert both is not None
    assert json.loads(both) == {
        "workloadMigrations": [{"cluster": "c"}],
        "replicasMigrations": [entry("a", 1)],
    }
    assert with_limits({}, both) == moved


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", "[" * 5000])
def test_what_is_no_configuration_has_no_limits(text: str) -> None:
    assert limits_of(text) == {}
    assert not is_valid(text)
