"""Both dialects become one model; whatever contradicts itself is named, all at once."""

from decimal import Decimal
from math import inf
from typing import Any

import pytest

from builders import ack_errors, ack_policy, raw, vke_errors, vke_policy
from spillover.api import ack
from spillover.core.dialects import load
from spillover.core.dialects.ack import WAIT_FOR_SCALING_MARKER
from spillover.core.model.policy import (
    InvalidPolicy,
    NodeKind,
    NodePool,
    Policy,
    PolicyKey,
    Preempt,
)
from spillover.core.model.selectors import Operator, Requirement

ECS = {"resource": "ecs"}
VCI = {"name": "vci", "type": "vci"}


def test_ack_in_full() -> None:
    policy = ack_policy(
        {
            "resource": "ecs",
            "nodeSelector": {"pool": "prepaid", "gpu": "a100"},
            "max": 3,
            "maxResources": {"cpu": 8, "nvidia.com/gpu": "4"},
            "podLabels": {
                "tier": "base",
                "k8s.aliyun.com/resource-policy-wait-for-ecs-scaling": "true",
            },
            "podAnnotations": {"note": "any thing"},
        },
        {"resource": "elastic"},
        {"resource": "eci", "max": 0},
        {"resource": "acs"},
        strategy="prefer",
        ignorePreviousPod=True,
        ignoreTerminatingPod=False,
        matchLabelKeys=["pod-template-hash"],
        whenTryNextUnits={"policy": "TimeoutOrExceedMax", "timeout": "30s"},
        preemptPolicy="BeforeNextUnit",
    )
    first, elastic, eci, acs = policy.units
    assert policy.key == PolicyKey("scheduling.alibabacloud.com", "ns", "policy")
    assert policy.selector == {"app": "app"}
    assert not policy.open
    assert policy.ignore_previous_pod
    assert not policy.ignore_terminating_pod
    assert policy.match_label_keys == ("pod-template-hash",)
    assert [unit.patience_seconds for unit in policy.units] == [30, 0, 30, 0]
    assert not policy.awaits_terminating
    assert policy.preempt is Preempt.BEFORE_NEXT_UNIT
    assert first.pool == NodePool(
        NodeKind.REAL,
        (
            Requirement("gpu", Operator.IN, ("a100",)),
            Requirement("pool", Operator.IN, ("prepaid",)),
        ),
    )
    assert (first.title, first.max) == ("ecs", 3)
    assert first.max_resources == {"cpu": 8000, "nvidia.com/gpu": 4}
    assert first.pod_labels == {"tier": "base"}
    assert [unit.defaults_of_acs for unit in policy.units] == [False, False, False, True]
    assert first.pod_annotations == {"note": "any thing"}
    assert elastic.pool == NodePool(NodeKind.ELASTIC)
    assert (eci.pool, eci.max, acs.pool) == (
        NodePool(NodeKind.VIRTUAL),
        0,
        NodePool(NodeKind.VIRTUAL),
    )


def test_ack_defaults() -> None:
    policy = load(raw("policy", {"units": [ECS]}), ack.GROUP)
    assert isinstance(policy, Policy)
    assert policy.selector == {}
    assert policy.units[0].patience_seconds == 0
    assert not policy.awaits_terminating
    assert policy.preempt is Preempt.AFTER_ALL_UNITS
    assert policy.ignore_terminating_pod
    assert not policy.ignore_previous_pod
    assert policy.units[0].max is None


MARKED = {"podLabels": {"k8s.aliyun.com/resource-policy-wait-for-ecs-scaling": "true"}}


