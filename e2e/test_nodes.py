"""Which nodes pods may use: the same as under the stock scheduler, but for virtual nodes."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from harness.scenes import (
    ACK,
    PROVIDER_TAINT,
    VKE,
    node,
    pod,
    policy,
    virtual_node,
)
from harness.stage import Scene, answered, clear
from harness.watch import Watch, node_of, scheduling_message

Object = dict[str, Any]

TAINT = {"key": "team", "value": "ml", "effect": "NoSchedule"}
TOLERATION = {"key": "team", "operator": "Equal", "value": "ml", "effect": "NoSchedule"}


def test_pods_without_a_policy_stay_off_virtual_nodes_unless_they_tolerate_them(
    scene: Scene,
) -> None:
    scene.add_nodes(virtual_node("virtual-0"))
    toleration = {"key": PROVIDER_TAINT["key"], "operator": "Exists"}
    scene.add(
        pod(scene.namespace, "plain", "spillover-scheduler"),
        pod(scene.namespace, "tolerant", "spillover-scheduler", tolerations=[toleration]),
    )
    pods = scene.pods.wait_for(answered(2), 60, "both answered")
    places = {p["metadata"]["name"]: node_of(p) for p in pods}
    assert places == {"plain": "", "tolerant": "virtual-0"}
    (plain,) = [p for p in pods if not node_of(p)]
    assert "1 node(s) had untolerated taint(s)" in scheduling_message(plain)


def node_states() -> dict[str, Object]:
    """Nodes in every state that keeps pods off, or does not."""
    return {
        "plain": node("plain"),
        "cordoned": node("cordoned", unschedulable=True),
        "never-ready": node("never-ready", managed=False),
        "no-schedule": node("no-schedule", taints=[TAINT]),
        "no-execute": node("no-execute", taints=[{**TAINT, "effect": "NoExecute"}]),
        "prefer-no": node("prefer-no", taints=[{**TAINT, "effect": "PreferNoSchedule"}]),
        "two-taints": node("two-taints", taints=[TAINT, {**TAINT, "key": "other"}]),
        "no-value": node("no-value", taints=[{"key": "team", "effect": "NoSchedule"}]),
        "not-yet": node(
            "not-yet",
            taints=[
                {"key": "node.cloudprovider.kubernetes.io/uninitialized", "effect": "NoSchedule"}
            ],
        ),
        "posing": node("posing", taints=[PROVIDER_TAINT]),
        "virtual": virtual_node("virtual"),
        "virtual-cordoned": virtual_node("virtual-cordoned", unschedulable=True),
        "virtual-never-ready": virtual_node("virtual-never-ready", managed=False),
        "virtual-tainted": virtual_node("virtual-tainted", taints=[PROVIDER_TAINT, TAINT]),
    }


TOLERATIONS: dict[str, list[Object]] = {
    "none": [],
    "exact": [TOLERATION],
    "other-value": [{**TOLERATION, "value": "ops"}],
    "exists": [{"key": "team", "operator": "Exists"}],
    "exists-execute": [{"key": "team", "operator": "Exists", "effect": "NoExecute"}],
    "all": [{"operator": "Exists"}],
    "cordon": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}],
    "not-ready": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}],
    "provider": [{"key": PROVIDER_TAINT["key"], "operator": "Exists", "effect": "NoSchedule"}],
}


@pytest.mark.timeout(600)
def test_nodes_are_respected_as_by_the_stock_scheduler(scene: Scene) -> None:
    """Every toleration on every node, four times: under each scheduler without a policy, and under
    a policy that has all the nodes. There the stock scheduler's pods tolerate the provider's taint
    themselves: that is all the difference that a unit of virtual nodes makes."""
    nodes = node_states()
    scene.add_nodes(*nodes.values())
    wait_for_taints(scene)
    with namespaces(scene, nodes) as found, Watch(scene.cluster) as watch:
        scene.add(*(each for where in nodes for each in pods_of(found[where], where)))
        count = 4 * len(nodes) * len(TOLERATIONS)
        ours = set(found.values())

        def all_answered(pods: list[Object]) -> bool:
            return answered(count)([each for each in pods if each["metadata"]["namespace"] in ours])

        watched = watch.wait_for(all_answered, 300, "each pod answered")
        pods = [each for each in watched if each["metadata"]["namespace"] in ours]
    outcomes: dict[str, dict[str, tuple[bool, str]]] = defaultdict(dict)
    for placed in pods:
        group, _, case = placed["metadata"]["name"].partition(".")
        message = scheduling_message(placed).partition(". ")[0]  # what follows is on preemption
        outcomes[group][case] = (bool(node_of(placed)), message)
    assert outcomes["ours"] == outcomes["stock"]
    assert outcomes["ours-policy"] == outcomes["stock-helped"]
    for cases in outcomes.values():
        bound = sum(is_bound for is_bound, _ in cases.values())
        assert len(cases) // 5 < bound < len(cases) * 4 // 5, "both outcomes are well represented"


@contextmanager
def namespaces(scene: Scene, nodes: Iterable[str]) -> Iterator[dict[str, str]]:
    """One for each node: so many waiting pods in one namespace would be a crowd, and gated."""
    found = {where: f"{scene.namespace}-{number}" for number, where in enumerate(nodes)}
    try:
        for name in found.values():
            scene.cluster.kubectl("create", "namespace", name)
        for name in found.values():
            wait = ("--for=create", "sa/default", "-n", name, "--timeout=30s")
            scene.cluster.kubectl("wait", *wait)
        yield found
    finally:
        for name in found.values():
            clear(scene.cluster, name)
            scene.cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def pods_of(namespace: str, where: str) -> Iterator[Object]:
    """A policy, and the pods that may have this node only."""
    units = [{"resource": "ecs"}, {"resource": "eci"}]
    yield policy(ACK, namespace, "all", selector={"under": "policy"}, units=units)
    # A real node that has the provider's taint is no virtual node.
    helped = TOLERATIONS["provider"] if where.startswith("virtual") else []
    for group, scheduler, labels, more in (
        ("stock", "default-scheduler", {}, []),
        ("ours", "spillover-scheduler", {}, []),
        ("stock-helped", "default-scheduler", {}, helped),
        ("ours-policy", "spillover-scheduler", {"under": "policy"}, []),
    ):
        for how, tolerations in TOLERATIONS.items():
            yield pod(
                namespace,
                f"{group}.{where}.{how}",
                scheduler,
                labels=labels,
                gpus=0,
                tolerations=tolerations + more,
                affinity=only(where),
            )


def wait_for_taints(scene: Scene) -> None:
    """Admission taints a new node at once, the node lifecycle controller some time after: both
    schedulers shall find the same."""
    path = "jsonpath={.items[*].spec.taints[?(@.key=='node.kubernetes.io/not-ready')].effect}"
    unmanaged = sum(not n["metadata"].get("annotations") for n in node_states().values())
    deadline = time.monotonic() + 60
    while True:
        effects = Counter(scene.cluster.kubectl("get", "nodes", "-o", path).split())
        if effects == {"NoSchedule": unmanaged, "NoExecute": unmanaged}:
            return
        assert time.monotonic() < deadline, f"the nodes that are not ready have {effects}"
        time.sleep(0.2)


def only(name: str) -> Object:
    """Affinity for one node by name, as DaemonSets have it: no other node is even looked at."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}
        }
    }


