"""What a bound pod carries, and when it becomes visible."""

import pytest

from harness.scenes import (
    ACK,
    VKE,
    deployment,
    node,
    pod,
    policy,
    three_tier_nodes,
    three_tiers,
    virtual_node,
)
from harness.stage import Scene
from harness.watch import is_ready, node_of

COST = "controller.kubernetes.io/pod-deletion-cost"
UNIT = "spillover.dev/unit"
POLICY = "spillover.dev/policy"


def test_labels_annotations_and_node_become_visible_in_one_event(scene: Scene) -> None:
    scene.add_nodes(*three_tier_nodes())
    scene.add(three_tiers(ACK, scene.namespace, "app"))
    scene.add(deployment(scene.namespace, "app", "spillover-scheduler", replicas=6))
    scene.pods.wait_for(lambda pods: sum(map(is_ready, pods)) == 6, 60, "6 ready")

    costs = {"prepaid": "300", "virtual": "200", "postpaid": "100"}
    first_seen_bound = set()
    for _, seen in scene.pods.events:
        annotations = seen["metadata"].get("annotations", {})
        labels = seen["metadata"]["labels"]
        tier = node_of(seen).partition("-")[0]
        if not tier:
            assert UNIT not in annotations
            assert COST not in annotations
            assert "alibabacloud.com/eci" not in labels
            continue
        first_seen_bound.add(seen["metadata"]["name"])
        assert annotations[POLICY] == f"{ACK}/app"
        assert annotations[UNIT].startswith("eci-" if tier == "virtual" else "ecs-")
        assert annotations[COST] == costs[tier]
        assert (labels.get("alibabacloud.com/eci") == "true") == (tier == "virtual")
        assert ("k8s.aliyun.com/eci-use-specs" in annotations) == (tier == "virtual")
    assert len(first_seen_bound) == 6


@pytest.mark.parametrize("group", [ACK, VKE])
def test_no_pod_carries_a_toleration_that_its_user_did_not_write(scene: Scene, group: str) -> None:
    own = [{"key": "team", "operator": "Equal", "value": "ml", "effect": "NoSchedule"}]
    scene.add_nodes(virtual_node("virtual-0"))
    scene.add(three_tiers(group, scene.namespace, "app", virtual_max=5))
    scene.add(
        deployment(
            scene.namespace, "app", "spillover-scheduler", replicas=3, gpus=1, tolerations=own
        ),
        # Admission adds the same tolerations to every pod: this one shows which.
        pod(scene.namespace, "control", "nobody", tolerations=own),
    )
    pods = scene.pods.wait_for(
        lambda pods: len(pods) == 4 and sum(map(is_ready, pods)) == 3, 60, "3 ready, 1 control"
    )
    assert {node_of(p) for p in pods} == {"virtual-0", ""}
    (control,) = [p for p in pods if p["metadata"]["name"] == "control"]
    for _, seen in scene.pods.events:
        assert seen["spec"]["tolerations"] == control["spec"]["tolerations"]


def test_a_provider_taint_that_evicts_is_tolerated_before_the_pod_is_bound(scene: Scene) -> None:
    evicting = {"key": "virtual-kubelet.io/provider", "value": "x", "effect": "NoExecute"}
    scene.add_nodes(virtual_node("virtual-0", taints=[evicting]))
    scene.add(three_tiers(ACK, scene.namespace, "app"))
    scene.add(pod(scene.namespace, "one", "spillover-scheduler", labels={"app": "app"}))
    scene.pods.wait_for(lambda pods: any(map(is_ready, pods)), 60, "the pod ready")
    for _, seen in scene.pods.events:
        tolerated = [t for t in seen["spec"]["tolerations"] if t["key"] == evicting["key"]]
        if node_of(seen):
            assert tolerated == [{**evicting, "operator": "Equal"}]
        assert "deletionTimestamp" not in seen["metadata"]


def test_a_deletion_cost_of_the_users_own_stays(scene: Scene) -> None:
    scene.add_nodes(node("prepaid-0", labels={"pool": "prepaid"}))
    scene.add(three_tiers(ACK, scene.namespace, "app"))
    scene.add(
        pod(
            scene.namespace,
            "one",
            "spillover-scheduler",
            labels={"app": "app"},
            annotations={COST: "7", "team": "ml"},
        )
    )
    (bound,) = scene.pods.wait_for(lambda pods: any(map(node_of, pods)), 60, "the pod bound")
    assert bound["metadata"]["annotations"][COST] == "7"
    assert bound["metadata"]["annotations"]["team"] == "ml"


def test_labels_of_the_unit_overwrite_those_of_the_pod(scene: Scene) -> None:
    scene.add_nodes(node("node-0"))
    units = [{"resource": "ecs", "podLabels": {"tier": "base"}}]
    scene.add(policy(ACK, scene.namespace, "policy", selector={"app": "app"}, units=units))
    scene.add(
        pod(
            scene.namespace,
            "one",
            "spillover-scheduler",
            labels={"app": "app", "tier": "mine", "kept": "yes"},
        ),
    )
    (bound,) = scene.pods.wait_for(lambda pods: any(map(node_of, pods)), 60, "the pod bound")
    assert bound["metadata"]["labels"] == {"app": "app", "tier": "base", "kept": "yes"}
