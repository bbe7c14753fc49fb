"""PromQL from templates."""

from pathlib import Path

import pytest

from spillover.ahpa.queries import BUILT_IN, QueryError, read_queries
from spillover.ahpa.workloads import pods_of


def test_the_query_of_gpus() -> None:
    assert BUILT_IN["gpu"].expression("default", "bert-1-[a-z0-9]{5}") == (
        'label_replace(sum(avg by (pod) (DCGM_FI_DEV_GPU_UTIL{namespace="default",'
        'pod=~"bert-1-[a-z0-9]{5}"})), "spillover_part", "load", "", "") or '
        "label_replace(count(count by (pod) (DCGM_FI_DEV_GPU_UTIL{"
        'namespace="default",pod=~"bert-1-[a-z0-9]{5}"})), "spillover_part", "pods", "", "")'
    )


def test_nothing_of_a_name_leaves_its_quotes() -> None:
    expression = BUILT_IN["gpu"].expression('a"b', "x\\.y\n")
    assert 'namespace="a\\"b",pod=~"x\\\\.y\\n"' in expression


def test_pods_of_a_deployment_are_those_of_its_replica_sets() -> None:
    assert pods_of("Deployment", "a", ["a-1", "a-2"]) == "a-1-[a-z0-9]{5}|a-2-[a-z0-9]{5}"
    assert pods_of("Deployment", "a", []) == ""
    assert pods_of("StatefulSet", "a.b", []) == "a\\.b-[0-9]+"
    assert pods_of("ReplicaSet", "a", []) == "a-[a-z0-9]{5}"
    long = "x" * 80
    assert pods_of("ReplicaSet", long, []) == "x" * 58 + "[a-z0-9]{5}"


def test_a_file_replaces_and_adds(tmp_path: Path) -> None:
    file = tmp_path / "queries.yaml"
    file.write_text(
        "gpu: {load: 'sum(a{{n=\"{namespace}\"}})', pods: count(b), capacity: 100}\n"
        "queue: {load: sum(c), pods: count(d)}\n"
    )
    found = read_queries(file)
    assert 'sum(a{n="x"})' in found["gpu"].expression("x", "y")
    assert found["gpu"].capacity == 100
    assert found["queue"].capacity is None
    assert "cpu" in found
    file.write_text("")
    assert read_queries(file) == BUILT_IN


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "is no map from the name"),
        ("a: 5", "a: is no map with load and pods"),
        ("a: {load: x}", "a.pods: is required"),
        ("a: {load: x, pods: y, more: z}", "a: has unknown fields: more"),
        ("a: {load: 'x{n=\"{namespace}\"}', pods: y}", "a.load: "),
        ("a: {load: '{name}', pods: y}", r"a.load: \{name\} is not one of"),
        ("a: {load: '{', pods: y}", "a.load: "),
        ("a: {load: x, pods: y, capacity: 0}", "a.capacity: must be a number above 0"),
        (": :", "queries.yaml: "),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "queries.yaml"
    file.write_text(text)
    with pytest.raises(QueryError, match=problem):
        read_queries(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"queries\.yaml"):
        read_queries(tmp_path / "queries.yaml")
