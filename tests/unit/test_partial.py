"""What is left of objects that are made to break their reader."""

import json
import time
from random import Random
from typing import Any

import msgspec
import pytest

from spillover.api.kubernetes import PodObject
from spillover.api.partial import identity, shallow

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


@pytest.mark.parametrize("deep", ["[" * 200_000 + "]" * 200_000, "{}," * 400_000 + "{}"])
def test_what_would_take_long_is_cut_and_the_identity_kept(deep: str) -> None:
    raw = pod(deep)
    began = time.process_time()
    found = identity(raw)
    assert time.process_time() - began < 0.5  # some 10 ms; a busy machine is no reason to fail
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