@pytest.mark.parametrize(
    ("policy", "unit", "seconds"),
    [
        (None, {"max": 1}, 0),
        ("LackResourceOrExceedMax", {"max": 1}, 0),
        ("LackResourceAndNoTerminating", {"max": 1}, 0),
        ("ExceedMax", {}, 0),
        ("ExceedMax", {"max": 1}, inf),
        ("ExceedMax", {"maxResources": {"cpu": 1}}, inf),
        ("TimeoutOrExceedMax", {}, 0),
        ("TimeoutOrExceedMax", {"max": 1}, 900),
        ("TimeoutOrExceedMax", {"maxResources": {"cpu": 1}}, 900),
        (None, MARKED, 900),
        ("ExceedMax", MARKED, 900),
        ("ExceedMax", {"max": 1, **MARKED}, 900),
        ("TimeoutOrExceedMax", MARKED, 900),
        (None, {"podLabels": {"k8s.aliyun.com/resource-policy-wait-for-ecs-scaling": "no"}}, 0),
    ],
)
def test_how_long_a_unit_of_ack_waits_for_nodes(
    policy: str | None, unit: dict[str, Any], seconds: float
) -> None:
    loaded = ack_policy({**ECS, **unit}, whenTryNextUnits={"policy": policy})
    assert loaded.units[0].patience_seconds == seconds
    assert loaded.awaits_terminating == (policy == "LackResourceAndNoTerminating")
    assert loaded.units[0].pod_labels == {}


def test_null_is_absent() -> None:
    spec = {"selector": None, "strategy": None, "units": [{**ECS, "max": None, "podLabels": None}]}
    assert isinstance(load(raw("policy", spec), ack.GROUP), Policy)


def test_vke_in_full() -> None:
    policy = vke_policy(
        {
            "name": "base",
            "type": "ecs",
            "maxReplicas": 2,
            "maxReplicasRatio": "0.5",
            "whenNotReachMax": "DoNotSchedule",
            "nodeSelectorTerm": [
                {"key": "pool", "operator": "NotIn", "values": ["a", "b"]},
                {"key": "gpu", "operator": "Exists"},
            ],
        },
        VCI,
        strategy="require",
    )
    base, vci = policy.units
    assert (base.identity, base.title, base.max, base.max_ratio) == (
        "base",
        "base",
        2,
        Decimal("0.5"),
    )
    assert base.patience_seconds == inf
    assert base.pool == NodePool(
        NodeKind.REAL,
        (
            Requirement("pool", Operator.NOT_IN, ("a", "b")),
            Requirement("gpu", Operator.EXISTS),
        ),
    )
    assert (vci.pool, vci.max, vci.patience_seconds) == (NodePool(NodeKind.VIRTUAL), None, 0)
    assert not policy.open


@pytest.mark.parametrize(
    ("strategy", "is_open"), [(None, True), ("prefer", True), ("require", False)]
)
def test_vke_prefer_is_open(strategy: str | None, *, is_open: bool) -> None:
    assert vke_policy(VCI, strategy=strategy).open is is_open


def test_identity_survives_a_new_maximum_and_a_new_order() -> None:
    a, b = {**ECS, "nodeSelector": {"pool": "a"}}, {**ECS, "nodeSelector": {"pool": "b"}}
    before = [unit.identity for unit in ack_policy({**a, "max": 1}, b).units]
    after = [unit.identity for unit in ack_policy(b, {**a, "max": 9}).units]
    assert before == after[::-1]
    assert len(set(before)) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"resource": "elastic"},
        {**ECS, "nodeSelector": {"a": "b"}},
        {**ECS, "podLabels": {"a": "b"}},
        {**ECS, "podAnnotations": {"a": "b"}},
    ],
)
def test_identity_is_what_makes_a_unit_what_it_is(other: dict[str, Any]) -> None:
    first, second = ack_policy(ECS, other).units
    assert first.identity != second.identity


def test_the_wait_marker_is_no_part_of_the_identity() -> None:
    (plain,), (marked,) = (
        ack_policy({**ECS, "podLabels": labels}).units
        for labels in ({"a": "b"}, {"a": "b", WAIT_FOR_SCALING_MARKER: "true"})
    )
    assert plain.identity == marked.identity


def test_equal_units_get_ordinals() -> None:
    identities = [unit.identity for unit in ack_policy(ECS, ECS, ECS).units]
    assert identities[1:] == [f"{identities[0]}-2", f"{identities[0]}-3"]


