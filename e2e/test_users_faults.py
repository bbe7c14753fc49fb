"""Faults that users of neighbouring projects met, each as its user would meet it here."""

import json
import subprocess
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from harness.cluster import Cluster
from harness.explaining import explained
from harness.places import MANIFESTS
from harness.scenes import ACK, VKE, deployment, node, pod, policy, virtual_node
from harness.stage import Scene
from harness.watch import is_ready, node_of, scheduling_message

Object = dict[str, Any]
OURS = "spillover-scheduler"
ELASTIC: Object = {"resource": "ecs", "nodeSelector": {"pool": "elastic"}, "max": 1}
PREPAID: Object = {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}}
UNDER: dict[str, Any] = {"labels": {"app": "app"}, "gpus": 0}


def ack(scene: Scene, *units: Object, name: str = "app", **spec: object) -> Object:
    selector = spec.pop("selector", {"app": "app"})
    return policy(ACK, scene.namespace, name, selector=selector, units=list(units), **spec)


def applied(scene: Scene, *objects: Object) -> str:
    """What kubectl says on standard error, such as warnings."""
    ended = subprocess.run(
        [*scene.cluster.kubectl_command(), "apply", "-n", scene.namespace, "-f", "-"],
        input=yaml.safe_dump_all(objects),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.stderr


def workload(kind: str, name: str, labels: dict[str, str], **spec: object) -> Object:
    """A workload as its user has it, with no scheduler."""
    containers = [{"name": "c", "image": "registry.k8s.io/pause:3.10"}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


def condition(scene: Scene, name: str, kind: str) -> Object:
    found = json.loads(
        scene.cluster.kubectl(
            "get", f"resourcepolicies.{ACK}", name, "-n", scene.namespace, "-ojson"
        )
    )
    conditions = found.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind), {})


def until_condition(scene: Scene, name: str, kind: str, status: str, seconds: float) -> Object:
    deadline = time.monotonic() + seconds
    while (found := condition(scene, name, kind)).get("status") != status:
        assert time.monotonic() < deadline, f"{kind} is not {status}: {found}"
        time.sleep(0.1)
    return found


def nodes_by_name(scene: Scene) -> dict[str, str]:
    return {each["metadata"]["name"]: node_of(each) for each in scene.pods.objects.values()}


# --- F1: waits ------------------------------------------------------------------------------------


def test_f1_time_at_a_maximum_is_no_wait(scene: Scene, slack: float) -> None:
    scene.add_nodes(virtual_node("vk"), node("el-1", gpus=1, labels={"pool": "elastic"}))
    when = {"policy": "TimeoutOrExceedMax", "timeout": "12s"}
    scene.add(ack(scene, ELASTIC, {"resource": "eci", "max": 1}, whenTryNextUnits=when))
    for name, count in (("one", 1), ("two", 2)):
        scene.add(pod(scene.namespace, name, OURS, labels={"app": "app"}))
        scene.pods.wait_for(
            lambda pods, count=count: sum(map(bool, map(node_of, pods))) == count,  # type: ignore[misc]
            30 * slack,
            f"{name} placed",
        )
    scene.add(pod(scene.namespace, "three", OURS, labels={"app": "app"}))
    scene.pods.wait_for(
        lambda pods: any("at its max" in scheduling_message(each) for each in pods),
        30 * slack,
        "three told that both units are full",
    )
    begun = time.monotonic()
    scene.pods.wait_quiet(14, 60)  # longer than the timeout
    print(f"three waited {time.monotonic() - begun:.0f} s at both maxima")
    scene.cluster.kubectl("delete", "node", "el-1")
    scene.cluster.kubectl("delete", "pod", "one", "two", "-n", scene.namespace, "--force")
    scene.pods.wait_for(
        lambda pods: any("waits for ecs until" in scheduling_message(each) for each in pods),
        30 * slack,
        "three waiting for a node",
    )
    scene.add_nodes(node("el-2", gpus=1, labels={"pool": "elastic"}))
    scene.pods.wait_for(lambda pods: any(map(node_of, pods)), 30 * slack, "three placed")
    assert nodes_by_name(scene) == {"three": "el-2"}


