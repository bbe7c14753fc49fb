"""A crowd of one namespace on a real cluster: new pods are gated, and tried as there is room."""

import json
from collections.abc import Callable, Iterator
from signal import SIGKILL

import pytest

from harness.client import Object
from harness.cluster import Cluster, Options, running
from harness.containers import Container
from harness.scenes import ACK, node, pod, policy, virtual_node
from harness.stage import Scene, clear
from harness.watch import Watch, is_live, node_of, scheduling_message

SCHEDULER = "spillover-scheduler"
GATE = "spillover.dev/crowd"
APP = "resourcepolicies.scheduling.alibabacloud.com/app"
CROWD = 15  # above the default of --tried-pods-per-namespace
LATER = 10


def gates_of(pod: Object) -> list[str]:
    return [gate["name"] for gate in pod["spec"].get("schedulingGates", [])]


def gated(found: list[Object]) -> int:
    """Pods of the second batch that have the gate."""
    later = [each for each in found if each["metadata"]["name"].startswith("later")]
    return sum(1 for each in later if gates_of(each) == [GATE])


def pods(namespace: str, name: str, count: int) -> list[Object]:
    return [
        pod(namespace, f"{name}-{n:02}", SCHEDULER, labels={"app": "app"}, gpus=1)
        for n in range(count)
    ]


def limited(namespace: str, most: int) -> Object:
    unit = {"resource": "eci", "max": most}
    return policy(ACK, namespace, "app", selector={"app": "app"}, units=[unit])


def raise_to(cluster: Cluster, namespace: str, most: int) -> None:
    change = {"spec": {"units": [{"resource": "eci", "max": most}]}}
    cluster.kubectl("patch", APP, "-n", namespace, "--type=merge", "-p", json.dumps(change))


def are_bound(count: int) -> Callable[[list[Object]], bool]:
    return lambda found: sum(1 for each in found if node_of(each)) == count


def crowd(cluster: Cluster, namespace: str, watch: Watch) -> None:
    """One pod at the maximum, a crowd that waits, and pods with a gate."""
    cluster.create(limited(namespace, 1), *pods(namespace, "first", 1))
    watch.wait_for(are_bound(1), 60, "the first bound")
    cluster.create(*pods(namespace, "crowd", CROWD))
    wait_until_gating(cluster, namespace)
    cluster.create(*pods(namespace, "later", LATER))
    watch.wait_for(lambda found: gated(found) == LATER, 30, "all later ones gated")


def wait_until_gating(cluster: Cluster, namespace: str) -> None:
    """Until the webhook has heard of the crowd."""
    cluster.kubectl("wait", APP, "-n", namespace, "--for=condition=Crowded", "--timeout=60s")
    probe = json.dumps(pods(namespace, "probe", 1)[0])

    def has_heard() -> bool:
        text = cluster.kubectl("create", "-f", "-", "--dry-run=server", "-o", "json", stdin=probe)
        created: Object = json.loads(text)
        return gates_of(created) == [GATE]

    cluster.wait("the webhook to hear of the crowd", has_heard)


def test_gated_pods_follow_as_the_maximum_is_raised(scene: Scene) -> None:
    scene.add_nodes(virtual_node("virtual-0", gpus=1000))
    crowd(scene.cluster, scene.namespace, scene.pods)
    raise_to(scene.cluster, scene.namespace, 3)
    scene.pods.wait_for(are_bound(3), 30, "two more bound")
    # The two may be of the crowd before: no gate goes that no slot is free for.
    assert gated(list(scene.pods.objects.values())) >= LATER - 2
    raise_to(scene.cluster, scene.namespace, 500)
    scene.pods.wait_for(lambda found: all(map(node_of, found)), 60, "all bound")
    scene.cluster.kubectl(
        "wait", APP, "-n", scene.namespace, "--for=condition=Crowded=false", "--timeout=30s"
    )


def test_without_their_policy_they_are_tried(scene: Scene) -> None:
    scene.add_nodes(virtual_node("virtual-0", gpus=1000))
    crowd(scene.cluster, scene.namespace, scene.pods)
    scene.cluster.kubectl("delete", APP, "-n", scene.namespace)
    scene.add_nodes(node("real-0", gpus=1000))
    scene.pods.wait_for(lambda found: all(map(node_of, found)), 60, "all bound")


def test_autoscalers_see_those_that_a_node_would_help(scene: Scene) -> None:
    """And the others when those have theirs."""
    scene.add_nodes(node("other-0", gpus=1000, labels={"pool": "other"}))
    unit = {"resource": "ecs", "nodeSelector": {"pool": "grown"}}
    scene.add(policy(ACK, scene.namespace, "app", selector={"app": "app"}, units=[unit]))
    scene.add(*pods(scene.namespace, "crowd", CROWD))
    wait_until_gating(scene.cluster, scene.namespace)
    scene.add(*pods(scene.namespace, "later", LATER))
    scene.pods.wait_for(lambda found: len(found) == CROWD + LATER, 30, "all created")
    scene.cluster.kubectl(
        "delete", "pod", "-n", scene.namespace, "--wait=false",
        *(f"crowd-{number:02}" for number in range(CROWD)),
    )  # fmt: skip

    def is_visible(found: list[Object]) -> bool:
        tried = [each for each in found if not gates_of(each) and is_live(each)]
        return bool(tried) and all(map(scheduling_message, tried))

    scene.pods.wait_for(is_visible, 30, "some are tried, and refused")
    scene.add_nodes(node("grown-0", gpus=1000, labels={"pool": "grown"}))
    scene.pods.wait_for(are_bound(LATER), 60, "all later ones bound")


@pytest.fixture
def pair(cluster_name: str) -> Iterator[Cluster]:
    options = Options(scheduler_replicas=2, lease=(4.0, 3.0, 0.5))
    with running(Cluster(f"{cluster_name}-gates"), options) as cluster:
        cluster.add_nodes(virtual_node("virtual-0", gpus=1000))
        yield cluster


@pytest.mark.timeout(300)
def test_a_new_leader_goes_on(pair: Cluster) -> None:
    namespace = "default"
    with Watch(pair, f"/api/v1/namespaces/{namespace}/pods") as watch:
        crowd(pair, namespace, watch)
        holder = pair.kubectl(
            "get", "lease", "spillover-scheduler", "-n", "spillover-system",
            "-o", "jsonpath={.spec.holderIdentity}",
        ).rsplit("_", 1)[0]  # fmt: skip
        for container in ("kube-scheduler", "extender"):
            Container(pair, holder, container).send(SIGKILL)
        raise_to(pair, namespace, 99)
        watch.wait_for(lambda found: all(map(node_of, found)), 90, "all bound")
    clear(pair, namespace)
