"""What is left of objects that are made to break their reader."""

import json
import time
from random import Random
from typing import Any

import msgspec
import pytest

from spillover.api.kubernetes import PodObject
from spillover.api.partial import elements, identity, is_deep, shallow
from spillover.kube.pages import page
from spillover.kube.reading import pod_in
from spillover.kube.session import NoAnswerError

METADATA = {
    "name": "one",
    "namespace": "tenant",
    "uid": "u-1",
    "resourceVersion": "7",
    "labels": {"app": 'quo"te\\', "brackets": "}]{["},
    "annotations": {"spillover.dev/unit": "eci-1"},
}


def pod(deep: str, *, spec: Any = None) -> bytes:
    """As an API server writes it, with `deep` as managedFields."""
    metadata = json.dumps(METADATA)[:-1] + f', "managedFields": [{deep}]}}'
    text = json.dumps(spec or {"nodeName": "node-1", "containers": []})
    return f'{{"kind": "Pod", "metadata": {metadata}, "spec": {text}}}'.encode()


@pytest.mark.parametrize("depth", [1, 47, 1_500, 9_990, 10_000])
def test_what_nobody_reads_may_be_nested_as_deep_as_it_likes(depth: int) -> None:
    raw = pod('{"f":' * depth + "0" + "}" * depth)
    found = msgspec.json.decode(shallow(raw), type=PodObject)
    assert found.metadata.name == "one"
    assert found.metadata.labels == METADATA["labels"]
    assert found.spec.node_name == "node-1"
    assert identity(raw).node == "node-1"


@pytest.mark.parametrize("deep", ["[" * 700_000 + "]" * 700_000, "{}," * 400_000 + "{}"])
def test_the_largest_object_keeps_its_identity_and_takes_a_moment(deep: str) -> None:
    raw = pod(deep)
    began = time.process_time()
    found = identity(raw)
    assert time.process_time() - began < 5  # some tenths; a busy machine is no reason to fail
    assert (found.namespace, found.name, found.uid, found.version) == ("tenant", "one", "u-1", 7)
    assert found.labels == METADATA["labels"]
    assert found.annotations == {"spillover.dev/unit": "eci-1"}


def test_ordinary_objects_stay_as_they_are() -> None:
    raw = pod("", spec={"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]})
    assert json.loads(shallow(raw)) == json.loads(raw)
    assert shallow(b'{"a": "\\u007d\\"}"}') == b'{"a": "\\u007d\\"}"}'


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{", b'{"metadata":{}}', b"null", b'{"metadata":{"name":1}}', b"}}}}", b"]"],
)
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, ValueError)):
        identity(raw)


def test_any_json_keeps_its_upper_levels() -> None:
    chance = Random(7)
    for _ in range(300):
        value = {"metadata": METADATA, "other": nested(chance, chance.randrange(120))}
        assert json.loads(shallow(json.dumps(value).encode())) == cut(value, 48)


def nested(chance: Random, depth: int) -> Any:
    if depth == 0:
        return chance.choice(["x", 1, None, '"', "\\", "{", "]", {}, []])
    inner = nested(chance, depth - 1)
    return chance.choice([[inner], {"k": inner}, [1, inner, "y"], {"a": "}", "b": inner}])


def cut(value: Any, levels: int) -> Any:
    if not isinstance(value, dict | list):
        return value
    if levels == 0:
        return None
    if isinstance(value, dict):
        return {key: cut(each, levels - 1) for key, each in value.items()}
    return [cut(each, levels - 1) for each in value]


def test_a_list_of_custom_resources_has_its_kind_last() -> None:
    """Unstructured objects are written with sorted keys."""
    deep = '{"f":' * 9_990 + "0" + "}" * 9_990
    bad = f'{{"apiVersion":"v1","metadata":{{"annotations":{{"a":{deep}}},"name":"bad"}}}}'
    good = '{"metadata":{"labels":{"items":"[x]"},"name":"good"}}'
    raw = (
        f'{{"apiVersion":"g/v1","items":[{bad},{good}],"kind":"ResourcePolicyList",'
        '"metadata":{"continue":"","resourceVersion":"7"}}'
    ).encode()
    found = page(raw)
    assert (found.kind, found.metadata.resource_version) == ("ResourcePolicyList", "7")
    assert [bytes(each) for each in found.items or ()] == [bad.encode(), good.encode()]
    assert elements(b'{"kind":"L","items":[],"metadata":{}}') == (
        [], b'{"kind":"L","items":[],"metadata":{}}'
    )  # fmt: skip


def test_many_labels_and_a_deep_field_leave_a_name() -> None:
    labels = ",".join(f'"k{number}":"v"' for number in range(26_000))
    deep = '{"f":' * 9_990 + "0" + "}" * 9_990
    raw = (
        f'{{"metadata":{{"labels":{{{labels}}},"managedFields":[{deep}],"name":"one",'
        '"namespace":"n","resourceVersion":"7","uid":"u"},"spec":{"nodeName":"node-1"},'
        '"status":{"phase":"Running"}}'
    ).encode()
    found = identity(raw)
    assert (found.name, found.version, found.node, len(found.labels)) == (
        "one",
        7,
        "node-1",
        26_000,
    )
    assert pod_in(raw).node == "node-1"


def test_a_deep_answer_is_read_wherever_a_pod_is_read() -> None:
    deep = '{"f":' * 9_990 + "0" + "}" * 9_990
    assert pod_in(pod(deep)).name == "one"
    with pytest.raises(NoAnswerError, match="not a pod"):
        pod_in(pod(deep, spec={"priority": "high"}))


def test_a_string_without_an_end_takes_no_time() -> None:
    """It took the square of its length: 45 kB held the webhook for ten seconds."""
    raw = b"[" * 5_000 + b'"' + rb"\"" * 500_000
    begun = time.process_time()
    shallow(raw)
    assert time.process_time() - begun < 5
    assert shallow(b'{"a": "x\\') == b'{"a": "x\\'


def test_what_is_deep_and_where() -> None:
    deep = b'{"f":' * 100 + b"0" + b"}" * 100
    both = b'{"request": {"operation": "object", "object": %s, "oldObject": %s}}'
    assert is_deep(both % (deep, b"{}"), b"object")
    assert not is_deep(both % (b"{}", deep), b"object")
    assert is_deep(both % (b"{}", deep), b"oldObject")
