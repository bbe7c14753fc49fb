"""`spillover explain`, as its user runs it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.explaining import explained, spillover
from harness.scenes import ACK, deployment, node, pod, policy, three_tier_nodes, three_tiers
from harness.stage import Scene, answered
from harness.watch import node_of

Object = dict[str, Any]


@pytest.fixture
def crowd(scene: Scene) -> Scene:
    """Eight pods for six slots: two wait."""
    scene.add_nodes(*three_tier_nodes())
    scene.add(three_tiers(ACK, scene.namespace, "app"))
    scene.add(deployment(scene.namespace, "app", "spillover-scheduler", replicas=8))
    scene.pods.wait_for(answered(8), 60, "all answered")
    return scene


def names(scene: Scene, where: str) -> list[str]:
    """Of the pods on nodes whose names begin so; of those on none for ""."""
    return sorted(
        each["metadata"]["name"]
        for each in scene.pods.objects.values()
        if node_of(each).partition("-")[0] == where
    )


def test_a_waiting_pod_is_told_what_is_against_each_unit(crowd: Scene) -> None:
    waiting = names(crowd, "")[0]
    report = explained(crowd, "pod", waiting)
    assert report["unseen"] == []
    said = report["pod"]
    assert said["outcome"] == "not placed: 3 of 3 units cannot take it"
    prepaid, eci, postpaid = said["units"]
    assert (prepaid["verdict"], eci["verdict"], postpaid["verdict"]) == (
        "no node",
        "full",
        "no node",
    )
    assert eci["limits"] == [{"of": "pods", "most": "2", "taken": "2"}]
    assert eci["held_by"] == names(crowd, "virtual")
    assert prepaid["nodes"] == {"without enough free nvidia.com/gpu": ["prepaid-0", "prepaid-1"]}
    text = spillover(crowd.cluster, "explain", "pod", waiting, "-n", crowd.namespace)
    print(text)
    assert "2 of 2 pods" in text
    assert f"held by {', '.join(names(crowd, 'virtual'))}" in text
    assert "2 nodes: 2 without enough free nvidia.com/gpu" in text
    assert "eci: a pod of the unit ends, or its maximum is raised" in text
    assert "Next try:" in text


def test_a_bound_pod_is_told_its_unit(crowd: Scene) -> None:
    there = names(crowd, "virtual")[0]
    assert explained(crowd, "pod", there)["pod"]["outcome"] == (
        f"bound to virtual-0, in unit eci of {ACK}/app"
    )


def test_a_policy_tells_its_fill_and_who_waits(crowd: Scene) -> None:
    (report,) = explained(crowd, "policy", "app")["policy"]
    assert report["state"] == "valid"
    assert [(unit["unit"], unit["nodes"]) for unit in report["units"]] == [
        ("ecs(pool=prepaid)", 2), ("eci", 1), ("ecs(pool=postpaid)", 2)
    ]  # fmt: skip
    assert [unit["held_by"] for unit in report["units"]] == [
        names(crowd, "prepaid"), names(crowd, "virtual"), names(crowd, "postpaid")
    ]  # fmt: skip
    assert sorted(report["waiting"]) == names(crowd, "")
    print(spillover(crowd.cluster, "explain", "policy", "app", "-n", crowd.namespace))


def test_nodes_are_told_apart_by_what_they_lack(scene: Scene) -> None:
    taint = {"key": "team", "value": "x", "effect": "NoSchedule"}
    scene.add_nodes(
        node("small", gpus=0), node("tainted", taints=[taint]), node("off", unschedulable=True)
    )
    scene.add(
        policy(ACK, scene.namespace, "app", selector={"app": "app"}, units=[{"resource": "ecs"}]),
        pod(scene.namespace, "one", "spillover-scheduler", labels={"app": "app"}),
    )
    scene.pods.wait_for(answered(1), 60, "the pod answered")
    (unit,) = explained(scene, "pod", "one")["pod"]["units"]
    assert unit["nodes"] == {
        "without enough free nvidia.com/gpu": ["small"],
        "with a taint that the pod does not tolerate": ["tainted"],
        "cordoned": ["off"],
    }


def test_it_shows_only_what_the_callers_own_credentials_may_see(
    crowd: Scene, tmp_path: Path
) -> None:
    own = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "viewer", "namespace": crowd.namespace},
        "rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
            {"apiGroups": ["*"], "resources": ["resourcepolicies"], "verbs": ["list"]},
        ],
    }
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": crowd.namespace}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "viewer", "namespace": crowd.namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "viewer"},
        "subjects": [subject],
    }
    crowd.add(own, binding)
    limited = tmp_path / "kubeconfig"
    token = crowd.cluster.kubectl("create", "token", "default", "-n", crowd.namespace).strip()
    config = yaml.safe_load(crowd.cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    limited.write_text(yaml.safe_dump(config))
    waiting = names(crowd, "")[0]
    command = ("explain", "pod", waiting, "-n", crowd.namespace)
    text = spillover(crowd.cluster, *command, kubeconfig=limited)
    assert "2 of 2 pods" in text
    assert "prepaid-0" not in text
    assert "note: you may not list nodes" in text
    assert "note: you may not list pods of other namespaces" in text
    refused = ("explain", "pod", "x", "-n", "kube-system")
    said = spillover(crowd.cluster, *refused, kubeconfig=limited, code=1)
    assert said.startswith("error: 403 Forbidden: pods is forbidden")


@pytest.mark.parametrize(
    ("kind", "message"),
    [("pod", "error: no pod nobody in namespace"), ("policy", "error: no ResourcePolicy nobody")],
)
def test_what_is_not_there_is_an_error(scene: Scene, kind: str, message: str) -> None:
    command = ("explain", kind, "nobody", "-n", scene.namespace)
    assert spillover(scene.cluster, *command, code=1).startswith(message)


def test_a_pod_that_nobody_tries_is_told_so(scene: Scene) -> None:
    scene.add_nodes(node("node-0"))
    scene.add(
        policy(ACK, scene.namespace, "app", selector={"app": "app"}, units=[{"resource": "ecs"}]),
        pod(scene.namespace, "gated", "spillover-scheduler", labels={"app": "app"},
            schedulingGates=[{"name": "example.com/quota"}]),
        pod(scene.namespace, "theirs", "somebody", labels={"app": "app"}),
        policy(ACK, scene.namespace, "full", selector={"app": "full"},
               units=[{"resource": "ecs", "max": 0}]),
        pod(scene.namespace, "crowded", "spillover-scheduler", labels={"app": "full"},
            schedulingGates=[{"name": "spillover.dev/crowd"}]),
    )  # fmt: skip
    crowded = explained(scene, "pod", "crowded")["pod"]
    assert crowded["outcome"] == (
        "not placed: 1 of 1 units cannot take it; but its gate spillover.dev/crowd is taken away"
        " when there is room: many pods of its namespace wait"
    )
    gated = explained(scene, "pod", "gated")["pod"]
    assert gated["outcome"] == (
        "goes to ecs when the scheduler tries it next;"
        " but its scheduling gates hold it back: example.com/quota"
    )
    assert gated["next_try"] == ""
    theirs = explained(scene, "pod", "theirs")["pod"]
    assert "but its schedulerName is somebody, which does not ask Spillover" in theirs["outcome"]
