"""Bad policies are refused at the door, with every error and its field's path."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from harness.scenes import ACK, VKE, policy
from harness.stage import Scene

Object = dict[str, Any]
ECS: Object = {"resource": "ecs"}
OWN: Object = {"name": "own", "type": "ecs"}
_LABEL = "at most 63 letters, digits, '-', '_' or '.', starting and ending with a letter or digit"
_KEY = f"{_LABEL}, after an optional DNS prefix/"
_LONG = "x" * 64


def unit(**fields: object) -> Object:
    return {"units": [{**ECS, **fields}]}


def labels(key: str, value: str = "x") -> Object:
    return unit(podLabels={key: value})


def notes(key: str, value: str = "x") -> Object:
    return unit(podAnnotations={key: value})


def subset(**fields: object) -> Object:
    return {"subsets": [{**OWN, **fields}]}


def term(**fields: object) -> Object:
    return subset(nodeSelectorTerm=[fields])


def when(**fields: object) -> Object:
    return {"units": [ECS], "whenTryNextUnits": fields}


_TERM = "spec.subsets[0].nodeSelectorTerm[0]"
_OPERATORS = "In, NotIn, Exists, DoesNotExist, Gt, Lt"
_RATIO = "spec.subsets[0].maxReplicasRatio"
_DURATION = "is not a duration such as 30s, 15m or 1h30m"

BAD_ACK: list[tuple[Object, str]] = [
    ({}, "spec.units: at least one unit is required"),
    ({"units": []}, "spec.units: at least one unit is required"),
    ({"units": [{}]}, "spec.units[0].resource: is required: one of ecs, elastic, eci, acs"),
    (unit(resource="moon"), "spec.units[0].resource: 'moon' is not one of ecs, elastic, eci, acs"),
    (unit(resource="ECS"), "spec.units[0].resource: 'ECS' is not one of ecs, elastic, eci, acs"),
    (unit(max=-1), "spec.units[0].max: must not be negative, is -1"),
    (unit(maxResources={"cpu": "-1"}), "spec.units[0].maxResources[cpu]: must not be negative, is -1"),
    (unit(maxResources={"cpu": -2}), "spec.units[0].maxResources[cpu]: must not be negative, is -2"),
    (unit(maxResources={"cpu": "two"}), "spec.units[0].maxResources[cpu]: 'two' is not a quantity such as 500m, 2 or 4Gi"),
    (unit(maxResources={"memory": "4 Gi"}), "spec.units[0].maxResources[memory]: '4 Gi' is not a quantity such as 500m, 2 or 4Gi"),
    ({"units": [ECS], "strategy": "require"}, "spec.strategy: 'require' is not one of prefer"),
    ({"units": [ECS], "preemptPolicy": "Never"}, "spec.preemptPolicy: 'Never' is not one of AfterAllUnits, BeforeNextUnit"),
    (when(policy="Soon"), "spec.whenTryNextUnits.policy: 'Soon' is not one of ExceedMax, LackResourceOrExceedMax, LackResourceAndNoTerminating, TimeoutOrExceedMax"),
    (when(timeout="-1s"), "spec.whenTryNextUnits.timeout: must not be negative, is -1s"),
    (when(timeout="soon"), f"spec.whenTryNextUnits.timeout: 'soon' {_DURATION}"),
    (when(timeout="15"), f"spec.whenTryNextUnits.timeout: '15' {_DURATION}"),
    (when(timeout="1d"), f"spec.whenTryNextUnits.timeout: '1d' {_DURATION}"),
    ({"units": [ECS], "matchLabelKeys": ["-x"]}, f"spec.matchLabelKeys[0]: '-x' is not a qualified name: {_KEY}"),
    ({"units": [ECS], "matchLabelKeys": [""]}, f"spec.matchLabelKeys[0]: '' is not a qualified name: {_KEY}"),
    (unit(nodeSelector={"pool": "a b"}), f"spec.units[0].nodeSelector[pool]: 'a b' is not a label value: {_LABEL}"),
    (unit(nodeSelector={"-pool": "a"}), f"spec.units[0].nodeSelector: '-pool' is not a qualified name: {_KEY}"),
    (labels("a b"), f"spec.units[0].podLabels: 'a b' is not a qualified name: {_KEY}"),
    (labels("-x/y"), "spec.units[0].podLabels: '-x/y' has a prefix that is not a DNS subdomain of at most 253 characters"),
    (labels(_LONG), f"spec.units[0].podLabels: '{_LONG}' is not a qualified name: {_KEY}"),
    (labels("tier", "-"), f"spec.units[0].podLabels[tier]: '-' is not a label value: {_LABEL}"),
    (labels("tier", _LONG), f"spec.units[0].podLabels[tier]: '{_LONG}' is not a label value: {_LABEL}"),
    (labels("spillover.dev/unit"), "spec.units[0].podLabels[spillover.dev/unit]: is Spillover's own"),
    (labels("app", "other"), "spec.units[0].podLabels[app]: would change the policy's own selector, which wants 'app'"),
    ({**labels("hash"), "matchLabelKeys": ["hash"]}, "spec.units[0].podLabels[hash]: would change a label that matchLabelKeys counts by"),
    (notes("a b"), f"spec.units[0].podAnnotations: 'a b' is not a qualified name: {_KEY}"),
    (notes("spillover.dev/policy"), "spec.units[0].podAnnotations[spillover.dev/policy]: is Spillover's own"),
    (notes("kubernetes.io/config.mirror"), "spec.units[0].podAnnotations[kubernetes.io/config.mirror]: cannot be set on a pod that exists"),
    (notes("controller.kubernetes.io/pod-deletion-cost", "much"), "spec.units[0].podAnnotations[controller.kubernetes.io/pod-deletion-cost]: 'much' is not a 9-digit integer"),
]  # fmt: skip
BAD_VKE: list[tuple[Object, str]] = [
    ({}, "spec.subsets: at least one subset is required"),
    ({"subsets": [{"type": "ecs"}]}, "spec.subsets[0].name: is required"),
    ({"subsets": [OWN, OWN]}, "spec.subsets[1].name: 'own' names another subset already"),
    ({"subsets": [{"name": "a"}]}, "spec.subsets[0].type: is required: one of ecs, vci"),
    (subset(type="eci"), "spec.subsets[0].type: 'eci' is not one of ecs, vci"),
    (subset(maxReplicas=-1), "spec.subsets[0].maxReplicas: must not be negative, is -1"),
    (subset(maxReplicasRatio="abc"), f"{_RATIO}: 'abc' is not a number such as 0.1, from 0 to 999"),
    (subset(maxReplicasRatio="10%"), f"{_RATIO}: '10%' is not a number such as 0.1, from 0 to 999"),
    (subset(maxReplicasRatio="-0.1"), f"{_RATIO}: '-0.1' is not a number such as 0.1, from 0 to 999"),
    (subset(maxReplicasRatio="1e9"), f"{_RATIO}: '1e9' is not a number such as 0.1, from 0 to 999"),
    (subset(whenNotReachMax="Wait"), "spec.subsets[0].whenNotReachMax: 'Wait' is not one of ScheduleAnyWay, DoNotSchedule"),
    ({"subsets": [OWN], "strategy": "must"}, "spec.strategy: 'must' is not one of prefer, require"),
    (term(operator="Exists"), f"{_TERM}.key: is required"),
    (term(key="pool"), f"{_TERM}.operator: is required: one of {_OPERATORS}"),
    (term(key="pool", operator="Equals"), f"{_TERM}.operator: 'Equals' is not one of {_OPERATORS}"),
    (term(key="pool", operator="In"), f"{_TERM}.values: In takes at least one value"),
    (term(key="pool", operator="Exists", values=["a"]), f"{_TERM}.values: Exists takes no values"),
    (term(key="size", operator="Gt", values=["a"]), f"{_TERM}.values: Gt takes exactly one integer"),
    (term(key="size", operator="Lt", values=["1", "2"]), f"{_TERM}.values: Lt takes exactly one integer"),
    (term(key="a b", operator="Exists"), f"{_TERM}.key: 'a b' is not a qualified name: {_KEY}"),
]  # fmt: skip
SEVERAL = (
    {"units": [{"resource": "moon", "max": -1}, {**ECS, "max": -2}], "strategy": "x"},
    "spec.strategy: 'x' is not one of prefer;"
    " spec.units[0].resource: 'moon' is not one of ecs, elastic, eci, acs;"
    " spec.units[0].max: must not be negative, is -1;"
    " spec.units[1].max: must not be negative, is -2",
)


def applied(scene: Scene, made: Object) -> str:
    """What `kubectl apply` says on standard error."""
    ended = subprocess.run(
        [*scene.cluster.kubectl_command(), "apply", "-f", "-"],
        input=yaml.safe_dump(made),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1, "it was stored"
    return ended.stderr.strip()


def test_there_are_enough_of_them() -> None:
    assert len(BAD_ACK) + len(BAD_VKE) >= 40


@pytest.mark.parametrize(
    ("group", "table"), [(ACK, [*BAD_ACK, SEVERAL]), (VKE, BAD_VKE)], ids=["ack", "vke"]
)
def test_kubectl_apply_prints_what_is_wrong(
    scene: Scene, group: str, table: list[tuple[Object, str]]
) -> None:
    for spec, message in table:
        made = policy(group, scene.namespace, "bad", **{"selector": {"app": "app"}, **spec})
        said = applied(scene, made)
        denied = 'admission webhook "policies.spillover.dev" denied the request: '
        found = re.split(re.escape(denied), said)
        assert found[-1] == message, said
    assert scene.cluster.items(f"resourcepolicies.{group}", "-n", scene.namespace) == []


def test_a_bad_policy_of_before_can_be_mended_relabelled_and_deleted(scene: Scene) -> None:
    bad = policy(ACK, scene.namespace, "old", selector={"app": "app"}, units=[{**ECS, "max": -1}])
    scene.add_unchecked(bad)
    name = (f"resourcepolicy.{ACK}", "old", "-n", scene.namespace)
    scene.cluster.kubectl("label", *name, "team=ml")
    worse = {**bad, "spec": {"units": [{**ECS, "max": -3}]}}
    assert "spec.units[0].max: must not be negative, is -3" in applied(scene, worse)
    scene.cluster.apply({**bad, "spec": {"units": [ECS]}})
    scene.cluster.kubectl("delete", *name)
