"""Doubts about policies and what an edit would do."""

from typing import Any

import msgspec
import pytest

from builders import ack_policy, node, raw, virtual, vke_policy
from spillover.api import ack, vke
from spillover.api.kubernetes import ObjectMeta, TemplatedWorkload
from spillover.core.admission.warnings import MOST_WARNINGS, consequences, doubts
from spillover.core.admission.workload_labels import changed_keys, on_policy
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
    ],
)
def test_what_is_legal_and_doubtful(unit: dict[str, Any], doubt: str) -> None:
    assert ack_doubts(unit) == [doubt]


WAITS: dict[str, Any] = {**ECS, "podLabels": {MARKER: "true"}}


@pytest.mark.parametrize(
    ("unit", "label", "doubted"),
    [
        (WAITS, "", True),
        (WAITS, "goatscaler.io/managed", False),
        (WAITS, "karpenter.sh/nodepool", False),
        (WAITS, "cloud.google.com/gke-nodepool", False),
        ({**WAITS, "nodeSelector": {"karpenter.sh/nodepool": "spot"}}, "", False),
        ({**WAITS, "resource": "elastic"}, "", False),
    ],
)
def test_waiting_is_doubted_where_no_autoscaler_is_known(
    unit: dict[str, Any], label: str, *, doubted: bool
) -> None:
    index = NodeIndex(NodeConventions())
    index.put(Node("there", {label: "true"} if label else {}, ()))
    spec = {"selector": {"app": "app"}, "units": [unit]}
    found = doubts(raw("policy", spec), ack_policy(unit), (), index)
    assert any("no node of the cluster has a label of an autoscaler" in each for each in found) == (
        doubted
    )


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
    by_tier = ack_policy(ECS, name="by-tier", selector={"tier": "web"})
    narrower = ack_policy(ECS, name="narrower", selector={"app": "app", "tier": "web"})
    tail = "selects some of the same pods; the older of the two has all of these"
    assert ack_doubts(ECS, peers=(same, other, by_tier, narrower, looser, itself)) == [
        f"spec.selector: {vke.GROUP}/same {tail}",
        f"spec.selector: {ack.GROUP}/narrower {tail}",
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


def templated(name: str = "w", selector: dict[str, Any] | None = None, **labels: str) -> Any:
    spec = {
        "selector": selector or {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}},
    }
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, TemplatedWorkload)


def labelled(**labels: str) -> Policy:
    return ack_policy({**ECS, "podLabels": labels}, {"resource": "eci"})


def test_a_workload_is_told_of_labels_that_it_selects_by() -> None:
    app = templated(app="app", tier="any")
    assert changed_keys(app, labelled(tier="x")) == ["tier"]
    assert changed_keys(app, labelled(tier="any", more="y")) == []
    assert changed_keys(app, None) == []
    without = {
        "matchLabels": {"app": "app"},
        "matchExpressions": [{"key": "b", "operator": "DoesNotExist"}],
    }
    assert changed_keys(templated(selector=without, app="app"), labelled(b="x")) == ["b"]
    assert (
        changed_keys(templated(selector=without, app="app"), ack_policy({"resource": "acs"})) == []
    )


def test_a_policy_is_told_of_workloads_that_were_there_before() -> None:
    policy = labelled(tier="x")
    other = templated("other", app="other", tier="any")
    workloads = [templated(name, app="app", tier="any") for name in "abcdefg"]
    owned = templated("owned", app="app", tier="any")
    owned = msgspec.structs.replace(
        owned, metadata=msgspec.convert({"ownerReferences": [{"controller": True}]}, ObjectMeta)
    )
    (warning,) = on_policy(policy, [*workloads, other, owned])
    assert warning == (
        "the label tier of some units is not written to the pods of a, b, c, d, e and 2 more, whose"
        " selectors want another value"
    )


def test_a_policy_for_a_whole_namespace_is_doubted() -> None:
    assert ack_doubts(ECS, selector={}) == [
        "spec.selector: is empty: the policy has every pod of its namespace"
    ]
