"""What pods get when they are created."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from builders import ack_policy, raw, vke_policy
from spillover.api import ack
from spillover.core.admission.mutate import (
    GPU_MODEL,
    AdmissionDefaults,
    AdmittedPod,
    NamespaceMarks,
    PodChanges,
    admit,
    asked_by_namespace,
    json_patch,
)
from spillover.core.dialects import load
from spillover.core.model.conventions import REGION
from spillover.core.model.policy import LoadedPolicy

ACS, CLASS, QOS = (f"alibabacloud.com/{key}" for key in ("acs", "compute-class", "compute-qos"))
OURS = "spillover-scheduler"
DEFAULTS = AdmissionDefaults(
    region="cn-hangzhou", gpu_models={"nvidia.com/gpu": "A10", "gpu-card=big": "H20"}
)
GPU = (("nvidia.com/gpu", 1),)


def wanted(**fields: Any) -> AdmittedPod:
    usual: dict[str, Any] = {
        "labels": {"app": "app"},
        "annotations": {},
        "scheduler": "default-scheduler",
        "requests": (),
        "node_selector": {},
    }
    return AdmittedPod(**{**usual, **fields})


def changes(
    pod: AdmittedPod,
    policy: LoadedPolicy | None = None,
    namespace: Mapping[str, str] | None = None,
) -> tuple[str | None, dict[str, str]]:
    found = admit(pod, policy, NamespaceMarks(namespace or {}), DEFAULTS)
    return found.scheduler, dict(found.labels)


def serverless(**fields: Any) -> AdmittedPod:
    labels = {"app": "app", ACS: "true", **fields.pop("labels", {})}
    return wanted(labels=labels, **fields)


def acs(**labels: str) -> dict[str, Any]:
    return {"resource": "acs", "podLabels": labels} if labels else {"resource": "acs"}


PLAIN = ack_policy({"resource": "ecs"}, {"resource": "eci"})


@pytest.mark.parametrize("scheduler", ["", "default-scheduler"])
def test_a_pod_under_a_policy_is_routed(scheduler: str) -> None:
    assert changes(wanted(scheduler=scheduler), PLAIN) == (OURS, {})


def test_a_pod_with_a_scheduler_of_its_own_or_no_policy_is_not() -> None:
    assert changes(wanted(scheduler="volcano"), PLAIN) == (None, {})
    assert changes(wanted()) == (None, {})
    assert (
        admit(wanted(), PLAIN, NamespaceMarks(), AdmissionDefaults(route=False)).scheduler is None
    )


def test_a_pod_under_an_invalid_policy_is_routed_so_that_it_is_told() -> None:
    broken = load(raw("broken", {"units": []}), ack.GROUP)
    assert changes(wanted(), broken) == (OURS, {})


def test_labels_on_which_all_units_agree_come_at_once() -> None:
    policy = ack_policy(
        {"resource": "ecs", "podLabels": {"tier": "x", "own": "1"}},
        {"resource": "eci", "podLabels": {"tier": "x", "own": "2", "only": "3"}},
    )
    assert changes(wanted(), policy) == (OURS, {"tier": "x"})
    assert changes(wanted(labels={"app": "app", "tier": "mine"}), policy) == (OURS, {})


def test_a_policy_of_acs_alone_asks_for_serverless_capacity() -> None:
    policy = ack_policy(acs(), acs(**{GPU_MODEL: "L20"}))
    # compute-class and compute-qos come with the binding, and so does the model.
    assert changes(wanted(requests=GPU), policy) == (OURS, {ACS: "true", REGION: "cn-hangzhou"})


def test_a_default_is_not_given_for_what_a_unit_sets() -> None:
    policy = ack_policy(acs(**{REGION: "cn-shanghai"}), acs(**{REGION: "cn-beijing"}))
    assert changes(wanted(), policy) == (OURS, {ACS: "true"})


def test_serverless_pods_without_a_policy_get_all_defaults() -> None:
    assert changes(serverless(requests=GPU)) == (
        OURS, {REGION: "cn-hangzhou", GPU_MODEL: "A10", CLASS: "gpu", QOS: "default"}
    )  # fmt: skip
    assert changes(serverless()) == (
        OURS, {REGION: "cn-hangzhou", CLASS: "general-purpose", QOS: "default"}
    )  # fmt: skip


def test_class_and_qos_are_of_acs_alone() -> None:
    eci = wanted(labels={"alibabacloud.com/eci": "true"})
    assert changes(eci) == (OURS, {REGION: "cn-hangzhou"})


def test_qos_is_left_to_its_strategy() -> None:
    who = serverless(annotations={"alpha.alibabacloud.com/compute-qos-strategy": "x"})
    assert QOS not in changes(who)[1]


def test_the_pod_comes_before_the_namespace_and_that_before_the_cluster() -> None:
    theirs = {REGION: "theirs"}
    assert REGION not in changes(serverless(labels={REGION: "mine"}), namespace=theirs)[1]
    assert changes(serverless(), namespace=theirs)[1][REGION] == "theirs"


def test_the_model_by_node_selector_says_more_than_by_resource() -> None:
    who = serverless(requests=GPU, node_selector={"gpu-card": "big"})
    assert changes(who)[1][GPU_MODEL] == "H20"


@pytest.mark.parametrize(
    "policy",
    [None, PLAIN, ack_policy(acs(), acs(tier="x")), vke_policy({"name": "a", "type": "vci"})],
)
@pytest.mark.parametrize("pod", [wanted(), serverless(requests=GPU), wanted(labels={})])
def test_a_second_time_changes_nothing(pod: AdmittedPod, policy: LoadedPolicy | None) -> None:
    scheduler, labels = changes(pod, policy)
    again = AdmittedPod(
        labels={**pod.labels, **labels},
        annotations=pod.annotations,
        scheduler=scheduler or pod.scheduler,
        requests=pod.requests,
        node_selector=pod.node_selector,
    )
    assert changes(again, policy) == (None, {})


def test_the_patch_adds_and_replaces_nothing() -> None:
    both = PodChanges("s", {"a.b/c~d": "x", "e": "y"})
    assert json_patch(both, has_labels=True) == [
        {"op": "add", "path": "/spec/schedulerName", "value": "s"},
        {"op": "add", "path": "/metadata/labels/a.b~1c~0d", "value": "x"},
        {"op": "add", "path": "/metadata/labels/e", "value": "y"},
    ]
    assert json_patch(PodChanges(None, {"e": "y"}), has_labels=False) == [
        {"op": "add", "path": "/metadata/labels", "value": {"e": "y"}}
    ]
    assert json_patch(PodChanges(None, {}), has_labels=False) == []


def test_where_namespaces_opt_in_others_do_not_ask_by_label() -> None:
    opted = replace(DEFAULTS, serverless_namespaces=("serverless", "allowed"))
    here = NamespaceMarks({"serverless": "allowed"})
    there = NamespaceMarks({}, {"serverless": "allowed"})
    assert admit(serverless(), None, here, opted) == admit(serverless(), None, here, DEFAULTS)
    assert admit(serverless(), None, there, opted) == PodChanges(None, {})
    # Under a policy it is the policy that asks.
    assert admit(serverless(), PLAIN, there, opted) == admit(serverless(), PLAIN, there, DEFAULTS)


ECI = "alibabacloud.com/eci"
ASKING = NamespaceMarks({ECI: "true", "team": "ml"})


def test_a_namespace_asks_for_all_its_pods() -> None:
    assert asked_by_namespace(wanted(), ASKING, DEFAULTS) == {ECI: "true"}
    assert asked_by_namespace(wanted(), NamespaceMarks({ACS: "true"}), DEFAULTS) == {ACS: "true"}
    assert asked_by_namespace(wanted(), NamespaceMarks({ECI: "false"}), DEFAULTS) == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": {ECI: "false"}}, {"labels": {ACS: "true"}}, {"scheduler": "volcano"},
        {"node": "n"}, {"has_given_node": True},
    ],
)  # fmt: skip
def test_a_pod_that_is_decided_already_is_not_asked_for(fields: dict[str, Any]) -> None:
    assert asked_by_namespace(wanted(**fields), ASKING, DEFAULTS) == {}


def test_a_namespace_without_the_permission_does_not_ask() -> None:
    closed = replace(DEFAULTS, serverless_namespaces=("may-ask", "true"))
    assert asked_by_namespace(wanted(), ASKING, closed) == {}
