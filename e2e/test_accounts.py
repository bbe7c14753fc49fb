"""What Spillover's accounts may not do with their rights: the API server refuses it."""

import json
from collections.abc import Callable

import pytest

from harness.client import ClusterError
from harness.scenes import pod
from harness.stage import Scene
from spillover.kube.credentials import Credentials
from spillover.kube.session import MERGE_PATCH, ApiError, ApiSession

NAMESPACE = "spillover-system"
ACCOUNTS = f"system:serviceaccount:{NAMESPACE}"
SCHEDULER = f"{ACCOUNTS}:spillover-scheduler"
WEBHOOK = f"{ACCOUNTS}:spillover-webhook"
CERTIFICATES = f"{ACCOUNTS}:spillover-certificates"


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


def test_of_a_pods_gates_only_that_of_crowds_may_be_taken_away(scene: Scene) -> None:
    gates = [{"name": "spillover.dev/crowd"}, {"name": "example.com/quota"}]
    scene.add(pod(scene.namespace, "gated", "nobody", gpus=0, schedulingGates=gates))

    def take(name: str) -> None:
        change = {"spec": {"schedulingGates": [{"$patch": "delete", "name": name}]}}
        scene.cluster.kubectl(
            "patch", "pod", "gated", "-n", scene.namespace, "--type=strategic",
            "-p", json.dumps(change), f"--as={SCHEDULER}",
        )  # fmt: skip

    with pytest.raises(ClusterError, match="take away its gate, and nothing else"):
        take("example.com/quota")
    take("spillover.dev/crowd")
    text = scene.cluster.kubectl("get", "pod", "gated", "-n", scene.namespace, "-o", "json")
    assert json.loads(text)["spec"]["schedulingGates"] == [{"name": "example.com/quota"}]


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


@pytest.mark.parametrize(
    ("change", "words"),
    [({"metadata": {"finalizers": ["example.com/keep"]}}, "finalizers and owners"),
     ({"metadata": {"labels": {"istio.io/rev": "b"}}}, "by the status of a pod")],
    ids=["finalizer", "label"],
)  # fmt: skip
async def test_nor_by_way_of_the_status(
    scene: Scene, patch: Patch, change: object, words: str
) -> None:
    patch({"metadata": {"annotations": {"spillover.dev/waiting": "x"}}})
    # kubectl would read the status first, which the account may not.
    token = scene.cluster.pod_folder("spillover-scheduler-0") / "extender.kubeconfig"
    path = f"/api/v1/namespaces/{scene.namespace}/pods/one/status"
    async with ApiSession(Credentials(token)) as session:
        with pytest.raises(ApiError, match=words):
            await session.request("PATCH", path, body=change, content_type=MERGE_PATCH)
        allowed = {"status": {"message": "x"}}
        await session.request("PATCH", path, body=allowed, content_type=MERGE_PATCH)


def test_others_are_not_held_to_it(scene: Scene) -> None:
    scene.add(pod(scene.namespace, "two", "nobody", gpus=0))
    scene.cluster.kubectl(
        "set", "image", "pod/two", "model=example.com/other:1", "-n", scene.namespace
    )


@pytest.mark.parametrize("account", [WEBHOOK, SCHEDULER])
@pytest.mark.parametrize(
    "kind", ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]
)
def test_who_listens_to_the_network_configures_no_webhook(
    scene: Scene, account: str, kind: str
) -> None:
    """Finding 5: a webhook for every object, at any address, is worth a cluster."""
    change = json.dumps([{"op": "add", "path": "/webhooks/0/rules/0/resources", "value": ["*"]}])
    with pytest.raises(ClusterError, match="forbidden"):
        scene.cluster.kubectl("patch", kind, "spillover", "--type=json", "-p", change,
                              f"--as={account}")  # fmt: skip


@pytest.mark.parametrize("account", [WEBHOOK, SCHEDULER, CERTIFICATES])
def test_nobody_creates_a_secret(scene: Scene, account: str) -> None:
    """Finding 10: one that is the scheduler's ServiceAccount token was created and read."""
    token = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {
            "name": "spillover-token",
            "namespace": NAMESPACE,
            "annotations": {"kubernetes.io/service-account.name": "spillover-scheduler"},
        },
    }
    with pytest.raises(ClusterError, match="forbidden"):
        scene.cluster.kubectl("create", "-f", "-", f"--as={account}", stdin=json.dumps(token))


def test_the_secret_stays_what_it_is(scene: Scene) -> None:
    """Nor is the one that is there turned into a token: a Secret's type does not change."""
    found = json.loads(
        scene.cluster.kubectl("get", "secret", "spillover-webhook", "-n", NAMESPACE, "-o", "json")
    )
    found["type"] = "kubernetes.io/service-account-token"
    with pytest.raises(ClusterError, match="immutable"):
        scene.cluster.kubectl("replace", "-f", "-", f"--as={CERTIFICATES}", stdin=json.dumps(found))


@pytest.mark.parametrize("kind", ["configmap", "lease"])
@pytest.mark.parametrize("namespace", [NAMESPACE, "kube-system"])
def test_the_scheduler_writes_no_object_but_its_own(
    scene: Scene, kind: str, namespace: str
) -> None:
    version = "v1" if kind == "configmap" else "coordination.k8s.io/v1"
    other = {"apiVersion": version, "kind": kind.title().replace("map", "Map"),
             "metadata": {"name": "other", "namespace": namespace}}  # fmt: skip
    with pytest.raises(ClusterError, match=r"and no others|forbidden"):
        scene.cluster.kubectl("create", "-f", "-", f"--as={SCHEDULER}", stdin=json.dumps(other))


def test_nor_the_lease_of_the_clusters_own_scheduler(scene: Scene) -> None:
    """Its role system:kube-scheduler has the right to update Leases of that name, anywhere."""
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
             "metadata": {"name": "kube-scheduler", "namespace": scene.namespace}}  # fmt: skip
    scene.add(lease)
    change = json.dumps({"spec": {"holderIdentity": "another"}})
    command = ("patch", "lease", "kube-scheduler", "-n", scene.namespace, "--type=merge")
    account = scene.cluster.kubectl(
        "auth", "can-i", "update", "leases/kube-scheduler", "-n", scene.namespace,
        f"--as={SCHEDULER}",
    )  # fmt: skip
    assert account.strip() == "yes"
    found = json.loads(
        scene.cluster.kubectl("get", "lease", "kube-scheduler", "-n", scene.namespace, "-o", "json")
    )
    found["spec"] = {"holderIdentity": "another"}
    with pytest.raises(ClusterError, match="and no others"):
        scene.cluster.kubectl("replace", "-f", "-", f"--as={SCHEDULER}", stdin=json.dumps(found))
    scene.cluster.kubectl(*command, "-p", change)  # an administrator may