def test_f1_time_without_the_claim_is_no_wait(scene: Scene, slack: float) -> None:
    scene.add_nodes(virtual_node("vk"), node("full-1", gpus=0, labels={"pool": "elastic"}))
    when = {"policy": "TimeoutOrExceedMax", "timeout": "10s"}
    scene.add(ack(scene, {**ELASTIC, "max": 5}, {"resource": "eci"}, whenTryNextUnits=when))
    volume = {"name": "d", "persistentVolumeClaim": {"claimName": "model"}}
    scene.add(pod(scene.namespace, "late", OURS, labels={"app": "app"}, volumes=[volume]))
    scene.pods.wait_for(
        lambda pods: any('"model" not found' in scheduling_message(each) for each in pods),
        30 * slack,
        "the scheduler misses the claim",
    )
    scene.pods.wait_quiet(12, 60)
    spec: Object = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "",
        "capacity": {"storage": "1Gi"},
        "claimRef": {"namespace": scene.namespace, "name": "model"},
        "nfs": {"server": "127.0.0.1", "path": "/m"},
    }
    volume_name = f"pv-{scene.namespace}"
    scene.add(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume_name},
            "spec": spec,
        }
    )
    begun = time.monotonic()
    claim = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "",
        "volumeName": volume_name,
        "resources": {"requests": {"storage": "1Gi"}},
    }
    metadata = {"name": "model", "namespace": scene.namespace}
    scene.add(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim}
    )
    try:
        scene.pods.wait_for(lambda pods: any(map(node_of, pods)), 40 * slack, "late placed")
        waited = time.monotonic() - begun
        print(f"placed {waited:.1f} s after its claim was there")
        assert waited > 9
        assert nodes_by_name(scene) == {"late": "vk"}
    finally:
        scene.cluster.kubectl("delete", "pv", volume_name, "--wait=false")


# --- F2: topology spread --------------------------------------------------------------------------


SPREAD: Object = {
    "topologyKey": "topology.kubernetes.io/zone",
    "whenUnsatisfiable": "DoNotSchedule",
    "nodeTaintsPolicy": "Honor",
    "labelSelector": {"matchLabels": {"app": "app"}},
}


def zones_of(pods: list[Object]) -> dict[str, int]:
    """The zone is the first part of a node's name."""
    return dict(Counter(node_of(each).partition("-")[0] for each in pods if node_of(each)))


def spread_case(chance: Random) -> tuple[list[Object], int, int]:
    """Nodes, pods and maxSkew: enough virtual capacity in each zone, and few real places."""
    nodes = []
    zones = [f"z{number}" for number in range(chance.choice([2, 2, 3]))]
    for zone in zones:
        labels = {"topology.kubernetes.io/zone": zone}
        real = chance.randrange(4)
        if real:
            nodes.append(node(f"{zone}-real", gpus=real, labels={**labels, "pool": "prepaid"}))
        vk = virtual_node(f"{zone}-vk")
        vk["metadata"]["labels"].update(labels)
        nodes.append(vk)
    return nodes, chance.randrange(6, 13), chance.choice([1, 1, 2])


@pytest.mark.timeout(900)
def test_f2_the_skew_is_that_of_the_stock_scheduler_with_the_toleration(
    scene: Scene, slack: float, *, full: bool
) -> None:
    """The stock scheduler prefers no unit, so only the pods of each zone are compared, where the
    skew decides them."""
    scene.add(ack(scene, PREPAID, {"resource": "eci"}))
    toleration = {"key": "virtual-kubelet.io/provider", "operator": "Exists"}
    for number in range(20 if full else 3):
        nodes, count, skew = spread_case(Random(number))
        scene.add_nodes(*nodes)
        found = []
        for scheduler, tolerations in ((OURS, []), ("default-scheduler", [toleration])):
            app = "app" if scheduler == OURS else "stock"
            selector = {"labelSelector": {"matchLabels": {"app": app}}}
            constraint = {**SPREAD, **selector, "maxSkew": skew}
            scene.add(
                *(
                    pod(
                        scene.namespace, f"{app}-{number}-{index}", scheduler, labels={"app": app},
                        topologySpreadConstraints=[constraint], tolerations=tolerations,
                    )
                    for index in range(count)
                )
            )  # fmt: skip
            pods = scene.pods.wait_for(
                lambda pods, count=count: (  # type: ignore[misc]
                    len(pods) == count and all(map(node_of, pods))
                ),
                60 * slack,
                f"case {number}: all {count} pods of {scheduler} placed",
            )
            found.append(zones_of(pods))
            scene.cluster.kubectl("delete", "pods", "--all", "-n", scene.namespace, "--force")
            scene.pods.wait_for(lambda pods: not pods, 60, "the pods gone")
        ours, stock = found
        zones = {each["metadata"]["name"].partition("-")[0] for each in nodes}
        spread = [ours.get(zone, 0) for zone in zones]
        print(f"case {number}, maxSkew {skew}: ours {ours}, stock {stock}")
        assert max(spread) - min(spread) <= skew
        if skew == 1:
            assert sorted(ours.values()) == sorted(stock.values())
        scene.cluster.kubectl("delete", "nodes", "--all")


