"""Spillover's accounts have the rights that they use, and no others."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest
import yaml

from harness.cluster import NAMESPACE, Cluster, Options, running
from harness.containers import Container
from harness.places import MANIFESTS
from harness.scenes import ACK, VKE, deployment, node, pod, policy, virtual_node
from harness.watch import Watch, is_ready, node_of, scheduling_message

Object = dict[str, Any]

SCHEDULER = "spillover-scheduler"
OURS = "spillover-"
"""What Roles of ours are called. kube-scheduler has those of Kubernetes' own besides."""


class Right(NamedTuple):
    """`name` is "" where it is for objects of any name."""

    account: str
    group: str
    resource: str
    verb: str
    name: str


@pytest.fixture
def watched(cluster_name: str) -> Iterator[Cluster]:
    options = Options(scheduler_replicas=2, rights=True)
    with running(Cluster(f"{cluster_name}-rights"), options) as cluster:
        yield cluster


def granted(cluster: Cluster) -> set[Right]:
    objects = list(yaml.safe_load_all(cluster.kubectl("kustomize", str(MANIFESTS))))
    roles = {
        (each["kind"], each["metadata"]["name"]): each["rules"]
        for each in objects
        if each["kind"] in ("Role", "ClusterRole")
    }
    return {
        Right(subject["name"], group, resource, verb, name)
        for binding in objects
        if binding["kind"] in ("RoleBinding", "ClusterRoleBinding")
        for subject in binding["subjects"]
        if subject["kind"] == "ServiceAccount" and binding["roleRef"]["name"].startswith(OURS)
        for rule in roles.get((binding["roleRef"]["kind"], binding["roleRef"]["name"]), ())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


def used(cluster: Cluster) -> set[Right]:
    """Each once with the object's name, and once without."""
    found = set()
    for request in cluster.requests():
        where = request.get("objectRef")
        if where is None or request["responseStatus"]["code"] == 403:
            continue
        resource = "/".join(part for part in (where["resource"], where.get("subresource")) if part)
        account = request["user"]["username"].rpartition(":")[2]
        right = Right(account, where.get("apiGroup", ""), resource, request["verb"], "")
        found |= {right, right._replace(name=where.get("name", ""))}
    return found


@pytest.mark.timeout(600)
def test_each_right_is_used(watched: Cluster) -> None:
    everything_that_spillover_does(watched)
    wanted = granted(watched)
    deadline = time.monotonic() + 60
    while unused := sorted(wanted - used(watched)):
        assert time.monotonic() < deadline, f"granted and not used: {unused}"
        time.sleep(0.5)  # renewals of Leases and looks at certificates come by themselves
    print(f"{len(wanted)} rights, each of them used")


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
