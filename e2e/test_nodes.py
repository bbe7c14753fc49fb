"""Which nodes pods may use: the same as under the stock scheduler, but for virtual nodes."""

import time
from typing import Any

import pytest

from harness.scenes import (
    ACK,
    PROVIDER_TAINT,
    VKE,
    node,
    pod,
    policy,
    three_tiers,
    virtual_node,
)
from harness.stage import Scene, answered
from harness.watch import node_of, scheduling_message

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
        "virtual": virtual_node("virtual"),
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


def test_nodes_are_respected_as_by_the_stock_scheduler(scene: Scene) -> None:
    """Every toleration on every node, once under each scheduler: same outcome, same message."""
    nodes = node_states()
    scene.add_nodes(*nodes.values())
    # Admission taints a new node at once, the node lifecycle controller some time after: both
    # schedulers shall find the same.
    both = "{.items[*].spec.taints[?(@.key=='node.kubernetes.io/not-ready')].effect}"
    deadline = time.monotonic() + 60
    while set(scene.cluster.kubectl("get", "nodes", "-o", f"jsonpath={both}").split()) != {
        "NoSchedule",
        "NoExecute",
    }:
        assert time.monotonic() < deadline, "the node that is not ready was not tainted"
        time.sleep(0.2)
    schedulers = ("default-scheduler", "spillover-scheduler")
    scene.add(
        *(
            pod(
                scene.namespace,
                f"{scheduler.partition('-')[0]}.{where}.{how}",
                scheduler,
                gpus=0,
                tolerations=tolerations,
                affinity=only(where),
            )
            for scheduler in schedulers
            for where in nodes
            for how, tolerations in TOLERATIONS.items()
        )
    )
    count = len(schedulers) * len(nodes) * len(TOLERATIONS)
    pods = scene.pods.wait_for(answered(count), 120, "each pod answered")
    outcomes: dict[str, dict[str, tuple[bool, str]]] = {"default": {}, "spillover": {}}
    for placed in pods:
        scheduler, _, case = placed["metadata"]["name"].partition(".")
        message = scheduling_message(placed).partition(". ")[0]  # what follows is on preemption
        outcomes[scheduler][case] = (bool(node_of(placed)), message)
    assert outcomes["spillover"] == outcomes["default"]
    assert 20 < sum(bound for bound, _ in outcomes["default"].values()) < 70


def only(name: str) -> Object:
    """Affinity for one node by name, as DaemonSets have it: no other node is even looked at."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}
        }
    }


def test_a_node_that_is_tainted_for_another_reason_is_no_place_even_if_virtual(
    scene: Scene,
) -> None:
    both = virtual_node("virtual-0")
    both["spec"]["taints"].append(TAINT)
    scene.add_nodes(both)
    scene.add(three_tiers(ACK, scene.namespace, "app"))
    scene.add(
        pod(scene.namespace, "plain", "spillover-scheduler", labels={"app": "app"}),
        pod(
            scene.namespace,
            "tolerant",
            "spillover-scheduler",
            labels={"app": "app"},
            tolerations=[TOLERATION],
        ),
    )
    pods = scene.pods.wait_for(answered(2), 60, "both answered")
    places = {p["metadata"]["name"]: node_of(p) for p in pods}
    assert places == {"plain": "", "tolerant": "virtual-0"}


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