# --- F3: ratios -----------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [[4], [8, 6, 4]], ids=["at once", "in steps"])
def test_f3_a_scale_in_leaves_what_a_fresh_start_would_have(
    scene: Scene, slack: float, steps: list[int]
) -> None:
    scene.add_nodes(node("base", gpus=20), virtual_node("vk"))
    subsets = [
        {"name": "base", "type": "ecs", "maxReplicasRatio": "0.5"},
        {"name": "burst", "type": "vci"},
    ]
    scene.add(policy(VKE, scene.namespace, "app", selector={"app": "app"}, subsets=subsets))
    scene.add(deployment(scene.namespace, "app", OURS, replicas=10))
    scene.pods.wait_for(lambda pods: sum(map(is_ready, pods)) == 10, 60 * slack, "10 ready")
    for size in steps:
        scene.scale("app", size)
        pods = scene.pods.wait_for(lambda pods, size=size: len(pods) == size, 60, f"{size} left")  # type: ignore[misc]
        there = Counter(node_of(each) for each in pods)
        print(f"{size} left: {dict(there)}")
        assert there == {"base": size // 2, "vk": size - size // 2}


# --- F4: DaemonSets -------------------------------------------------------------------------------


def test_f4_a_daemon_set_takes_no_slot_and_runs_everywhere(scene: Scene, slack: float) -> None:
    names = ["p1", "p2", "p3", "post1", "other"]
    pools = ["prepaid", "prepaid", "prepaid", "postpaid", "tools"]
    scene.add_nodes(
        *(node(name, labels={"pool": pool}) for name, pool in zip(names, pools, strict=True)),
        virtual_node("vk"),
    )
    postpaid = {"resource": "ecs", "nodeSelector": {"pool": "postpaid"}}
    units = [{**PREPAID, "max": 2}, {"resource": "eci", "max": 2}, postpaid]
    assert "is empty" in applied(scene, ack(scene, *units, selector={}))
    agent = workload("DaemonSet", "agent", {"app": "agent"})
    agent["spec"]["template"]["spec"]["tolerations"] = [{"operator": "Exists"}]
    applied(scene, agent)
    pods = scene.pods.wait_for(
        lambda pods: len(pods) == 6 and all(map(node_of, pods)), 60 * slack, "six agents"
    )
    assert {each["spec"]["schedulerName"] for each in pods} == {"default-scheduler"}
    applied(scene, workload("Deployment", "web", {"app": "web"}, replicas=3))
    pods = scene.pods.wait_for(
        lambda pods: len(pods) == 9 and all(map(node_of, pods)), 60 * slack, "three more"
    )
    web = Counter(node_of(each)[0] for each in pods if each["metadata"]["labels"]["app"] == "web")
    assert web == {"p": 2, "v": 1}
    name = next(
        each["metadata"]["name"] for each in pods if each["metadata"]["labels"]["app"] == "agent"
    )
    assert "DaemonSet" in explained(scene, "pod", name)["pod"]["outcome"]


# --- F5: explain ----------------------------------------------------------------------------------


def test_f5_explain_gives_the_reason_of_other_plugins(scene: Scene, slack: float) -> None:
    nodes = [node("p1", labels={"pool": "prepaid"}), virtual_node("vk")]
    for each in nodes:
        each["metadata"]["labels"]["kubernetes.io/hostname"] = each["metadata"]["name"]
    scene.add_nodes(*nodes)
    scene.add(ack(scene, PREPAID, {"resource": "eci", "max": 5}))
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {"app": "app"}},
    }
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    scene.add(
        *(
            pod(scene.namespace, f"w-{number}", OURS, **UNDER, affinity=affinity)
            for number in range(3)
        )
    )
    scene.pods.wait_for(
        lambda pods: (
            sum(map(bool, map(node_of, pods))) == 2
            and any("anti-affinity" in scheduling_message(each) for each in pods)
        ),
        60 * slack,
        "two placed, one refused",
    )
    waiting = next(each for each in scene.pods.objects.values() if not node_of(each))
    report = explained(scene, "pod", waiting["metadata"]["name"])["pod"]
    assert report["outcome"].startswith("not placed: the scheduler finds no node: ")
    assert "anti-affinity" in report["outcome"]
    assert "within seconds" not in report["next_try"]
    assert not any(unit["reached"] for unit in report["units"])


