"""Doubts about policies and what an edit would do."""

from typing import Any

import pytest

from builders import ack_policy, node, raw, virtual, vke_policy
from spillover.api import ack, vke
from spillover.core.admission.warnings import MOST_WARNINGS, consequences, doubts, keys_set_by
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.nodes import Node, NodeIndex
from spillover.core.model.policy import Policy

ECS: dict[str, Any] = {"resource": "ecs"}
MARKER = "k8s.aliyun.com/resource-policy-wait-for-ecs-scaling"


def nodes() -> NodeIndex:
    index = NodeIndex(NodeConventions())
    for each in (
        node("plain", pool="a"),
        virtual("vk"),
        Node("scaled", {"goatscaler.io/managed": "true", "pool": "b"}, ()),
    ):
        index.put(each)
    return index


def ack_doubts(*units: dict[str, Any], peers: tuple[Policy, ...] = (), **spec: Any) -> list[str]:
    whole = {"selector": {"app": "app"}, "units": list(units), **spec}
    return doubts(raw("policy", whole), ack_policy(*units, **spec), peers, nodes())


def test_a_good_policy_raises_none() -> None:
    assert ack_doubts(ECS, {"resource": "elastic"}, {"resource": "eci", "max": 3}) == []


@pytest.mark.parametrize(
    ("unit", "doubt"),
    [
        ({**ECS, "max": 0}, "spec.units[0]: max 0 admits no pod"),
        ({**ECS, "nodeSelector": {"pool": "x"}}, "spec.units[0]: no node belongs to it now"),
        ({**ECS, "maxx": 1}, "spec.units[0].maxx: unknown field, which has no effect"),
        (
            {**ECS, "nodeSelector": {"pool": "a"}, "podLabels": {MARKER: "true"}},
            "spec.units[0]: pods wait for nodes here, and no autoscaler manages any of its nodes",
        ),
    ],
)
def test_what_is_legal_and_doubtful(unit: dict[str, Any], doubt: str) -> None:
    assert ack_doubts(unit) == [doubt]


def test_waiting_where_an_autoscaler_is_raises_none() -> None:
    marked = {"podLabels": {MARKER: "true"}}
    assert ack_doubts({**ECS, "nodeSelector": {"pool": "b"}, **marked}) == []
    assert ack_doubts({"resource": "elastic", **marked}) == []


def test_unknown_fields_are_found_at_every_level() -> None:
    spec: dict[str, Any] = {"extra": 1, "whenTryNextUnits": {"policy": "ExceedMax", "more": 2}}
    assert ack_doubts(ECS, **spec) == [
        "spec.extra: unknown field, which has no effect",
        "spec.whenTryNextUnits.more: unknown field, which has no effect",
    ]
    term = {"key": "type", "operator": "Exists", "x": 1}
    subset = {"name": "a", "type": "vci", "nodeSelectorTerm": [term]}
    whole = {"selector": {"app": "app"}, "subsets": [subset]}
    assert doubts(raw("policy", whole), vke_policy(subset), (), nodes()) == [
        "spec.subsets[0].nodeSelectorTerm[0].x: unknown field, which has no effect"
    ]


def test_overlaps_name_the_other_policy() -> None:
    same = vke_policy({"name": "a", "type": "vci"}, name="same")
    other = ack_policy(ECS, name="other", selector={"app": "another"})
    looser = ack_policy(ECS, name="looser", selector={})
    itself = ack_policy(ECS)
    tail = "may select the same pods; the older of the two has all of them"
    assert ack_doubts(ECS, peers=(same, other, looser, itself)) == [
        f"spec.selector: {vke.GROUP}/same {tail}",
        f"spec.selector: {ack.GROUP}/looser {tail}",
    ]


def test_warnings_have_a_bound() -> None:
    assert len(ack_doubts(*[{**ECS, "max": 0}] * 100)) == MOST_WARNINGS


def status(*assigned: int, generation: int = 0) -> dict[str, Any]:
    return {"observedGeneration": generation, "units": [{"assigned": n} for n in assigned]}


def test_an_edit_says_what_it_does_to_pods() -> None:
    before = ack_policy({**ECS, "max": 3}, {"resource": "eci"})
    now = status(3, 1)
    assert consequences(before, before, now) == []
    assert consequences(before, ack_policy({**ECS, "max": 1}, {"resource": "eci"}), now) == [
        "spec.units[0]: 2 pods would be above its max of 1; no pod is evicted"
    ]
    assert consequences(before, ack_policy({**ECS, "max": 3}), now) == ["1 pod would lose its unit"]
    labelled = ack_policy({**ECS, "podLabels": {"a": "b"}}, {"resource": "eci"})
    assert consequences(before, labelled, now) == ["3 pods would lose their unit"]


@pytest.mark.parametrize(
    "other",
    [None, {}, status(3, 1, generation=7), {"units": "many"}, {"units": [{"assigned": -1}]}],
)
def test_a_status_that_tells_nothing(other: dict[str, Any] | None) -> None:
    before = ack_policy({**ECS, "max": 3}, {"resource": "eci"})
    assert consequences(before, ack_policy({**ECS, "max": 1}), other) == []


def test_keys_that_policies_set() -> None:
    policy = ack_policy({**ECS, "podLabels": {"tier": "x", MARKER: "true"}}, {"resource": "acs"})
    assert keys_set_by([policy]) == {
        "tier": "policy",
        "alibabacloud.com/acs": "policy",
        "alibabacloud.com/compute-class": "policy",
        "alibabacloud.com/compute-qos": "policy",
    }
