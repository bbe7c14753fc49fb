"""The components run with what manifests/ grants them, and several clusters side by side."""

import json
import urllib.request

from harness import processes
from harness.cluster import Cluster, Options, running
from harness.scenes import ACK, deployment, three_tier_nodes, three_tiers
from harness.watch import Watch, is_ready


def test_no_component_lacks_a_permission(cluster: Cluster) -> None:
    for component in ("extender", "spillover-scheduler-0/kube-scheduler"):
        logs = list(cluster.logs(component))
        assert logs
        for log in logs:
            refused = [line for line in log.read_text().splitlines() if "forbidden" in line.lower()]
            assert refused == []


def test_the_extender_answers_probes_and_metrics(cluster: Cluster) -> None:
    pod = json.loads((cluster.pod_folder("spillover-scheduler-0") / "pod.json").read_text())
    for path, expected in (
        ("healthz", "ok"),
        ("readyz", "ok"),
        ("metrics", "spillover_filter_decisions_total"),
    ):
        with urllib.request.urlopen(f"http://{pod['address']}:8889/{path}", timeout=5) as answer:
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


def test_down_ends_what_a_crash_has_left(cluster_name: str) -> None:
    crashed = Cluster(f"{cluster_name}-crashed")
    crashed.up(Options(components=False))
    assert len(processes.find(crashed.folder)) >= 4
    (crashed.folder / "kubeconfig").unlink()
    again = Cluster(crashed.name)  # another process, which knows nothing of the first
    again.down()
    assert processes.find(crashed.folder) == []
    assert not crashed.folder.exists()
