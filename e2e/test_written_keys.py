"""What a policy may write onto pods: API server, webhook and extender give one answer."""

import json
import time
from collections.abc import Iterator

import pytest

from harness.client import ClusterError
from harness.cluster import Cluster
from harness.containers import extender
from harness.metrics import total
from harness.scenes import ACK, node, pod, policy, virtual_node
from harness.stage import Scene
from harness.watch import is_ready, node_of, scheduling_message
from spillover.core.admission.binding_keys import CONFIG_MAP

SCHEDULER = "spillover-scheduler"
ROLE = "k8s.aliyun.com/eci-ram-role-name"
NAMESPACE = "spillover-system"


def units(**unit: object) -> list[object]:
    return [{"resource": "eci", **unit}]


@pytest.fixture
def edited(cluster: Cluster) -> Iterator[Cluster]:
    """A cluster whose ConfigMap a test may edit."""
    before = json.loads(cluster.kubectl("get", "cm", CONFIG_MAP, "-n", NAMESPACE, "-o", "json"))
    yield cluster
    if CONFIG_MAP not in cluster.kubectl("get", "cm", "-n", NAMESPACE, "-o", "name"):
        named = {"name": CONFIG_MAP, "namespace": NAMESPACE}
        cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": named})
    edit(cluster, before["data"])


def edit(cluster: Cluster, data: dict[str, str]) -> None:
    change = json.dumps({"data": data})
    cluster.kubectl("patch", "cm", CONFIG_MAP, "-n", NAMESPACE, "--type=merge", "-p", change)


def test_a_policy_that_grants_is_refused_with_its_path(scene: Scene) -> None:
    """Finding 4: a pod got a role that admission had refused it."""
    bad = policy(ACK, scene.namespace, "bad", selector={"app": "a"},
                 units=units(podAnnotations={ROLE: "admin"}))  # fmt: skip
    with pytest.raises(ClusterError) as refused:
        scene.add(bad)
    assert f"spec.units[0].podAnnotations[{ROLE}]" in str(refused.value)


def test_one_that_was_there_before_places_nothing_and_says_why(scene: Scene) -> None:
    scene.add_nodes(virtual_node("virtual"))
    scene.add_unchecked(policy(ACK, scene.namespace, "bad", selector={"app": "a"},
                               units=units(podAnnotations={ROLE: "admin"})))  # fmt: skip
    scene.add(pod(scene.namespace, "one", SCHEDULER, labels={"app": "a"}, gpus=0))
    (found,) = scene.pods.wait_for(
        lambda pods: bool(pods and scheduling_message(pods[0])), 30, "the pod says why it waits"
    )
    assert node_of(found) == ""
    assert ROLE in scheduling_message(found)
    text = scene.cluster.kubectl(
        "wait", f"resourcepolicies.{ACK}/bad", "-n", scene.namespace,
        "--for=condition=Invalid", "--timeout=30s",
    )  # fmt: skip
    assert "condition met" in text


def test_an_edit_of_the_list_is_in_force_at_once_for_all(scene: Scene, edited: Cluster) -> None:
    scene.add_nodes(node("ordinary", gpus=0))
    scene.add(policy(ACK, scene.namespace, "own", selector={"app": "a"},
                     units=[{"resource": "ecs", "podLabels": {"key1": "value1"}}]))  # fmt: skip
    edit(edited, {"allowed": "^tier$"})
    edited.kubectl(
        "wait", f"resourcepolicies.{ACK}/own", "-n", scene.namespace,
        "--for=condition=Invalid", "--timeout=30s",
    )  # fmt: skip
    scene.add(pod(scene.namespace, "one", SCHEDULER, labels={"app": "a"}, gpus=0))
    scene.pods.wait_for(
        lambda pods: bool(pods and "key1" in scheduling_message(pods[0])), 30, "it waits"
    )
    edit(edited, {"allowed": ""})
    (found,) = scene.pods.wait_for(
        lambda pods: bool(pods and is_ready(pods[0])), 30, "the pod is placed"
    )
    assert found["metadata"]["labels"]["key1"] == "value1"