def test_f5_explain_knows_host_ports(scene: Scene, slack: float) -> None:
    scene.add_nodes(node("p1", labels={"pool": "prepaid"}), virtual_node("vk"))
    scene.add(ack(scene, PREPAID, {"resource": "eci", "max": 0}))
    ports = [{"containerPort": 80, "hostPort": 8080}]
    for name in ("first", "second"):
        made = pod(scene.namespace, name, OURS, **UNDER)
        made["spec"]["containers"][0]["ports"] = ports
        scene.add(made)
        scene.pods.wait_for(lambda pods: any(map(node_of, pods)), 60 * slack, "the first placed")
    scene.pods.wait_for(
        lambda pods: any(scheduling_message(each) for each in pods if not node_of(each)),
        60 * slack,
        "the second refused",
    )
    report = explained(scene, "pod", "second")["pod"]
    assert report["units"][0]["nodes"] == {"with a host port of the pod taken": ["p1"]}


# --- F6, F9, F10, F15: what pods get, and warnings ------------------------------------------------


def test_f6_slices_of_gpus_and_other_vendors_are_gpus(scene: Scene, slack: float) -> None:
    vk = virtual_node("vk")
    resources = ("nvidia.com/mig-1g.10gb", "gpu.intel.com/i915")
    for part in ("capacity", "allocatable"):
        vk["status"][part] = {**vk["status"][part], **dict.fromkeys(resources, "1k")}
    scene.add_nodes(vk)
    scene.add(ack(scene, {"resource": "acs"}))
    for index, name in enumerate(resources):
        made = pod(scene.namespace, f"slice-{index}", OURS, **UNDER)
        made["spec"]["containers"][0]["resources"] = {"limits": {name: "1"}}
        scene.add(made)
    pods = scene.pods.wait_for(
        lambda pods: len(pods) == 2 and all(map(node_of, pods)), 60 * slack, "both placed"
    )
    key = "alibabacloud.com/compute-class"
    assert [each["metadata"]["labels"][key] for each in pods] == ["gpu", "gpu"]


def test_f9_a_label_with_the_same_value_is_no_warning(scene: Scene) -> None:
    unit = {"resource": "ecs", "podLabels": {"app": "app"}}
    scene.add(ack(scene, unit, {"resource": "eci"}))
    # The webhook warns of the other policy's label: by then it knows both.
    other = {"resource": "ecs", "podLabels": {"tier": "base"}}
    scene.add(ack(scene, other, name="other", selector={"app": "other"}))
    deadline = time.monotonic() + 30
    labels = {"app": "other", "tier": "any"}
    while "the label tier" not in applied(scene, workload("Deployment", "o", labels, replicas=0)):
        assert time.monotonic() < deadline, "no warning at all"
        scene.cluster.kubectl("delete", "deployment", "o", "-n", scene.namespace)
    said = applied(scene, workload("Deployment", "w", {"app": "app"}, replicas=0))
    assert "Warning" not in said


def test_f10_a_namespace_may_ask_for_eci(scene: Scene, slack: float) -> None:
    scene.add_nodes(node("p1"), virtual_node("vk"))
    label = "alibabacloud.com/eci"
    scene.cluster.kubectl("label", "namespace", scene.namespace, f"{label}=true")
    wanted = {"asks": "vk", "says-no": "p1"}

    def placed() -> bool:
        # The webhook's view of the namespace may be a moment old.
        applied(scene, workload("Deployment", "asks", {"app": "asks"}, replicas=1))
        no = workload("Deployment", "says-no", {"app": "says-no", label: "false"}, replicas=1)
        applied(scene, no)
        pods = scene.pods.wait_for(
            lambda pods: len(pods) == 2 and all(map(node_of, pods)), 60 * slack, "both placed"
        )
        found = {each["metadata"]["labels"]["app"]: node_of(each) for each in pods}
        if found == wanted:
            return True
        scene.cluster.kubectl("delete", "deployments", "--all", "-n", scene.namespace)
        scene.pods.wait_for(lambda pods: not pods, 60, "the pods gone")
        return False

    assert any(placed() for _ in range(5))


def test_f15_no_label_that_a_controller_selects_by_is_changed(scene: Scene, slack: float) -> None:
    scene.add_nodes(node("p1"), virtual_node("vk"))
    applied(scene, workload("Deployment", "w", {"app": "app", "tier": "any"}, replicas=0))
    units = [
        {"resource": "ecs", "podLabels": {"tier": "prepaid", "more": "yes"}, "max": 3},
        {"resource": "eci", "podLabels": {"tier": "eci"}, "max": 3},
    ]
    said = applied(scene, ack(scene, *units))
    assert "the label tier of some units is not written to the pods of w" in said
    scene.scale("w", 1)
    scene.pods.wait_for(lambda pods: any(map(is_ready, pods)), 60 * slack, "ready")
    found = until_condition(scene, "app", "LabelsKept", "True", 30 * slack)
    assert "tier of ecs" in found["message"]
    (only,) = scene.pods.objects.values()
    labels = only["metadata"]["labels"]
    assert (labels["tier"], labels["more"]) == ("any", "yes")
    assert len({event["metadata"]["uid"] for _, event in scene.pods.events}) == 1
    scene.cluster.kubectl("delete", "deployment", "w", "-n", scene.namespace)
    until_condition(scene, "app", "LabelsKept", "False", 30 * slack)


