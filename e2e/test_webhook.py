"""Admission through a real API server, with the configurations of manifests/."""

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from signal import SIGKILL
from typing import Any

import aiohttp
import pytest
import yaml

from harness.client import ClusterError
from harness.cluster import Cluster, Options, running
from harness.containers import Container
from harness.scenes import ACK, VKE, node, pod, policy, virtual_node
from harness.stage import Scene
from harness.watch import Watch, node_of, scheduling_message
from mutations import mutated
from spillover.kube.credentials import Credentials

Object = dict[str, Any]
REGION = "alibabacloud.com/serverless-region-id"
MODEL = "alibabacloud.com/gpu-model-series"
ACS = "alibabacloud.com/acs"
DEFAULT_REGION = "cn-beijing"


def plain(scene: Scene, name: str, replicas: int, **labels: str) -> Object:
    """A Deployment as its user has it: nothing of Spillover in it."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": scene.namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name, **labels}},
                "spec": {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10"}]},
            },
        },
    }


def apply(scene: Scene, *objects: Object) -> str:
    """One file, as `kubectl apply -f` takes it. Returns what kubectl says on standard error."""
    ended = subprocess.run(
        [*scene.cluster.kubectl_command(), "apply", "-f", "-"],
        input=yaml.safe_dump_all(objects),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ended.stderr


def places(pods: list[Object], app: str) -> dict[str, int]:
    mine = [each for each in pods if each["metadata"]["labels"].get("app") == app]
    return dict(Counter(node_of(each).partition("-")[0] for each in mine))


def ack_app(scene: Scene, name: str) -> Object:
    units = [
        {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}, "max": 2,
         "podLabels": {"team": "ml", "tier": "base"}},
        {"resource": "eci", "podLabels": {"team": "ml", "tier": "burst"}},
    ]  # fmt: skip
    return policy(ACK, scene.namespace, name, selector={"app": name}, units=units)


def vke_app(scene: Scene, name: str) -> Object:
    term = {"key": "pool", "operator": "In", "values": ["prepaid"]}
    subsets = [
        {"name": "own", "type": "ecs", "maxReplicas": 1, "nodeSelectorTerm": [term]},
        {"name": "vci", "type": "vci"},
    ]
    return policy(VKE, scene.namespace, name, selector={"app": name}, subsets=subsets)


@pytest.fixture
def nodes(scene: Scene) -> Scene:
    scene.add_nodes(
        node("prepaid-0", gpus=0, labels={"pool": "prepaid"}), virtual_node("virtual-0")
    )
    return scene


def test_one_file_with_policies_first_works_as_it_is(nodes: Scene, *, full: bool) -> None:
    for turn in range(20 if full else 3):
        ack, vke = f"ack-{turn}", f"vke-{turn}"
        apply(
            nodes, ack_app(nodes, ack), vke_app(nodes, vke),
            plain(nodes, ack, 3), plain(nodes, vke, 3),
        )  # fmt: skip
        pods = nodes.pods.wait_for(
            lambda pods, ack=ack, vke=vke: (  # type: ignore[misc]
                places(pods, ack) == {"prepaid": 2, "virtual": 1}
                and places(pods, vke) == {"prepaid": 1, "virtual": 2}
            ),
            60,
            f"both Deployments of turn {turn} in their units",
        )
        for each in pods:
            labels = each["metadata"]["labels"]
            assert each["spec"]["schedulerName"] == "spillover-scheduler"
            if labels["app"] == ack:
                where = {"prepaid-0": "base", "virtual-0": "burst"}[node_of(each)]
                assert (labels["team"], labels["tier"]) == ("ml", where)
        apply_gone(nodes, ack, vke)


def apply_gone(scene: Scene, ack: str, vke: str) -> None:
    for kind, name in (
        ("deployment", ack), ("deployment", vke),
        (f"resourcepolicy.{ACK}", ack), (f"resourcepolicy.{VKE}", vke),
    ):  # fmt: skip
        scene.cluster.kubectl("delete", kind, name, "-n", scene.namespace)
    scene.pods.wait_for(lambda pods: not pods, 60, "all pods of the turn gone")


def test_pods_of_before_their_policy_stay_and_an_event_names_them(nodes: Scene) -> None:
    apply(nodes, plain(nodes, "app", 2))
    before = nodes.pods.wait_for(
        lambda pods: len(pods) == 2 and all(map(node_of, pods)), 60, "both placed by the default"
    )
    apply(nodes, ack_app(nodes, "app"))
    events: list[Object] = []
    deadline = time.monotonic() + 30
    while not events:
        assert time.monotonic() < deadline, "no event"
        events = nodes.cluster.items(
            "events", "-n", nodes.namespace, "--field-selector=reason=PodsNotRouted"
        )
    (event,) = events
    assert event["involvedObject"]["kind"] == "ResourcePolicy"
    assert all(each["metadata"]["name"] in event["message"] for each in before)
    nodes.scale("app", 5)
    pods = nodes.pods.wait_for(
        lambda pods: len(pods) == 5 and all(map(node_of, pods)), 60, "all placed"
    )
    old = {each["metadata"]["uid"] for each in before}
    later = [each for each in pods if each["metadata"]["uid"] not in old]
    assert {each["spec"]["schedulerName"] for each in later} == {"spillover-scheduler"}
    stayed = {each["metadata"]["uid"]: node_of(each) for each in pods}
    assert all(stayed[each["metadata"]["uid"]] == node_of(each) for each in before)


def test_a_deployment_with_a_region_and_no_policy(scene: Scene) -> None:
    regions = {"virtual-hz": "cn-hangzhou", "virtual-sh": "cn-shanghai"}
    for name, region in regions.items():
        made = virtual_node(name)
        made["metadata"]["labels"]["topology.kubernetes.io/region"] = region
        scene.add_nodes(made)
    labels = {ACS: "true", REGION: "cn-shanghai"}
    apply(scene, plain(scene, "app", 2, **labels))
    pods = scene.pods.wait_for(
        lambda pods: len(pods) == 2 and all(map(node_of, pods)), 60, "both bound"
    )
    assert {node_of(each) for each in pods} == {"virtual-sh"}
    assert all(labels.items() <= each["metadata"]["labels"].items() for each in pods)


def test_what_the_user_says_stays_and_others_are_left_alone(nodes: Scene) -> None:
    nodes.add(ack_app(nodes, "app"))
    nodes.add(
        pod(nodes.namespace, "own", "volcano", labels={"app": "app", "team": "mine"}, gpus=0),
        pod(nodes.namespace, "other", "default-scheduler", gpus=0),
    )
    found = by_name(nodes.cluster, nodes.namespace)
    assert found["own"]["spec"]["schedulerName"] == "volcano"
    assert found["own"]["metadata"]["labels"] == {"app": "app", "team": "mine"}
    assert found["other"]["spec"]["schedulerName"] == "default-scheduler"
    assert "labels" not in found["other"]["metadata"]


@pytest.mark.parametrize("kind", ["Job", "StatefulSet", "ReplicaSet", "bare", "generateName"])
def test_pods_of_every_kind_are_routed(nodes: Scene, kind: str) -> None:
    nodes.add(ack_app(nodes, "app"))
    template: Object = plain(nodes, "app", 1)["spec"]["template"]
    spec: Object = {"template": template, "selector": {"matchLabels": {"app": "app"}}}
    metadata: Object = {"name": "it", "namespace": nodes.namespace}
    version = "apps/v1"
    match kind:
        case "Job":
            version = "batch/v1"
            template["spec"]["restartPolicy"] = "Never"
            spec = {"template": template}
        case "StatefulSet":
            spec["serviceName"] = "it"
        case "bare" | "generateName":
            version, spec = "v1", template["spec"]
            metadata["labels"] = template["metadata"]["labels"]
            if kind == "generateName":
                metadata["generateName"] = f"{metadata.pop('name')}-"
    real = "Pod" if version == "v1" else kind
    nodes.add({"apiVersion": version, "kind": real, "metadata": metadata, "spec": spec})
    (made,) = nodes.pods.wait_for(lambda pods: any(map(node_of, pods)), 60, "the pod bound")
    assert made["spec"]["schedulerName"] == "spillover-scheduler"
    assert made["metadata"]["labels"]["team"] == "ml"
    if real != "Pod":
        nodes.cluster.kubectl("delete", real, "it", "-n", nodes.namespace)


def test_doubts_and_consequences_are_warnings(nodes: Scene) -> None:
    nodes.add(ack_app(nodes, "app"))
    apply(nodes, plain(nodes, "app", 2))
    nodes.pods.wait_for(
        lambda pods: places(pods, "app") == {"prepaid": 2}, 60, "two pods on prepaid nodes"
    )
    nodes.cluster.kubectl(
        "wait", f"resourcepolicies.{ACK}/app", "-n", nodes.namespace, "--timeout=30s",
        "--for=jsonpath={.status.units[0].assigned}=2",
    )  # fmt: skip
    edited = policy(
        ACK, nodes.namespace, "app", selector={"app": "app"},
        units=[{"resource": "ecs", "nodeSelector": {"pool": "gone"}, "size": 3}],
    )  # fmt: skip
    said = apply(nodes, edited)
    assert "Warning: spec.units[0].size: unknown field, which has no effect" in said
    assert "Warning: spec.units[0]: no node belongs to it now" in said
    assert "Warning: 2 pods would lose their unit" in said
    younger = policy(
        VKE,
        nodes.namespace,
        "younger",
        selector={"app": "app", "tier": "web"},
        subsets=[{"name": "a", "type": "ecs"}],
    )
    assert f"Warning: spec.selector: {ACK}/app selects some of the same pods" in apply(
        nodes, younger
    )


def test_a_workload_whose_selector_a_policy_changes_is_warned(nodes: Scene) -> None:
    nodes.add(ack_app(nodes, "app"))
    app = plain(nodes, "app", 0, team="mine")
    app["spec"]["selector"]["matchLabels"]["team"] = "mine"
    said = apply(nodes, app)
    assert "units of ResourcePolicy app give pods the label team with another value" in said


MUTABLE: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"generateName": "app-", "labels": {"app": "app", "x": "y"}, "annotations": {}},
    "spec": {
        "nodeSelector": {"pool": "prepaid"},
        "containers": [
            {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}
        ],
        "initContainers": [{"name": "s", "image": "i", "restartPolicy": "Always"}],
    },
}


async def test_mutated_pods_through_the_api_server(nodes: Scene, *, full: bool) -> None:
    """As dry runs. What the API server would store has what its policy gives."""
    nodes.add(ack_app(nodes, "app"))
    credentials = Credentials(nodes.cluster.kubeconfig)
    await credentials.reload()
    url = f"{credentials.server}/api/v1/namespaces/{nodes.namespace}/pods?dryRun=All"
    headers = {"Content-Type": "application/json", **await credentials.headers()}
    chance = Random(20261124)
    outcomes: Counter[int] = Counter()
    connector = aiohttp.TCPConnector(ssl=credentials.ssl_context())
    async with aiohttp.ClientSession(connector=connector) as session:
        for _ in range(2000 if full else 150):
            body = mutated(chance, MUTABLE)
            async with session.post(url, data=body, headers=headers) as answer:
                content = await answer.read()
                outcomes[answer.status] += 1
                assert answer.status < 500, (content, body)
            if answer.status == 201:
                made = json.loads(content)
                selected = (made["metadata"].get("labels") or {}).get("app") == "app"
                routed = made["spec"]["schedulerName"] == "spillover-scheduler"
                assert routed == (selected and b'"schedulerName"' not in body), (content, body)
    print(dict(outcomes))
    assert outcomes[201] > 0
    (log,) = nodes.cluster.logs("webhook")
    assert "request failed" not in log.read_text()


# --- two replicas, certificates -------------------------------------------------------------------


@pytest.fixture(scope="module")
def replicated(cluster_name: str) -> Iterator[Cluster]:
    options = Options(webhook_replicas=2, webhook_arguments=(f"--region={DEFAULT_REGION}",))
    with running(Cluster(f"{cluster_name}-webhooks"), options) as cluster:
        virtual = virtual_node("virtual-0", gpus=5000)
        virtual["metadata"]["labels"]["topology.kubernetes.io/region"] = DEFAULT_REGION
        cluster.add_nodes(virtual)
        units = [{"resource": "eci", "podLabels": {"team": "ml"}}]
        cluster.create(policy(ACK, "default", "app", selector={"app": "app"}, units=units))
        yield cluster


def by_name(cluster: Cluster, namespace: str) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in cluster.items("pods", "-n", namespace)}


def unrouted(name: str) -> Object:
    return pod("default", name, "default-scheduler", labels={"app": "app"}, gpus=0)


def test_units_that_differ_in_region_and_model(replicated: Cluster) -> None:
    """The cluster's default region is for neither unit's pods; the maximum of both holds."""
    units = [
        {"resource": "acs", "max": 1, "podLabels": {REGION: "cn-hangzhou", MODEL: "L20"}},
        {"resource": "acs", "max": 1, "podLabels": {REGION: "cn-shanghai", MODEL: "H20"}},
    ]
    replicated.kubectl("create", "namespace", "regions")
    with Watch(replicated, "/api/v1/namespaces/regions/pods") as watch:
        scene = Scene(replicated, "regions", watch)
        made = policy(ACK, "regions", "app", selector={"app": "app"}, units=units)
        apply(scene, made, plain(scene, "app", 3), plain(scene, "free", 1, **{ACS: "true"}))
        pods = watch.wait_for(
            lambda pods: (
                len(pods) == 4
                and sum(map(bool, map(node_of, pods))) == 3
                and all(node_of(each) or scheduling_message(each) for each in pods)
            ),
            60,
            "two of three bound, and the one without a policy",
        )
    labels = [each["metadata"]["labels"] for each in pods]
    found = Counter((each["app"], each.get(REGION), each.get(MODEL)) for each in labels)
    assert found == {
        ("app", "cn-hangzhou", "L20"): 1,
        ("app", "cn-shanghai", "H20"): 1,
        ("app", None, None): 1,
        ("free", DEFAULT_REGION, None): 1,
    }
    assert all(each[ACS] == "true" for each in labels)  # on this both units agree
    replicated.kubectl("delete", "deployments", "--all", "-n", "regions")


def create_many(
    cluster: Cluster, count: int, prefix: str, done: threading.Semaphore | None = None
) -> tuple[int, int]:
    """Creates pods, eight at a time. Returns how many creations failed, and how many pods lack
    their labels. `done` is released with each."""
    done = done or threading.Semaphore()

    def create(number: int) -> bool:
        try:
            cluster.create(unrouted(f"{prefix}-{number}"))
        except ClusterError:
            return False
        finally:
            done.release()
        return True

    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(create, range(count)))
    pods = [
        each
        for each in cluster.items("pods", "-n", "default")
        if each["metadata"]["name"].startswith(prefix)
    ]
    bare = sum(each["metadata"]["labels"].get("team") != "ml" for each in pods)
    cluster.kubectl("delete", "pods", "-n", "default", "-l", "app=app", "--force", "--wait=false")
    return created.count(False), bare


def certificate(cluster: Cluster) -> tuple[str, str]:
    """The authorities and what is served."""
    (secret,) = cluster.items(
        "secrets", "-n", "spillover-system", "--field-selector=metadata.name=spillover-webhook"
    )
    return secret["data"]["ca.crt"], secret["data"]["tls.crt"]


def rotate(cluster: Cluster, wish: str) -> None:
    """Asks for another authority and certificate, and waits until both are in use."""
    before = certificate(cluster)
    cluster.kubectl(
        "annotate", "secret", "spillover-webhook", "-n", "spillover-system", "--overwrite",
        f"spillover.dev/rotate={wish}",
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while any(old == new for old, new in zip(before, certificate(cluster), strict=True)):
        assert time.monotonic() < deadline, "not rotated"
        time.sleep(0.5)


def rotate_twice(cluster: Cluster) -> None:
    for wish in ("one", "two"):
        rotate(cluster, wish)


@pytest.mark.timeout(600)
def test_certificates_are_rotated_under_load(replicated: Cluster, *, full: bool) -> None:
    count = 1000 if full else 150
    with ThreadPoolExecutor(1) as pool:
        turns = pool.submit(rotate_twice, replicated)
        failed = bare = batches = 0
        while batches < 1 or not turns.done():
            result = create_many(replicated, count if not batches else count // 10, f"r{batches}")
            failed, bare, batches = failed + result[0], bare + result[1], batches + 1
        turns.result()
    print(f"{count} pods and {batches - 1} batches more: {failed} failed, {bare} without labels")
    assert (failed, bare) == (0, 0)


@pytest.mark.timeout(600)
def test_a_killed_replica_costs_only_what_it_had_in_flight(
    replicated: Cluster, *, full: bool
) -> None:
    count = 1000 if full else 150
    victim = Container(replicated, "spillover-webhook-0", "webhook")
    with ThreadPoolExecutor(1) as pool:
        done = threading.Semaphore(0)
        creating = pool.submit(create_many, replicated, count, "k", done)
        for _ in range(count // 3):
            assert done.acquire(timeout=60)
        assert not creating.done()
        victim.send(SIGKILL)
        failed, bare = creating.result()
    victim.wait_ready()
    print(f"{count} pods: {failed} failed, {bare} without labels")
    assert failed == 0
    assert bare <= 8, "more than were in flight"


def test_without_the_webhook_pods_are_created_and_placed(replicated: Cluster) -> None:
    containers = [Container(replicated, f"spillover-webhook-{n}", "webhook") for n in range(2)]
    with containers[0].held_down(), containers[1].held_down():
        replicated.create(
            pod("default", "named", "spillover-scheduler", labels={"app": "app"}, gpus=0),
            unrouted("unnamed"),
        )
        deadline = time.monotonic() + 60
        while True:
            pods = by_name(replicated, "default")
            if node_of(pods["named"]):
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert pods["named"]["metadata"]["labels"]["team"] == "ml"
        assert not node_of(pods["unnamed"])
    replicated.kubectl("delete", "pods", "--all", "-n", "default", "--force", "--wait=false")
