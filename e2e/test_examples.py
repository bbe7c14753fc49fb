"""The examples in docs/examples: each is good YAML, and does what it says."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.places import ROOT
from harness.scenes import node, pod, virtual_node
from harness.stage import Scene
from harness.watch import is_live, node_of, scheduling_message

Object = dict[str, Any]
FILES = sorted((ROOT / "docs" / "examples").glob("*.yaml"))
ACS = ("alibabacloud.com/acs", "alibabacloud.com/compute-class", "alibabacloud.com/compute-qos")


def prepaid(gpus: int = 9, name: str = "prepaid-0", **labels: str) -> Object:
    return node(name, gpus=gpus, labels={"pool": "prepaid", **labels})


def elastic(gpus: int = 9) -> Object:
    return node("elastic-0", gpus=gpus, labels={"goatscaler.io/managed": "true"})


VIRTUAL = virtual_node("virtual-0")
OTHER = node("other-0", gpus=9)
LARGE = {"pool": "prepaid", "zone": "a", "gpu-memory": "80", "generation": "8", "nvlink": "v4"}


@dataclass(frozen=True)
class Case:
    """On these nodes, `places` become of the live pods: how many on each kind of node, "" for those
    that wait; `message` is part of what the waiting ones are told. `before` is done first, and
    `check` looks at the pods at the end."""

    nodes: Sequence[Object]
    places: dict[str, int]
    message: str = ""
    before: Callable[[Scene], None] = lambda _: None
    check: Callable[[list[Object]], None] = lambda _: None


def low_pod(scene: Scene) -> None:
    """Takes the one place of the first unit."""
    scene.add(pod(scene.namespace, "low", "spillover-scheduler", labels={"app": "inference"}))
    scene.pods.wait_for(lambda pods: any(map(node_of, pods)), 60, "the first pod bound")


def previous_pod(scene: Scene) -> None:
    """Runs before there is a policy. creationTimestamp has a resolution of a second."""
    low_pod(scene)
    (there,) = scene.pods.objects.values()
    made = there["metadata"]["creationTimestamp"]
    probe = made
    while probe == made:
        scene.cluster.kubectl(
            "delete", "configmap", "clock", "-n", scene.namespace, "--ignore-not-found"
        )
        scene.cluster.kubectl("create", "configmap", "clock", "-n", scene.namespace)
        probe = scene.cluster.kubectl(
            "get", "configmap", "clock", "-n", scene.namespace,
            "-o", "jsonpath={.metadata.creationTimestamp}",
        )  # fmt: skip


def leaving_pod(scene: Scene) -> None:
    """Was bound under the policy, is being deleted, and takes its time."""
    held = pod(scene.namespace, "low", "spillover-scheduler", labels={"app": "inference"})
    held["metadata"]["finalizers"] = ["spillover.dev/test"]
    scene.add(held)
    scene.pods.wait_for(lambda pods: any(map(node_of, pods)), 60, "the first pod bound")
    scene.cluster.kubectl("delete", "pod", "low", "-n", scene.namespace, "--wait=false")
    scene.pods.wait_for(lambda pods: not any(map(is_live, pods)), 60, "it is being deleted")


def carries(key: str, value: str, where: str) -> Callable[[list[Object]], None]:
    """Pods on nodes of that kind carry the label or annotation, others do not."""

    def check(pods: list[Object]) -> None:
        for each in pods:
            metadata = each["metadata"]
            found = {**metadata.get("annotations", {}), **metadata.get("labels", {})}.get(key)
            assert (found == value) == (kind(each) == where), each["metadata"]

    return check


def both(*checks: Callable[[list[Object]], None]) -> Callable[[list[Object]], None]:
    def check(pods: list[Object]) -> None:
        for each in checks:
            each(pods)

    return check


def no_marker(pods: list[Object]) -> None:
    assert not any(
        "wait-for-ecs-scaling" in json.dumps(each["metadata"]["labels"]) for each in pods
    )


CASES = {
    "ack-order": Case(
        [prepaid(2), elastic(2), VIRTUAL], {"prepaid": 2, "elastic": 2, "virtual": 1}
    ),
    "ack-max": Case(
        [OTHER, VIRTUAL], {"other": 1, "virtual": 1, "": 1},
        "1 ecs is at its max of 1",
    ),
    "ack-namespace": Case(
        [OTHER, VIRTUAL], {"other": 1, "virtual": 1, "": 1}, "1 eci is at its max of 1"
    ),
    "ack-max-resources": Case([OTHER, VIRTUAL], {"other": 2, "virtual": 1}),
    "ack-pod-labels": Case(
        [OTHER, VIRTUAL], {"other": 1, "virtual": 1},
        check=both(
            carries("capacity", "prepaid", "other"),
            carries("billing.example.com/account", "gpu-reserved", "other"),
            carries("alibabacloud.com/eci", "true", "virtual"),
            carries("k8s.aliyun.com/eci-use-specs", "ecs.gn7i-c8g1.2xlarge", "virtual"),
        ),
    ),
    "ack-acs": Case(
        [OTHER, VIRTUAL], {"other": 1, "virtual": 1},
        check=both(
            *(
                carries(key, value, "virtual")
                for key, value in zip(ACS, ("true", "gpu", "best-effort"), strict=True)
            )
        ),
    ),
    "ack-ignore-previous-pod": Case(
        [OTHER, VIRTUAL], {"other": 2, "virtual": 2}, before=previous_pod
    ),
    "ack-ignore-terminating-pod": Case([OTHER, VIRTUAL], {"virtual": 1}, before=leaving_pod),
    "ack-match-label-keys": Case([prepaid(), VIRTUAL], {"prepaid": 2, "virtual": 1}),
    "ack-exceed-max": Case([prepaid(1), VIRTUAL], {"prepaid": 1, "": 2}, "waits for nodes of ecs"),
    "ack-lack-resource": Case([prepaid(1), VIRTUAL], {"prepaid": 1, "virtual": 2}),
    "ack-no-terminating": Case(
        [prepaid(1), VIRTUAL], {"": 1}, "waits for terminating pods of ecs", before=leaving_pod
    ),
    "ack-timeout": Case([VIRTUAL], {"virtual": 1}),
    "ack-wait-for-scaling": Case([VIRTUAL], {"virtual": 1}, check=no_marker),
    "ack-preempt": Case([prepaid(1), VIRTUAL], {"prepaid": 1}, before=low_pod),
    "ack-preempt-after-all": Case(
        [prepaid(1), VIRTUAL], {"prepaid": 1, "virtual": 1}, before=low_pod
    ),
    "vke-order": Case([prepaid(), VIRTUAL], {"prepaid": 2, "virtual": 1}),
    "vke-ratio": Case([OTHER, VIRTUAL], {"other": 2, "virtual": 8}),
    "vke-do-not-schedule": Case(
        [prepaid(1), VIRTUAL], {"prepaid": 1, "": 2}, "1 waits for nodes of prepaid"
    ),
    "vke-schedule-anyway": Case([prepaid(1), VIRTUAL], {"prepaid": 1, "virtual": 2}),
    "vke-require": Case([prepaid(), OTHER], {"prepaid": 1, "": 1}, "belong to no unit"),
    "vke-prefer": Case([prepaid(), OTHER], {"prepaid": 1, "other": 1}),
    "vke-node-selector-term": Case(
        [
            node("large-0", gpus=1, labels=LARGE),
            prepaid(9),
        ],
        {"large": 1, "": 1},
    ),
}  # fmt: skip


def kind(each: Object) -> str:
    return node_of(each).partition("-")[0]


def test_every_example_is_tried() -> None:
    assert {file.stem for file in FILES} == set(CASES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_api_server_takes_it_without_a_warning(scene: Scene, file: Path) -> None:
    """On a cluster that has what it is about: units without nodes are warned of."""
    managed = {"pool": "prepaid", "goatscaler.io/managed": "true"}
    scene.add_nodes(node("prepaid-0", labels=managed), VIRTUAL, node("large-0", labels=LARGE))
    # The example for a whole namespace is warned of for just that.
    strict = [] if file.stem == "ack-namespace" else ["--warnings-as-errors"]
    said = scene.cluster.kubectl(
        "apply", "--dry-run=server", *strict, "-n", scene.namespace, "-f", str(file)
    )
    assert "resourcepolicy.scheduling" in said


@pytest.mark.parametrize("name", CASES)
def test_it_does_what_it_says(scene: Scene, name: str) -> None:
    case = CASES[name]
    documents = list(yaml.safe_load_all((ROOT / "docs" / "examples" / f"{name}.yaml").read_text()))
    namespaced = [
        {**each, "metadata": {**each["metadata"], "namespace": scene.namespace}}
        for each in documents
    ]
    policy, *workloads = namespaced
    replicas = workloads[-1]["spec"]["replicas"]
    scene.add_nodes(*case.nodes)
    if case.before is previous_pod:
        case.before(scene)
        scene.add(policy)
    else:
        scene.add(policy)
        case.before(scene)
    try:
        scene.add(*workloads)
        pods = scene.pods.wait_for(
            lambda pods: became(pods, replicas, case), 60, f"{case.places} with {case.message!r}"
        )
        scene.pods.wait_quiet(1.0, 60)
        assert became(list(scene.pods.objects.values()), replicas, case), "it did not last"
    finally:
        for each in documents:
            if each["kind"] == "PriorityClass":
                name = each["metadata"]["name"]
                scene.cluster.kubectl("delete", "priorityclass", name, "--ignore-not-found")
        release(scene)
    case.check([each for each in pods if is_live(each)])


def became(pods: list[Object], replicas: int, case: Case) -> bool:
    live = [each for each in pods if is_live(each)]
    made = [each for each in live if "pod-template-hash" in each["metadata"]["labels"]]
    waiting = [each for each in live if not node_of(each)]
    return (
        len(made) == replicas
        and Counter(map(kind, live)) == case.places
        and all(scheduling_message(each) for each in waiting)
        and all(case.message in scheduling_message(each) for each in waiting)
    )


def release(scene: Scene) -> None:
    """Lets pods with a finalizer go."""
    for each in list(scene.pods.objects.values()):
        if each["metadata"].get("finalizers") and not is_live(each):
            scene.cluster.kubectl(
                "patch", "pod", each["metadata"]["name"], "-n", scene.namespace, "--type=json",
                "-p", '[{"op": "remove", "path": "/metadata/finalizers"}]',
            )  # fmt: skip
