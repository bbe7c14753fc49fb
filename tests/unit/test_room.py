"""How many more pods a cluster can hold."""

from dataclasses import replace
from math import inf
from typing import Any

import pytest

from builders import ack_policy, node, pod, virtual, vke_policy
from spillover.api.kubernetes import ConstrainedPod, ConstrainedSpec
from spillover.core.cache.cluster import ClusterCache
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.policy import Policy
from spillover.core.reporting.fit import Capacity, Use
from spillover.federation.room import (
    NodeState,
    NodeStates,
    Shape,
    UnitRoom,
    grows_to,
    is_bounded,
    rooms,
    shared,
    total,
)

GPU = "nvidia.com/gpu"
THREE: list[dict[str, Any]] = [
    {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}},
    {"resource": "eci", "max": 2},
    {"resource": "ecs", "nodeSelector": {"pool": "postpaid"}},
]


class World:
    """Two prepaid nodes, a virtual one, and two postpaid ones, with one GPU each but the virtual
    one."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.cluster = ClusterCache(NodeConventions(), lambda: 0.0, lambda: 0.0, lambda: 0.0)
        self.nodes: dict[str, NodeState] = {}
        for name, pool in zip("abcd", ["prepaid"] * 2 + ["postpaid"] * 2, strict=True):
            self.cluster.put_node(node(name, pool=pool))
            self.put(name, {"pool": pool}, 1)
        self.cluster.put_node(virtual("vk"))
        self.put("vk", {"type": "virtual-kubelet"}, 100)
        self.cluster.put_policy(policy)

    def put(self, name: str, labels: dict[str, str], gpus: int, used: int = 0) -> None:
        capacity = Capacity(name, labels, cordoned=False, allocatable={GPU: gpus, "pods": 110})
        self.nodes[name] = NodeState(capacity, Use({GPU: used, "pods": used}))

    def bind(self, name: str, unit: int, where: str, **fields: Any) -> None:
        notes = {
            "spillover.dev/policy": str(self.policy.key),
            "spillover.dev/unit": self.policy.units[unit].identity,
        }
        self.cluster.put_pod(pod(name, node=where, annotations=notes, **fields))

    def rooms(self, growth: dict[str, float] | None = None, gpus: int = 1) -> list[float]:
        return [each.pods for each in self.found(growth, gpus)]

    def found(self, growth: dict[str, float] | None = None, gpus: int = 1) -> list[UnitRoom]:
        shape = Shape(pod("shape", requests=((GPU, gpus),)), ConstrainedPod(ConstrainedSpec()))
        return rooms(shape, self.policy, growth or {}, self.cluster, NodeStates(self.nodes))


def test_slots_and_nodes_bound_the_room_of_each_unit() -> None:
    world = World(ack_policy(*THREE))
    assert world.rooms() == [2, 2, 2]
    assert total(world.found()) == 6


def test_bound_pods_take_slots_and_nodes() -> None:
    world = World(ack_policy(*THREE))
    for name in ("one", "two"):
        world.bind(name, 1, "vk")
    world.put("a", {"pool": "prepaid"}, 1, used=1)
    assert world.rooms() == [1, 0, 2]


def test_a_declared_size_counts_for_the_unit_that_declares_it() -> None:
    world = World(ack_policy(*THREE))
    last = world.policy.units[2].title
    assert world.rooms({last: 5.0}) == [2, 2, 5]
    assert world.rooms({"3": 5.0}) == [2, 2, 5]
    assert world.rooms({"*": 6.0, "1": 4.0}) == [4, 2, 6]
    assert world.rooms({"*": inf})[2] == inf
    assert total(world.found({"*": inf})) == 100_000


def test_nodes_that_have_come_do_not_count_twice() -> None:
    world = World(ack_policy(*THREE))
    assert world.rooms({"*": 2.0}) == [2, 2, 2]
    world.bind("one", 2, "c")
    world.put("c", {"pool": "postpaid"}, 1, used=1)
    assert world.rooms({"*": 2.0}) == [2, 2, 1]


def test_places_of_pods_that_are_being_deleted_are_free() -> None:
    world = World(ack_policy(*THREE, ignoreTerminatingPod=False))
    world.bind("one", 1, "vk")
    assert world.rooms() == [2, 1, 2]
    world.bind("one", 1, "vk", terminating=True, version=2)
    assert world.rooms() == [2, 2, 2]


def test_nodes_of_two_units_count_once() -> None:
    world = World(ack_policy({"resource": "ecs", "max": 3}, {"resource": "ecs"}))
    assert world.rooms() == [3, 1]


def test_pods_that_are_larger_than_a_node_have_no_room_there() -> None:
    world = World(ack_policy(*THREE))
    assert world.rooms(gpus=2) == [0, 2, 0]


def test_limits_of_resources_are_slots() -> None:
    world = World(ack_policy({"resource": "eci", "maxResources": {GPU: "5"}}))
    assert world.rooms(gpus=2) == [2]


@pytest.mark.parametrize(
    ("policy", "growth", "bounded"),
    [
        (ack_policy(*THREE), {}, False),
        (ack_policy(*THREE), {"*": 0.0}, True),
        (ack_policy(*THREE), {"*": inf}, False),
        (ack_policy({"resource": "eci", "max": 2}), {}, True),
        (vke_policy({"name": "v", "type": "vci", "maxReplicas": 2}, strategy="prefer"), {}, False),
        (vke_policy({"name": "v", "type": "vci", "maxReplicas": 2}, strategy="require"), {}, True),
    ],
)
def test_whether_the_last_unit_ends(
    policy: Policy,
    growth: dict[str, float],
    bounded: bool,
) -> None:
    assert is_bounded(policy, growth) is bounded


def test_workloads_share_a_room() -> None:
    assert shared(5, {"a": 0, "b": 0}) == {"a": 3, "b": 2}
    assert shared(5, {"a": 0, "b": 4}) == {"a": 1, "b": 4}
    assert shared(3, {"a": 4, "b": 4}) == {"a": 3, "b": 0}
    assert shared(5, {}) == {}


def test_declared_growth() -> None:
    assert grows_to(" postpaid=8, *=unlimited ") == {"postpaid": 8.0, "*": inf}
    assert grows_to("") == {}
    with pytest.raises(ValueError, match=r"grows-to: 'postpaid=-1' is not UNIT=PODS"):
        grows_to("postpaid=-1")


def test_a_cordoned_node_has_no_room() -> None:
    world = World(ack_policy(*THREE))
    world.nodes["a"] = replace(
        world.nodes["a"], capacity=replace(world.nodes["a"].capacity, cordoned=True)
    )
    assert world.rooms() == [1, 2, 2]