@pytest.mark.parametrize(
    ("operator", "values", "fitting"),
    [
        ("In", ["a100", "h100"], {"a100"}),
        ("NotIn", ["a100"], {"l40", "bare"}),
        ("Exists", [], {"a100", "l40"}),
        ("DoesNotExist", [], {"bare"}),
        ("Gt", ["1"], {"a100"}),
        ("Lt", ["4"], {"l40"}),
    ],
)
def test_every_operator_of_a_node_selector_term(
    scene: Scene, operator: str, values: list[str], fitting: set[str]
) -> None:
    key = "generation" if operator in ("Gt", "Lt") else "gpu"
    scene.add_nodes(
        node("a100", labels={"gpu": "a100", "generation": "4"}),
        node("l40", labels={"gpu": "l40", "generation": "1"}),
        node("bare"),
    )
    scene.add(
        policy(
            VKE,
            scene.namespace,
            "policy",
            selector={"app": "app"},
            strategy="require",
            subsets=[
                {
                    "name": "only",
                    "type": "ecs",
                    "nodeSelectorTerm": [{"key": key, "operator": operator, "values": values}],
                }
            ],
        )
    )
    scene.add(
        *(
            pod(scene.namespace, f"pod-{n}", "spillover-scheduler", labels={"app": "app"})
            for n in range(3)
        )
    )
    pods = scene.pods.wait_for(answered(3), 60, "each pod answered")
    assert {node_of(p) for p in pods} - {""} == fitting


def test_elastic_units_have_the_nodes_of_an_autoscaler_and_ecs_has_no_virtual_ones(
    scene: Scene,
) -> None:
    scene.add_nodes(
        node("static"),
        node("managed", labels={"goatscaler.io/managed": "true"}),
        virtual_node("virtual-0"),
    )
    scene.add(
        policy(
            ACK,
            scene.namespace,
            "policy",
            selector={"app": "app"},
            units=[{"resource": "elastic"}, {"resource": "ecs"}],
        )
    )
    placed = []
    for n in range(3):
        scene.add(pod(scene.namespace, f"pod-{n}", "spillover-scheduler", labels={"app": "app"}))
        pods = scene.pods.wait_for(answered(n + 1), 60, "answered")
        placed.append(next(node_of(p) for p in pods if p["metadata"]["name"] == f"pod-{n}"))
    assert placed == ["managed", "static", ""]
