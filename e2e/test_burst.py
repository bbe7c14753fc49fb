"""Many pods of many policies at once, and all deleted at once, beside the stock scheduler."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from harness.cluster import Cluster
from harness.scenes import ACK, VKE, node, pod, policy, virtual_node
from harness.watch import node_of
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiSession

Object = dict[str, Any]
OURS = "spillover-scheduler"
PREPAID, VIRTUAL = 20, 30
"""The maxima of the first two units."""


def a_policy(namespace: str, number: int) -> Object:
    """Of both dialects in turn: prepaid nodes, then virtual nodes, then the others."""
    name = f"app-{number}"
    if number % 2:
        units = [
            {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}, "max": PREPAID},
            {"resource": "eci", "max": VIRTUAL},
            {"resource": "ecs", "nodeSelector": {"pool": "postpaid"}},
        ]
        return policy(ACK, namespace, name, selector={"app": name}, units=units)
    pools = {
        pool: [{"key": "pool", "operator": "In", "values": [pool]}]
        for pool in ("prepaid", "postpaid")
    }
    subsets = [
        {"name": "prepaid", "type": "ecs", "nodeSelectorTerm": pools["prepaid"],
         "maxReplicas": PREPAID},
        {"name": "virtual", "type": "vci", "maxReplicas": VIRTUAL},
        {"name": "postpaid", "type": "ecs", "nodeSelectorTerm": pools["postpaid"]},
    ]  # fmt: skip
    return policy(VKE, namespace, name, selector={"app": name}, subsets=subsets)


async def created(cluster: Cluster, pods: Sequence[Object]) -> None:
    async with ApiSession(Credentials(cluster.kubeconfig)) as session:

        async def create(one: Object) -> None:
            path = f"/api/v1/namespaces/{one['metadata']['namespace']}/pods"
            await session.request("POST", path, body=one, seconds=60.0)

        await asyncio.gather(*map(create, pods))


async def deleted(cluster: Cluster, namespace: str) -> None:
    async with ApiSession(Credentials(cluster.kubeconfig)) as session:
        path = f"/api/v1/namespaces/{namespace}/pods?gracePeriodSeconds=0"
        await session.request("DELETE", path, seconds=120.0)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """Without a watch: the API server ends one whose reader is slow, and here are many events."""
    name = f"burst-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("wait", "--for=create", "sa/default", "-n", name, "--timeout=30s")
    try:
        yield name
    finally:
        cluster.kubectl("delete", "pods", "--all", "-n", name, "--force", "--wait=false")
        cluster.kubectl("delete", "namespace", name, "--wait=false")
        cluster.kubectl("delete", "nodes", "--all", "--wait=true")


def settled(
    cluster: Cluster, namespace: str, holds: Callable[[list[Object]], bool], what: str
) -> list[Object]:
    deadline = time.monotonic() + 300
    while not holds(found := cluster.items("pods", "-n", namespace)):
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.2)
    return found


def burst(cluster: Cluster, namespace: str, pods: Sequence[Object]) -> tuple[float, list[Object]]:
    """Creates the pods at once and deletes them when all are bound. Returns the seconds from the
    first creation until all are seen bound, and the bound pods."""
    begun = time.monotonic()
    asyncio.run(created(cluster, pods))
    bound = settled(
        cluster,
        namespace,
        lambda found: len(found) == len(pods) and all(map(node_of, found)),
        "all bound",
    )
    took = time.monotonic() - begun
    asyncio.run(deleted(cluster, namespace))
    settled(cluster, namespace, lambda found: not found, "all gone")
    return took, bound


@pytest.mark.timeout(1200)
def test_many_pods_of_many_policies_at_once(
    cluster: Cluster, namespace: str, *, full: bool
) -> None:
    """No pod goes while they are placed, so that the last counts are the highest."""
    policies, each = (30, 67) if full else (10, 60)
    nodes = [
        node(f"{pool}-{number}", labels={"pool": pool})
        for pool in ("prepaid", "postpaid")
        for number in range(5)
    ]
    cluster.add_nodes(*nodes, *(virtual_node(f"virtual-{number}") for number in range(3)))
    cluster.create(*(a_policy(namespace, number) for number in range(policies)))
    ours = [
        pod(namespace, f"app-{number}-{index}", OURS, labels={"app": f"app-{number}"}, gpus=0)
        for index in range(each)
        for number in range(policies)
    ]
    toleration = {"key": "virtual-kubelet.io/provider", "operator": "Exists"}
    stock = [
        pod(namespace, f"stock-{index}", "default-scheduler", gpus=0, tolerations=[toleration])
        for index in range(policies * each)
    ]
    took, bound = burst(cluster, namespace, ours)
    for number in range(policies):
        name = f"app-{number}"
        there = Counter(
            node_of(one).partition("-")[0]
            for one in bound
            if one["metadata"]["labels"]["app"] == name
        )
        left = each - PREPAID - VIRTUAL
        assert there == {"prepaid": PREPAID, "virtual": VIRTUAL, "postpaid": left}
    stock_took, _ = burst(cluster, namespace, stock)
    print(
        f"{len(ours)} pods of {policies} policies at once: {took:.1f} s; the stock scheduler:"
        f" {stock_took:.1f} s; {took / stock_took:.2f} times"
    )
    # Nothing is left of them: the first units are free again.
    again, bound = burst(cluster, namespace, ours[: policies * PREPAID])
    assert {node_of(one).partition("-")[0] for one in bound} == {"prepaid"}
    print(f"{policies * PREPAID} of them again: {again:.1f} s")
