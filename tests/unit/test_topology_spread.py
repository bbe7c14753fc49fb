"""Pods with a hard topology spread that honors taints wait until they tolerate virtual nodes."""

from typing import Any

import msgspec
import pytest
from worlds import World

from builders import PROVIDER, ack_policy, node, virtual, vke_policy
from spillover.api.kubernetes import PodObject, Taint, Toleration
from spillover.core.decision.reasons import UNTOLERATED_SPREAD
from spillover.core.model.pods import TOLERATED_ANNOTATION, Pod, pod_from_wire

KEY = PROVIDER.key
POLICY = ack_policy({"resource": "ecs"}, {"resource": "eci"})


def wire(spread: list[dict[str, Any]], tolerations: list[dict[str, Any]], note: str = "") -> Pod:
    metadata = {
        "name": "p", "namespace": "ns", "uid": "p", "resourceVersion": "1",
        "annotations": {TOLERATED_ANNOTATION: note} if note else {},
    }  # fmt: skip
    spec = {"topologySpreadConstraints": spread, "tolerations": tolerations}
    return pod_from_wire(msgspec.convert({"metadata": metadata, "spec": spec}, PodObject))


@pytest.mark.parametrize(
    ("when", "taints", "spreads"),
    [
        ("DoNotSchedule", "Honor", True), ("DoNotSchedule", "Ignore", False),
        ("DoNotSchedule", None, False), ("ScheduleAnyway", "Honor", False),
    ],
)  # fmt: skip
def test_which_constraints_leave_nodes_out(when: str, taints: str | None, *, spreads: bool) -> None:
    constraint = {"whenUnsatisfiable": when, "nodeTaintsPolicy": taints}
    assert wire([constraint], []).spreads_by_taints == spreads


def test_tolerations_that_were_given_are_not_the_pods_own() -> None:
    given = {"key": KEY, "operator": "Exists"}
    own = {"key": "x", "operator": "Exists"}
    pod = wire([], [given, own], note=KEY)
    assert pod.tolerations == (Toleration("x", "Exists"),)
    assert pod.given_tolerations == {KEY}
    pod = wire([], [given], note="")
    assert (len(pod.tolerations), pod.given_tolerations) == (1, frozenset())
    # The annotation alone gives nothing.
    assert wire([], [], note=KEY).given_tolerations == frozenset()


def test_it_waits_until_it_has_them() -> None:
    world = World([POLICY], [node("real"), virtual("vk")])
    waiting = world.put("one", spreads_by_taints=True)
    assert world.filter(waiting, "real", "vk") == UNTOLERATED_SPREAD
    ((found, keys),) = world.cluster.untolerated(9)
    assert found.name == "one"
    assert keys == {KEY}
    assert len(world.cluster.untolerated(9)) == 1, "until the watch shows that it has them"
    waiting = world.put("one", spreads_by_taints=True, given_tolerations=frozenset({KEY}))
    assert world.cluster.untolerated(9) == []
    assert world.filter(waiting, "real", "vk") == "ecs"


def test_a_node_with_another_taint_asks_for_one_more() -> None:
    world = World([POLICY], [node("real"), virtual("vk")])
    given = {"spreads_by_taints": True, "given_tolerations": frozenset({KEY})}
    world.put("one", **given)
    assert world.cluster.untolerated(9) == []
    other = Taint("virtual-kubelet.io/compute-type", "acs", "NoSchedule")
    world.cluster.put_node(virtual("vk-2", other))
    assert [keys for _, keys in world.cluster.untolerated(9)] == [{other.key}]


@pytest.mark.parametrize(
    ("policy", "fields"),
    [
        (ack_policy({"resource": "ecs"}), {}),
        (POLICY, {"tolerations": (Toleration(KEY, "Exists"),)}),
        (POLICY, {"scheduler": "volcano"}),
        (POLICY, {"node": "real"}),
        (POLICY, {"labels": {}}),
    ],
    ids=["no virtual unit", "tolerates already", "another scheduler", "bound", "no policy"],
)
def test_who_needs_none(policy: Any, fields: dict[str, Any]) -> None:
    world = World([policy], [node("real"), virtual("vk")])
    world.put("one", spreads_by_taints=True, **fields)
    assert world.cluster.untolerated(9) == []


def test_a_policy_that_comes_later_asks_for_them() -> None:
    world = World([], [node("real"), virtual("vk")])
    world.put("one", spreads_by_taints=True)
    assert world.cluster.untolerated(9) == []
    world.cluster.put_policy(POLICY)
    assert len(world.cluster.untolerated(9)) == 1


def test_given_tolerations_open_no_virtual_node_outside_the_units() -> None:
    open_policy = vke_policy({"name": "a", "type": "ecs", "maxReplicas": 0}, strategy="prefer")
    world = World([open_policy], [node("real"), virtual("vk")])
    waiting = world.put("one", spreads_by_taints=True, given_tolerations=frozenset({KEY}))
    assert world.filter(waiting, "vk") == "node(s) had untolerated taint(s)"
