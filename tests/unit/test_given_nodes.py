"""Pods that are made for one node are never under a policy."""

from typing import Any

import pytest
from worlds import World

from builders import ack_policy, node, virtual
from spillover.api.kubernetes import ObjectMeta, OwnerReference
from spillover.core.admission.mutate import AdmissionDefaults, AdmittedPod, NamespaceMarks, admit
from spillover.core.model.workloads import MIRROR_ANNOTATION, has_given_node
from spillover.core.reporting.explain import explain_pod, explain_policy


def owned(kind: str, version: str = "apps/v1", *, controller: bool = True) -> ObjectMeta:
    reference = OwnerReference(api_version=version, kind=kind, uid="owner", controller=controller)
    return ObjectMeta(owner_references=[reference])


@pytest.mark.parametrize(
    ("metadata", "given"),
    [
        (owned("DaemonSet"), True),
        (owned("DaemonSet", "apps.kruise.io/v1alpha1"), True),
        (owned("Node", "v1"), True),
        (ObjectMeta(annotations={MIRROR_ANNOTATION: "x"}), True),
        (owned("ReplicaSet"), False),
        (owned("DaemonSet", controller=False), False),
        (ObjectMeta(), False),
    ],
)
def test_who_is_made_for_one_node(metadata: ObjectMeta, *, given: bool) -> None:
    assert has_given_node(metadata) == given


def world() -> World:
    units: list[dict[str, Any]] = [{"resource": "ecs", "max": 1}, {"resource": "eci"}]
    return World([ack_policy(*units, selector={})], [node("real"), virtual("vk")])


def test_they_take_no_slot_and_go_where_the_scheduler_offers() -> None:
    it = world()
    policy = it.cluster.policies.all()[0]
    there = it.put("agent", node="real", has_given_node=True)
    assert it.cluster.counts_under(there) is None
    assert it.cluster.counts.waiting(policy.key) == 0
    assert it.cluster.selecting(there) == ()
    assert it.filter(it.put("app"), "real", "vk") == "ecs"
    assert it.filter(it.put("agent-2", has_given_node=True), "real") == "outside"


def test_explain_says_so() -> None:
    it = world()
    policy = it.cluster.policies.all()[0]
    there = it.put("agent", node="real", has_given_node=True)
    assert "DaemonSet" in explain_pod(it.cluster, there, {}).outcome
    assert explain_policy(it.cluster, policy).outside == ()


def test_admission_leaves_them_alone() -> None:
    made = AdmittedPod(
        labels={"app": "app", "alibabacloud.com/eci": "true"},
        annotations={},
        scheduler="default-scheduler",
        requests=(),
        node_selector={},
        has_given_node=True,
    )
    policy = ack_policy({"resource": "ecs"})
    changes = admit(made, policy, NamespaceMarks(), AdmissionDefaults(region="r"), is_crowded=True)
    assert (changes.scheduler, dict(changes.labels), changes.gate) == (None, {}, False)
