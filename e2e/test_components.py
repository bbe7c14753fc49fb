"""The components run with what manifests/ grants them, and several clusters side by side."""

import json
import urllib.request

import pytest

from harness import processes
from harness.cluster import Cluster, Options, running
from harness.places import MANIFESTS
from harness.scenes import ACK, VKE, deployment, three_tier_nodes, three_tiers
from harness.watch import Watch, is_ready


@pytest.mark.parametrize(
    "wanted",
    [
        "list pods", "watch pods", "patch pods", "create pods --subresource=binding",
        "list nodes", "watch nodes",
        f"watch resourcepolicies.{ACK}", f"watch resourcepolicies.{VKE}",
        "update leases.coordination.k8s.io/spillover-scheduler -n spillover-system",
        "get configmaps/extension-apiserver-authentication -n kube-system",
    ],
)  # fmt: skip
def test_the_manifests_grant_what_is_needed(cluster: Cluster, wanted: str) -> None:
    """Also what no other test makes the components do. What they are refused in the other tests
    fails the fixture `cluster`."""
    who = "--as=system:serviceaccount:spillover-system:spillover-scheduler"
    assert cluster.kubectl("auth", "can-i", *wanted.split(), who, check=False).strip() == "yes"


@pytest.mark.parametrize(
    "unwanted", ["create pods", "update pods", "update nodes -A", "get secrets", "patch leases -A"]
)
def test_the_manifests_grant_no_more(cluster: Cluster, unwanted: str) -> None:
    who = "--as=system:serviceaccount:spillover-system:spillover-scheduler"
    assert cluster.kubectl("auth", "can-i", *unwanted.split(), who, check=False).strip() == "no"


def test_the_extender_answers_probes_and_metrics(cluster: Cluster) -> None:
    pod = json.loads((cluster.pod_folder("spillover-scheduler-0") / "pod.json").read_text())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for path, expected in (
        ("healthz", "ok"),
        ("readyz", "ok"),
        ("metrics", "spillover_filter_decisions_total"),
    ):
        with opener.open(f"http://{pod['address']}:8889/{path}", timeout=5) as answer:
            assert expected in answer.read().decode()


def test_a_second_cluster_with_two_replicas_runs_beside_and_leaves_nothing(
    cluster: Cluster, cluster_name: str
) -> None:
    beside = Cluster(f"{cluster_name}-beside")
    with running(beside, Options(scheduler_replicas=2)):
        assert len(list(beside.logs("extender"))) == 2
        beside.create(*three_tier_nodes())
        beside.create(three_tiers(ACK, "default", "app"))
        beside.create(deployment("default", "app", "spillover-scheduler", replicas=6))
        with Watch(beside, "/api/v1/namespaces/default/pods") as pods:
            pods.wait_for(lambda pods: sum(map(is_ready, pods)) == 6, 60, "6 ready")
        assert cluster.items("nodes") == []
    assert not beside.folder.exists()
    assert processes.find(beside.folder) == []


def test_the_running_scheduler_reads_the_shipped_configuration(cluster: Cluster) -> None:
    """Byte for byte, but for the Pod's address and the credentials: see harness/changes.py."""
    folder = cluster.pod_folder("spillover-scheduler-0")
    pod = json.loads((folder / "pod.json").read_text())
    text = (folder / "config" / "scheduler-config.yaml").read_text()
    text = text.replace(pod["address"], "127.0.0.1")
    text = text.replace(f"  kubeconfig: {folder}/kube-scheduler.kubeconfig\n", "")
    assert text == (MANIFESTS / "scheduler-config.yaml").read_text()
