"""Many pods of many policies at once, and all deleted at once, beside the stock scheduler."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from harness.cluster import Cluster
from harness.scenes import ACK, VKE, node, pod, policy, virtual_node
from harness.stage import Scene
from harness.watch import Watch, node_of
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiSession

Object = dict[str, Any]
OURS = "spillover-scheduler"
PREPAID, VIRTUAL = 20, 30
"""The maxima of the first two units."""


def a_policy(scene: Scene, number: int) -> Object:
    """Of both dialects in turn: prepaid nodes, then virtual nodes, then the others."""
    name = f"app-{number}"
    if number % 2:
        units = [
            {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}, "max": PREPAID},
            {"resource": "eci", "max": VIRTUAL},
            {"resource": "ecs", "nodeSelector": {"pool": "postpaid"}},
        ]
        return policy(ACK, scene.namespace, name, selector={"app": name}, units=units)
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
    return policy(VKE, scene.namespace, name, selector={"app": name}, subsets=subsets)


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


def burst(scene: Scene, pods: Sequence[Object], seconds: float) -> tuple[float, list[Object]]:
    """Creates the pods at once and deletes them when all are bound. Returns the seconds from the
    first creation to the last binding, and the bound pods."""
    begun = time.monotonic()
    asyncio.run(created(scene.cluster, pods))
    bound = scene.pods.wait_for(
        lambda found: len(found) == len(pods) and all(map(node_of, found)), seconds, "all bound"
    )
    took = time.monotonic() - begun
    asyncio.run(deleted(scene.cluster, scene.namespace))
    scene.pods.wait_for(lambda found: not found, seconds, "all gone")
    return took, bound


@pytest.mark.timeout(1200)
def test_many_pods_of_many_policies_at_once(scene: Scene, *, full: bool) -> None:
    policies, each = (30, 67) if full else (10, 60)
    nodes = [
        node(f"{pool}-{number}", labels={"pool": pool})
        for pool in ("prepaid", "postpaid")
        for number in range(5)
    ]
    scene.add_nodes(*nodes, *(virtual_node(f"virtual-{number}") for number in range(3)))
    scene.add(*(a_policy(scene, number) for number in range(policies)))
    ours = [
        pod(scene.namespace, f"app-{number}-{index}", OURS, labels={"app": f"app-{number}"}, gpus=0)
        for index in range(each)
        for number in range(policies)
    ]
    toleration = {"key": "virtual-kubelet.io/provider", "operator": "Exists"}
    stock = [
        pod(
            scene.namespace, f"stock-{index}", "default-scheduler", gpus=0, tolerations=[toleration]
        )
        for index in range(policies * each)
    ]
    with Watch(scene.cluster, f"/api/v1/namespaces/{scene.namespace}/pods") as watch:
        took, bound = burst(scene, ours, 600)
        live: dict[str, Counter[str]] = {}
        most: Counter[tuple[str, str]] = Counter()
        seen: dict[str, tuple[str, str]] = {}
        for kind, one in watch.events:
            where = (one["metadata"]["labels"]["app"], node_of(one).partition("-")[0])
            uid = one["metadata"]["uid"]
            if kind == "DELETED":
                live[where[0]][seen.pop(uid, where)[1]] -= 1
            elif where[1] and uid not in seen:
                seen[uid] = where
                live.setdefault(where[0], Counter())[where[1]] += 1
                most[where] = max(most[where], live[where[0]][where[1]])
    for number in range(policies):
        name = f"app-{number}"
        assert most[name, "prepaid"] <= PREPAID
        assert most[name, "virtual"] <= VIRTUAL
        there = Counter(
            node_of(one).partition("-")[0]
            for one in bound
            if one["metadata"]["labels"]["app"] == name
        )
        left = each - PREPAID - VIRTUAL
        assert there == {"prepaid": PREPAID, "virtual": VIRTUAL, "postpaid": left}
    stock_took, _ = burst(scene, stock, 600)
    print(
        f"{len(ours)} pods of {policies} policies at once: {took:.1f} s; the stock scheduler:"
        f" {stock_took:.1f} s; {took / stock_took:.2f} times"
    )
    # Nothing is left of them: the first units are free again.
    again, bound = burst(scene, ours[: policies * PREPAID], 600)
    assert {node_of(one).partition("-")[0] for one in bound} == {"prepaid"}
    print(f"{policies * PREPAID} of them again: {again:.1f} s")