def test_strict_mode_lets_pods_onto_nodes_of_a_zone(scene: Scene, edited: Cluster) -> None:
    """From Kubernetes 1.35 on the API server adds the node's zone and region to a Binding."""
    place = {f"topology.kubernetes.io/{key}": "here" for key in ("zone", "region")}
    scene.add_nodes(node("in-a-zone", gpus=0, labels=place))
    edit(edited, {"allowed": "^tier$"})
    scene.add(policy(ACK, scene.namespace, "own", selector={"app": "a"},
                     units=[{"resource": "ecs", "podLabels": {"tier": "base"}}]))  # fmt: skip
    for name, labels in (("under-a-policy", {"app": "a"}), ("under-none", {})):
        scene.add(pod(scene.namespace, name, SCHEDULER, labels=labels, gpus=0))
    found = scene.pods.wait_for(
        lambda pods: len(pods) == 2 and all(map(is_ready, pods)), 30, "both pods are placed"
    )
    assert all(place.items() <= each["metadata"]["labels"].items() for each in found)
    with pytest.raises(ClusterError, match=r"topology\.kubernetes\.io/zone"):
        scene.add(policy(ACK, scene.namespace, "writes-it", selector={"app": "b"},
                         units=units(podLabels={"topology.kubernetes.io/zone": "x"})))  # fmt: skip
    assert [each["metadata"]["labels"].get("tier") for each in found].count("base") == 1


def test_without_the_list_nobody_else_is_stopped(scene: Scene, edited: Cluster) -> None:
    """Whoever deletes the namespace deletes the ConfigMap with it: other schedulers bind, and the
    status of pods changes. Spillover places, and writes no key."""
    scene.add_nodes(node("ordinary", gpus=0))
    scene.add(
        policy(ACK, scene.namespace, "own", selector={"app": "a"},
               units=[{"resource": "ecs", "podLabels": {"key1": "value1"}}]),
        policy(ACK, scene.namespace, "bare", selector={"app": "b"}, units=[{"resource": "ecs"}]),
    )  # fmt: skip
    edited.kubectl("delete", "cm", CONFIG_MAP, "-n", NAMESPACE)
    edited.kubectl(
        "wait", f"resourcepolicies.{ACK}/own", "-n", scene.namespace,
        "--for=condition=Invalid", "--timeout=30s",
    )  # fmt: skip
    for name, scheduler, app in (
        ("others", "default-scheduler", "other"),
        ("ours", SCHEDULER, "b"),
        ("waits", SCHEDULER, "a"),
    ):
        scene.add(pod(scene.namespace, name, scheduler, labels={"app": app}, gpus=0))
    found = scene.pods.wait_for(
        lambda pods: (
            {each["metadata"]["name"] for each in pods if is_ready(each)} == {"others", "ours"}
            and any(scheduling_message(each) for each in pods)
        ),
        30,
        "all run that need no key",
    )
    (message,) = filter(None, map(scheduling_message, found))
    assert "podLabels[key1]" in message
    assert f"no readable ConfigMap {CONFIG_MAP}" in message


def test_each_line_is_an_expression_of_its_own(scene: Scene, edited: Cluster) -> None:
    """The API server judges by all lines at once."""
    scene.add_nodes(node("ordinary", gpus=0))
    edit(edited, {"allowed": "# ours\n^tier$|^stage$\n\n^own-"})
    for number, (key, passes) in enumerate(
        (("tier", True), ("own-key", True), ("stages", False), ("my-own-key", False))
    ):
        name = f"pod-{number}"
        scene.add(pod(scene.namespace, name, "nobody", gpus=0))
        if passes:
            bind(scene, name, "labels", key)
        else:
            with pytest.raises(ClusterError, match=f"lets no policy write {key}"):
                bind(scene, name, "labels", key)


@pytest.mark.parametrize(
    ("part", "key", "is_refused"),
    [
        ("annotations", ROLE, True),
        ("labels", "istio.io/rev", True),
        ("annotations", "k8s.aliyun.com/eci-use-specs", False),
        ("labels", "key1", False),
        ("annotations", "spillover.dev/unit", False),
    ],
)
def test_the_api_server_refuses_such_a_binding_itself(
    scene: Scene, part: str, key: str, *, is_refused: bool
) -> None:
    """Whatever the extender believes: by the scheduler's account."""
    scene.add_nodes(node("ordinary", gpus=0))
    scene.add(pod(scene.namespace, "one", "nobody", gpus=0))
    if is_refused:
        with pytest.raises(ClusterError, match=f"lets no policy write {key}"):
            bind(scene, "one", part, key)
    else:
        bind(scene, "one", part, key)


def bind(scene: Scene, name: str, part: str, key: str) -> None:
    """By the scheduler's account, with this key among the labels or annotations."""
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": scene.namespace, part: {key: "x"}},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "ordinary"},
    }
    scene.cluster.kubectl(
        "create", "--raw", f"/api/v1/namespaces/{scene.namespace}/pods/{name}/binding",
        "--as=system:serviceaccount:spillover-system:spillover-scheduler", "-f", "-",
        stdin=json.dumps(binding),
    )  # fmt: skip


