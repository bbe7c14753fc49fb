"""What Spillover's accounts may not do with their rights: the API server refuses it."""

import json
from collections.abc import Callable

import pytest

from harness.client import ClusterError
from harness.scenes import pod
from harness.stage import Scene

SCHEDULER = "system:serviceaccount:spillover-system:spillover-scheduler"


Patch = Callable[..., str]


@pytest.fixture
def patch(scene: Scene) -> Patch:
    """Patches a pod of the test as the scheduler's account."""
    scene.add(pod(scene.namespace, "one", "nobody", labels={"app": "a"}, gpus=0))

    def patch(change: object, kind: str = "strategic") -> str:
        return scene.cluster.kubectl(
            "patch", "pod", "one", "-n", scene.namespace, f"--type={kind}",
            "-p", json.dumps(change), f"--as={SCHEDULER}",
        )  # fmt: skip

    return patch


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"annotations": {"spillover.dev/waiting": "x"}}},
        {"metadata": {"labels": {"tier": "eci"}}},
        {"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "100"}}},
    ],
    ids=["annotation", "label", "cost"],
)
def test_marks_and_costs_are_allowed(patch: Patch, change: object) -> None:
    patch(change)


def test_a_toleration_may_be_added(patch: Patch, scene: Scene) -> None:
    text = scene.cluster.kubectl("get", "pod", "one", "-n", scene.namespace, "-o", "json")
    present = json.loads(text)["spec"]["tolerations"]
    more = {"key": "virtual-kubelet.io/provider", "operator": "Exists", "effect": "NoExecute"}
    patch({"spec": {"tolerations": [*present, more]}}, "merge")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spec": {"containers": [{"name": "model", "image": "example.com/evil:1"}]}},
         "annotations, labels and tolerations"),
        ({"spec": {"activeDeadlineSeconds": 1}}, "annotations, labels and tolerations"),
        ({"metadata": {"finalizers": ["example.com/keep"]}}, "finalizers and owners"),
        ({"metadata": {"ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u"}]}},
         "finalizers and owners"),
    ],
    ids=["image", "deadline", "finalizer", "owner"],
)  # fmt: skip
def test_nothing_else_is(patch: Patch, change: object, words: str) -> None:
    """Finding 9: an image of a privileged pod of kube-system could be changed with it."""
    with pytest.raises(ClusterError, match=words):
        patch(change)


def test_others_are_not_held_to_it(scene: Scene) -> None:
    scene.add(pod(scene.namespace, "two", "nobody", gpus=0))
    scene.cluster.kubectl(
        "set", "image", "pod/two", "model=example.com/other:1", "-n", scene.namespace
    )
