"""Spillover's accounts have the rights that they use, and no others."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import yaml

from harness.cluster import NAMESPACE, Cluster, Options, running
from harness.containers import Container
from harness.places import MANIFESTS
from harness.rights import Right, granted, used
from harness.scenes import ACK, VKE, deployment, node, pod, policy, virtual_node
from harness.watch import Watch, is_ready, node_of, scheduling_message

Object = dict[str, Any]

SCHEDULER = "spillover-scheduler"
OURS = "spillover-"
"""What Roles of ours are called. kube-scheduler has those of Kubernetes' own besides."""


@pytest.fixture
def watched(cluster_name: str) -> Iterator[Cluster]:
    options = Options(scheduler_replicas=2, rights=True)
    with running(Cluster(f"{cluster_name}-rights"), options) as cluster:
        yield cluster


def rights(cluster: Cluster) -> tuple[set[Right], set[Right]]:
    """What is granted, and what is used."""
    objects = list(yaml.safe_load_all(cluster.kubectl("kustomize", str(MANIFESTS))))
    ours = [
        each
        for each in objects
        if "roleRef" not in each or each["roleRef"]["name"].startswith(OURS)
    ]
    return granted(ours, account_of_subject), used(cluster, account_of_user)


def account_of_subject(subject: Object) -> str:
    return str(subject["name"]) if subject["kind"] == "ServiceAccount" else ""


def account_of_user(user: Object) -> str:
    return str(user["username"].rpartition(":")[2])


@pytest.mark.timeout(600)
def test_each_right_is_used(watched: Cluster) -> None:
    everything_that_spillover_does(watched)
    deadline = time.monotonic() + 60
    while unused := sorted(set.difference(*(found := rights(watched)))):
        assert time.monotonic() < deadline, f"granted and not used: {unused}"
        time.sleep(0.5)  # renewals of Leases and looks at certificates come by themselves
    print(f"{len(found[0])} rights, each of them used")


def everything_that_spillover_does(cluster: Cluster) -> None:
    cluster.add_nodes(
        node("prepaid", labels={"pool": "prepaid"}, gpus=9),
        virtual_node("virtual", taints=[
            {"key": "virtual-kubelet.io/provider", "value": "x", "effect": "NoExecute"}]),
    )  # fmt: skip
    cluster.create(
        policy(ACK, "default", "app", selector={"app": "app"},
               units=[{"resource": "ecs", "max": 1, "podLabels": {"tier": "base"}},
                      {"resource": "eci", "max": 1}]),
        policy(VKE, "default", "ratio", selector={"app": "ratio"},
               subsets=[{"name": "a", "type": "ecs", "maxReplicasRatio": "0.5"},
                        {"name": "b", "type": "vci"}]),
        deployment("default", "ratio", SCHEDULER, replicas=2, gpus=0),
        *(pod("default", f"app-{n}", SCHEDULER, labels={"app": "app"}, gpus=0) for n in range(3)),
    )  # fmt: skip
    with Watch(cluster, "/api/v1/namespaces/default/pods") as pods:
        pods.wait_for(
            lambda found: (
                len(found) == 5
                and sum(bool(node_of(each)) for each in found) == 4
                and sum(bool(scheduling_message(each)) for each in found) == 1
            ),
            60,
            "four placed, and one at a maximum",
        )
        change = '[{"op": "replace", "path": "/spec/units/1/max", "value": 2}]'
        cluster.kubectl("patch", f"resourcepolicies.{ACK}", "app", "--type=json", "-p", change)
        pods.wait_for(lambda found: all(map(is_ready, found)), 60, "the last one placed")
        cluster.kubectl("delete", "pods", "--all", "-n", "default", "--force", "--wait=false")
    before = leader(cluster)
    with Container(cluster, before, "kube-scheduler").held_down():
        cluster.wait("another leader", partial(is_another, cluster, before))
    cluster.kubectl("delete", "lease", "spillover-scheduler", "-n", NAMESPACE)
    cluster.kubectl("delete", "configmap", "spillover-epoch", "-n", NAMESPACE)
    cluster.wait("a leader once more", lambda: bool(leader(cluster)))


def leader(cluster: Cluster) -> str:
    holder = cluster.kubectl(
        "get", "lease", "spillover-scheduler", "-n", NAMESPACE,
        "-o", "jsonpath={.spec.holderIdentity}", check=False,
    )  # fmt: skip
    return holder.partition("_")[0]


def is_another(cluster: Cluster, before: str) -> bool:
    return leader(cluster) not in ("", before)