# --- F11, F14: one dialect ------------------------------------------------------------------------


def test_f11_both_dialects_have_short_names(scene: Scene) -> None:
    scene.add(ack(scene, PREPAID, name="of-ack"))
    subsets = [{"name": "a", "type": "ecs"}]
    scene.add(policy(VKE, scene.namespace, "of-vke", selector={"app": "b"}, subsets=subsets))
    for short, name in (("ackrp", "of-ack"), ("vkerp", "of-vke")):
        for verb in ("get", "describe", "delete"):
            assert name in scene.cluster.kubectl(verb, short, name, "-n", scene.namespace)


@pytest.mark.parametrize(("overlay", "kept"), [("ack-only", ACK), ("vke-only", VKE)])
def test_f11_an_overlay_has_one_dialect(scene: Scene, overlay: str, kept: str) -> None:
    built = scene.cluster.kubectl("kustomize", str(MANIFESTS.parent / "overlays" / overlay))
    crds = [
        each["spec"]["group"]
        for each in yaml.safe_load_all(built)
        if each["kind"] == "CustomResourceDefinition"
    ]
    assert crds == [kept]


def established(cluster: Cluster, file: Path) -> None:
    cluster.apply(yaml.safe_load(file.read_text()))
    cluster.kubectl("wait", "--for=condition=Established", "-f", str(file), "--timeout=30s")


def test_f14_a_dialect_without_its_crd_has_no_policies(scene: Scene, slack: float) -> None:
    crd = MANIFESTS / "crds" / f"resourcepolicies.{VKE}.yaml"
    scene.add_nodes(node("p1", labels={"pool": "prepaid"}), virtual_node("vk"))
    scene.add(ack(scene, PREPAID))
    scene.cluster.kubectl("delete", "-f", str(crd))
    try:
        scene.add(
            pod(scene.namespace, "under", OURS, **UNDER),
            pod(scene.namespace, "free", OURS, gpus=0),
        )
        scene.pods.wait_for(
            lambda pods: len(pods) == 2 and all(map(node_of, pods)), 30 * slack, "both placed"
        )
    finally:
        established(scene.cluster, crd)
    subsets = [{"name": "v", "type": "vci"}]
    deadline = time.monotonic() + 30 * slack
    scene.add(policy(VKE, scene.namespace, "back", selector={"app": "b"}, subsets=subsets))
    number = 0
    while True:  # the new CRD is found within seconds
        name = f"b-{number}"
        scene.add(pod(scene.namespace, name, OURS, labels={"app": "b"}, gpus=0))
        scene.pods.wait_for(lambda pods: all(map(node_of, pods)), 30 * slack, f"{name} placed")
        if nodes_by_name(scene)[name] == "vk":
            break
        assert time.monotonic() < deadline, "the dialect is back and has no policies"
        number += 1


# --- F12, and what is smaller ---------------------------------------------------------------------


def test_f12_pods_of_another_scheduler_are_told_of(scene: Scene, slack: float) -> None:
    scene.add(ack(scene, PREPAID))
    until_condition(scene, "app", "PodsNotRouted", "False", 30 * slack)
    scene.add(pod(scene.namespace, "theirs", "volcano", **UNDER))
    found = until_condition(scene, "app", "PodsNotRouted", "True", 30 * slack)
    assert "volcano" in found["message"]
    assert "theirs" in found["message"]
    deadline = time.monotonic() + 30 * slack
    while not scene.cluster.items(
        "events", "-n", scene.namespace, "--field-selector=reason=PodsNotRouted"
    ):
        assert time.monotonic() < deadline, "no event"
    scene.cluster.kubectl("delete", "pod", "theirs", "-n", scene.namespace, "--force")
    until_condition(scene, "app", "PodsNotRouted", "False", 30 * slack)


def test_a_selector_of_another_shape_is_explained(scene: Scene) -> None:
    wrong = ack(scene, PREPAID, selector={"matchLabels": {"app": "web"}})
    said = applied(scene, wrong)
    assert "spec.selector: is a plain map of labels" in said
    assert "write selector: {app: web}" in said