def test_titles_say_as_much_as_is_needed() -> None:
    pool = {"nodeSelector": {"pool": "a", "gpu": "x"}}
    policy = ack_policy({**ECS, **pool}, {**ECS, **pool}, ECS, {"resource": "eci", **pool})
    assert [unit.title for unit in policy.units] == [
        "ecs(gpu=x,pool=a)", "ecs(gpu=x,pool=a)#2", "ecs", "eci",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "errors"),
    [
        ({}, ["spec.units: at least one unit is required"]),
        ({"units": []}, ["spec.units: at least one unit is required"]),
        ({"units": [{}]}, ["spec.units[0].resource: is required: one of ecs, elastic, eci, acs"]),
        ({"units": [{"resource": "moon"}]},
         ["spec.units[0].resource: 'moon' is not one of ecs, elastic, eci, acs"]),
        ({"units": [{**ECS, "max": -1}]}, ["spec.units[0].max: must not be negative, is -1"]),
        ({"units": [{**ECS, "max": "2"}]}, ["spec.units[0].max: Input should be a valid integer"]),
        ({"units": [{**ECS, "max": True}]}, ["spec.units[0].max: Input should be a valid integer"]),
        ({"units": [ECS], "strategy": "require"},
         ["spec.strategy: 'require' is not one of prefer"]),
        ({"units": [ECS], "preemptPolicy": "Never"},
         ["spec.preemptPolicy: 'Never' is not one of AfterAllUnits, BeforeNextUnit"]),
        ({"units": [ECS], "whenTryNextUnits": {"policy": "Soon", "timeout": "-1s"}},
         [("spec.whenTryNextUnits.policy: 'Soon' is not one of ExceedMax, LackResourceOrExceedMax, "
          "LackResourceAndNoTerminating, TimeoutOrExceedMax"),
          "spec.whenTryNextUnits.timeout: must not be negative, is -1s"]),
        ({"units": [ECS], "whenTryNextUnits": {"timeout": "soon"}},
         ["spec.whenTryNextUnits.timeout: 'soon' is not a duration such as 30s, 15m or 1h30m"]),
        ({"units": [{**ECS, "maxResources": {"cpu": "x", "memory": "-1Gi"}}]},
         ["spec.units[0].maxResources[cpu]: 'x' is not a quantity such as 500m, 2 or 4Gi",
          "spec.units[0].maxResources[memory]: must not be negative, is -1Gi"]),
        ({"selector": {"app": "a"}, "units": [{**ECS, "podLabels": {"app": "b"}}]},
         ["spec.units[0].podLabels[app]: would change the policy's own selector, which wants 'a'"]),
        ({"matchLabelKeys": ["rev"], "units": [{**ECS, "podLabels": {"rev": "1"}}]},
         ["spec.units[0].podLabels[rev]: would change a label that matchLabelKeys counts by"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_ack_policy(spec: dict[str, Any], errors: list[str]) -> None:
    assert ack_errors(spec) == errors


def test_a_label_of_the_selector_may_be_repeated() -> None:
    assert ack_errors({"selector": {"a": "b"}, "units": [{**ECS, "podLabels": {"a": "b"}}]}) == []


def test_invalid_keys_of_labels_and_annotations_are_found_on_loading() -> None:
    unit = {**ECS, "podLabels": {"bad key": "x"}, "podAnnotations": {"a/b/c": "x"}}
    paths = [error.partition(":")[0] for error in ack_errors({"units": [unit]})]
    assert paths == ["spec.units[0].podLabels", "spec.units[0].podAnnotations"]


@pytest.mark.parametrize(
    ("spec", "errors"),
    [
        ({}, ["spec.subsets: at least one subset is required"]),
        ({"subsets": [{"name": "a"}]}, ["spec.subsets[0].type: is required: one of ecs, vci"]),
        ({"subsets": [{"type": "vci"}]}, ["spec.subsets[0].name: is required"]),
        ({"subsets": [VCI, VCI]}, ["spec.subsets[1].name: 'vci' names another subset already"]),
        ({"subsets": [VCI], "strategy": "hope"},
         ["spec.strategy: 'hope' is not one of prefer, require"]),
        ({"subsets": [{**VCI, "maxReplicas": -2}]},
         ["spec.subsets[0].maxReplicas: must not be negative, is -2"]),
        ({"subsets": [{**VCI, "maxReplicasRatio": "abc"}]},
         ["spec.subsets[0].maxReplicasRatio: 'abc' is not a number such as 0.1, from 0 to 999"]),
        ({"subsets": [{**VCI, "maxReplicasRatio": "-0.1"}]},
         ["spec.subsets[0].maxReplicasRatio: '-0.1' is not a number such as 0.1, from 0 to 999"]),
        ({"subsets": [{**VCI, "maxReplicasRatio": "inf"}]},
         ["spec.subsets[0].maxReplicasRatio: 'inf' is not a number such as 0.1, from 0 to 999"]),
        ({"subsets": [{**VCI, "maxReplicasRatio": "NaN"}]},
         ["spec.subsets[0].maxReplicasRatio: 'NaN' is not a number such as 0.1, from 0 to 999"]),
        ({"subsets": [{**VCI, "whenNotReachMax": "Wait"}]},
         ["spec.subsets[0].whenNotReachMax: 'Wait' is not one of ScheduleAnyWay, DoNotSchedule"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_vke_policy(spec: dict[str, Any], errors: list[str]) -> None:
    assert vke_errors(spec) == errors


@pytest.mark.parametrize(
    ("term", "error"),
    [
        ({"operator": "Exists"}, "key: is required"),
        ({"key": "a"}, "operator: is required: one of In, NotIn, Exists, DoesNotExist, Gt, Lt"),
        ({"key": "a", "operator": "Near"},
         "operator: 'Near' is not one of In, NotIn, Exists, DoesNotExist, Gt, Lt"),
        ({"key": "a", "operator": "In"}, "values: In takes at least one value"),
        ({"key": "a", "operator": "NotIn", "values": []}, "values: NotIn takes at least one value"),
        ({"key": "a", "operator": "Exists", "values": ["x"]}, "values: Exists takes no values"),
        ({"key": "a", "operator": "Gt", "values": ["x"]}, "values: Gt takes exactly one integer"),
        ({"key": "a", "operator": "Lt", "values": ["1", "2"]},
         "values: Lt takes exactly one integer"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_term(term: dict[str, Any], error: str) -> None:
    subset = {**VCI, "nodeSelectorTerm": [term]}
    assert vke_errors({"subsets": [subset]}) == [f"spec.subsets[0].nodeSelectorTerm[0].{error}"]


@pytest.mark.parametrize(
    "spec", [None, [], "x", 7, {"units": {}}, {"units": [None]}, {"selector": []}]
)
def test_nothing_that_is_written_makes_loading_fail(spec: object) -> None:
    policy = load({"metadata": {"namespace": "ns", "name": "p"}, "spec": spec}, ack.GROUP)
    assert isinstance(policy, InvalidPolicy)
    assert policy.errors


def test_an_invalid_policy_keeps_its_selector() -> None:
    policy = load(raw("p", {"selector": {"app": "a"}, "units": []}), ack.GROUP)
    assert isinstance(policy, InvalidPolicy)
    assert policy.selector == {"app": "a"}


def test_a_selector_of_another_shape_is_explained_and_selects_what_it_means() -> None:
    selector = {"matchLabels": {"app": "web"}}
    policy = load(raw("p", {"selector": selector, "units": [{"resource": "ecs"}]}), ack.GROUP)
    assert isinstance(policy, InvalidPolicy)
    (error,) = policy.errors
    assert str(error) == (
        "spec.selector: is a plain map of labels, without matchLabels and matchExpressions: write"
        " selector: {app: web}"
    )
    assert policy.selector == {"app": "web"}
    expressions: dict[str, Any] = {"matchExpressions": [{"key": "a", "operator": "Exists"}]}
    assert "write selector: {app: web}" in ack_errors({"selector": expressions})[0]
    labels = {"matchLabels": "a-label-of-this-name"}
    assert ack_errors({"selector": labels, "units": [{"resource": "ecs"}]}) == []