@pytest.mark.parametrize("is_there", [True, False])
def test_nor_by_a_patch_before_the_binding(scene: Scene, *, is_there: bool) -> None:
    """As on API servers before 1.35: a value of a key that the pod has counts too."""
    labels = {"istio.io/rev": "a"} if is_there else {}
    scene.add(pod(scene.namespace, "one", "nobody", labels=labels, gpus=0))
    command = (
        "patch", "pod", "one", "-n", scene.namespace, "--type=merge",
        "--as=system:serviceaccount:spillover-system:spillover-scheduler", "-p",
    )  # fmt: skip
    with pytest.raises(ClusterError, match="lets no policy write istio"):
        scene.cluster.kubectl(*command, json.dumps({"metadata": {"labels": {"istio.io/rev": "b"}}}))
    scene.cluster.kubectl(*command, json.dumps({"metadata": {"labels": {"key1": "b"}}}))
    found = json.loads(
        scene.cluster.kubectl("get", "pod", "one", "-n", scene.namespace, "-o", "json")
    )
    found["metadata"].setdefault("annotations", {})[ROLE] = "admin"
    with pytest.raises(ClusterError, match="by the status of a pod"):
        scene.cluster.kubectl(
            "replace", "--raw", f"/api/v1/namespaces/{scene.namespace}/pods/one/status",
            "--as=system:serviceaccount:spillover-system:spillover-scheduler", "-f", "-",
            stdin=json.dumps(found),
        )  # fmt: skip


@pytest.fixture
def own_rule(scene: Scene) -> Iterator[None]:
    """An admission policy of the cluster's own, which Spillover does not know: no pod of the test's
    namespace may be bound with a label `tier: gold`."""
    name = f"no-gold-{scene.namespace}"
    api = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
            "resources": ["pods/binding"]}  # fmt: skip
    namespaces = {"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}}
    scene.add(
        {**api, "kind": "ValidatingAdmissionPolicy",
         "spec": {"matchConstraints": {"resourceRules": [rule], "namespaceSelector": namespaces},
                  "validations": [{"expression": "object.metadata.?labels[?'tier'] != "
                                                 "optional.of('gold')"}]}},
        {**api, "kind": "ValidatingAdmissionPolicyBinding",
         "spec": {"policyName": name, "validationActions": ["Deny"]}},
    )  # fmt: skip
    kinds = ("validatingadmissionpolicybinding", "validatingadmissionpolicy")
    yield
    for kind in kinds:
        scene.cluster.kubectl("delete", kind, name, "--ignore-not-found")


@pytest.mark.usefixtures("own_rule")
def test_what_the_api_server_alone_refuses_is_told_and_not_tried_for_ever(scene: Scene) -> None:
    scene.add_nodes(node("ordinary", gpus=0))
    wait_refused(scene)
    scene.add(policy(ACK, scene.namespace, "gold", selector={"app": "a"},
                     units=[{"resource": "ecs", "podLabels": {"tier": "gold"}}]))  # fmt: skip
    before = total(extender(scene.cluster), "spillover_bind_errors_total")
    scene.add(pod(scene.namespace, "one", SCHEDULER, labels={"app": "a"}, gpus=0))
    scene.cluster.kubectl(
        "wait", f"resourcepolicies.{ACK}/gold", "-n", scene.namespace,
        "--for=condition=BindingRefused", "--timeout=30s",
    )  # fmt: skip
    scene.pods.wait_for(
        lambda pods: "the API server refused the binding" in scheduling_message(pods[0]),
        30,
        "the pod says why it waits",
    )
    scene.cluster.kubectl("delete", "validatingadmissionpolicybinding",
                          f"no-gold-{scene.namespace}")  # fmt: skip
    scene.pods.wait_for(lambda pods: is_ready(pods[0]), 120, "placed once it may be")
    tries = total(extender(scene.cluster), "spillover_bind_errors_total") - before
    assert 1 <= tries <= 6
    scene.cluster.kubectl(
        "wait", f"resourcepolicies.{ACK}/gold", "-n", scene.namespace,
        "--for=condition=BindingRefused=false", "--timeout=30s",
    )  # fmt: skip


def wait_refused(scene: Scene) -> None:
    """Until the API server goes by the rule, which it learns of by a watch."""
    scene.add(pod(scene.namespace, "probe", "nobody", gpus=0))
    binding = {
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": "probe", "namespace": scene.namespace, "labels": {"tier": "gold"}},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "nowhere"},
    }  # fmt: skip
    path = f"/api/v1/namespaces/{scene.namespace}/pods/probe/binding?dryRun=All"
    deadline = time.monotonic() + 30
    while True:
        try:
            scene.cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(binding))
        except ClusterError as error:
            if "denied request" in str(error):
                break
            raise
        assert time.monotonic() < deadline
    scene.cluster.kubectl("delete", "pod", "probe", "-n", scene.namespace, "--force")
    scene.pods.wait_for(lambda pods: not pods, 30, "the probe is gone")
