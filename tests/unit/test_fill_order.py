"""The order in which a fresh start fills the units of a policy with a ratio, and the costs that
follow from it."""

from collections import Counter
from collections.abc import Sequence
from math import floor
from random import Random
from typing import Any

import pytest
from worlds import World

from builders import node, virtual, vke_policy
from spillover.api.labels import DELETION_COST
from spillover.core.cache.binding_plan import BindingPlan
from spillover.core.decision.fill_order import fill_order
from spillover.core.model.pods import Pod
from spillover.core.model.policy import Policy
from spillover.core.model.workloads import Workload
from spillover.core.reporting.desired_annotations import DesiredAnnotations


def spread(ratio: str, **more: Any) -> Policy:
    return vke_policy(
        {"name": "base", "type": "ecs", "maxReplicasRatio": ratio, **more},
        {"name": "burst", "type": "vci"},
    )


def fresh(policy: Policy, size: int) -> list[int]:
    """The pods of each unit after a fresh start."""
    found, left = [], size
    for unit in policy.units:
        caps = [left]
        if unit.max is not None:
            caps.append(unit.max)
        if unit.max_ratio is not None:
            caps.append(floor(unit.max_ratio * size))
        found.append(min(caps))
        left -= min(caps)
    return found


def after_scale_in(policy: Policy, counts: Sequence[int], size: int) -> list[int]:
    """What is left of each unit when the pods with the highest places are gone."""
    order = fill_order(policy)
    places = sorted(
        (order.place(unit, number) or 10**9, unit)
        for unit, count in enumerate(counts)
        for number in range(1, count + 1)
    )
    left = Counter(unit for _, unit in places[:size])
    return [left[unit] for unit in range(len(policy.units))]


@pytest.mark.parametrize("ratio", ["0", "0.1", "0.29", "0.3", "0.5", "0.7", "0.999", "1", "3"])
def test_every_scale_in_leaves_a_fresh_start(ratio: str) -> None:
    policy = spread(ratio)
    for size in (1, 2, 5, 10, 37, 100):
        for left in range(size + 1):
            assert after_scale_in(policy, fresh(policy, size), left) == fresh(policy, left)


def test_it_is_the_order_of_the_specification() -> None:
    policy = spread("0.7")
    splits = [fresh(policy, size) for size in range(1, 11)]
    assert splits == [
        [0, 1],
        [1, 1],
        [2, 1],
        [2, 2],
        [3, 2],
        [4, 2],
        [4, 3],
        [5, 3],
        [6, 3],
        [7, 3],
    ]
    # Spot nodes were short: what is beyond the split goes first.
    assert after_scale_in(policy, [4, 6], 9) == [4, 5]
    assert after_scale_in(policy, [4, 6], 7) == [4, 3]


def test_with_two_ratios_a_unit_may_have_two_pods_more() -> None:
    chance = Random(1)
    for _ in range(200):
        ratios = [f"0.{chance.randrange(1, 10)}" for _ in range(3)]
        policy = vke_policy(
            *(
                {"name": f"u{index}", "type": "ecs", "maxReplicasRatio": ratio}
                for index, ratio in enumerate(ratios)
            ),
            {"name": "last", "type": "vci"},
        )
        for left in range(20):
            found = after_scale_in(policy, fresh(policy, 20), left)
            pairs = zip(found, fresh(policy, left), strict=True)
            assert max(abs(count - wanted) for count, wanted in pairs) <= 2


class Scaled(World):
    """A Deployment with replicas under a policy with a ratio, and a controller that follows."""

    def __init__(self, policy: Policy, replicas: int) -> None:
        super().__init__([policy], [node("real"), virtual("vk")])
        self.policy = policy
        self.desired = DesiredAnnotations(self.cluster)
        self.replicas(replicas)
        self.writes: Counter[str] = Counter()

    def replicas(self, count: int) -> None:
        self.cluster.put_workload(Workload("deployments", "owner", "ns", count, ""))

    def bind(self, name: str, owner: str = "owner") -> Pod:
        waiting = self.put(name, owner=owner, created=f"2026-01-01T{self.version:06}Z")
        decision = self.scheduler.place(waiting, ("real", "vk"))
        target = next(iter(decision.nodes))  # type: ignore[union-attr]
        plan = self.scheduler.plan_binding(name, target)
        assert isinstance(plan, BindingPlan), plan
        self.cluster.ledger.bound(name, plan.flight)
        there = self.put(
            name, owner=owner, created=waiting.created, node=target, ready=True, started=True,
            annotations=plan.annotations,
        )  # fmt: skip
        self.writes[name] += 1
        return there

    def follow(self) -> None:
        """The controller writes what it wants."""
        self.desired.look(self.policy.key)
        for each in list(self.cluster.pods_of("ns")):
            wanted = self.desired.wanted(each)
            if wanted:
                kept = {**each.annotations, **{key: str(value) for key, value in wanted.items()}}
                self.writes[each.name] += 1
                self.put(
                    each.name, owner=each.owner, created=each.created, node=each.node,
                    ready=each.ready, started=True, annotations=kept,
                )  # fmt: skip

    def split(self) -> list[int]:
        """Pods on real and on virtual nodes."""
        there = Counter(each.node for each in self.cluster.pods_of("ns"))
        return [there["real"], there["vk"]]

    def scale_in(self, count: int) -> None:
        """As the ReplicaSet controller does, in one step."""
        costs = {
            each.name: int(each.annotations[DELETION_COST]) for each in self.cluster.pods_of("ns")
        }
        for name in sorted(costs, key=lambda each: costs[each])[: len(costs) - count]:
            self.delete(name)
        self.replicas(count)


@pytest.mark.parametrize("steps", [[4], [8, 6, 4], [9, 8, 7, 6, 5, 4, 3, 2, 1]])
def test_a_scale_in_by_any_step_leaves_what_a_fresh_start_would_have(steps: list[int]) -> None:
    world = Scaled(spread("0.5"), 10)
    for number in range(10):
        world.bind(f"p{number}")
    world.follow()
    assert world.split() == [5, 5]
    assert max(world.writes.values()) == 1, "the binding's cost is right"
    for size in steps:
        world.scale_in(size)
        assert world.split() == fresh(world.policy, size)
    world.follow()
    assert max(world.writes.values()) == 1


def test_a_pod_that_is_gone_costs_one_write() -> None:
    world = Scaled(spread("0.5"), 10)
    for number in range(10):
        world.bind(f"p{number}")
    world.follow()
    there = [each for each in world.cluster.pods_of("ns") if each.node == "real"]
    first = max(there, key=lambda each: int(each.annotations[DELETION_COST]))
    world.delete(first.name)
    before = sum(world.writes.values())
    world.follow()
    assert sum(world.writes.values()) == before + 1
    world.bind("late")
    world.follow()
    for size in (7, 3, 1):
        world.scale_in(size)
        assert world.split() == fresh(world.policy, size)


def test_a_scale_out_writes_each_pod_at_most_twice() -> None:
    chance = Random(1)
    world = Scaled(spread("0.5"), 1000)
    for number in range(1000):
        world.bind(f"p{number}")
        if chance.random() < 0.02:  # a pod is replaced now and then
            gone = chance.choice(world.cluster.pods_of("ns"))
            world.delete(gone.name)
            world.bind(f"instead-{number}")
        if chance.random() < 0.05:
            world.follow()
    world.follow()
    print(f"writes of one pod: {sorted(Counter(world.writes.values()).items())}")
    assert max(world.writes.values()) <= 2
    for size in (999, 500, 333):
        world.scale_in(size)
        assert world.split() == fresh(world.policy, size)


def test_two_workloads_share_a_ratio_as_far_as_their_own_pods_allow() -> None:
    world = Scaled(spread("0.5"), 6)
    world.cluster.put_workload(Workload("deployments", "second", "ns", 6, ""))
    for number in range(12):
        world.bind(f"{'ab'[number % 2]}{number}", owner=("owner", "second")[number % 2])
    world.follow()
    costs = {
        each.name: int(each.annotations[DELETION_COST]) for each in world.cluster.pods_of("ns")
    }
    mine = sorted((name for name in costs if name[0] == "a"), key=lambda name: costs[name])
    for name in mine[:4]:
        world.delete(name)
    world.replicas(2)
    pairs = zip(world.split(), fresh(world.policy, 8), strict=True)
    assert max(abs(have - wanted) for have, wanted in pairs) <= 1


def test_costs_survive_a_change_of_the_leader() -> None:
    world = Scaled(spread("0.5"), 10)
    for number in range(10):
        world.bind(f"p{number}")
    world.follow()
    before = sum(world.writes.values())
    world.cluster.slot_numbers.clear()
    world.desired.clear()
    world.follow()
    assert sum(world.writes.values()) == before


def test_pods_above_a_plain_maximum_go_first() -> None:
    world = Scaled(spread("1", maxReplicas=2), 4)
    for number in range(4):
        world.put(
            f"p{number}", owner="owner", node="real", created=f"2026-01-01T{number:06}Z",
            ready=True, started=True,
        )  # fmt: skip
    world.follow()
    costs = {each.name: each.annotations.get(DELETION_COST) for each in world.cluster.pods_of("ns")}
    assert costs == {"p0": "999999", "p1": "999998", "p2": "-100", "p3": "-100"}


def test_pods_that_are_not_ready_have_the_last_places() -> None:
    world = Scaled(spread("0.5"), 4)
    for name, ready in (("a", False), ("b", True)):
        world.put(
            name,
            owner="owner",
            node="real",
            created="2026-01-01T000000Z",
            ready=ready,
            started=True,
        )
    world.follow()
    costs = {
        each.name: int(each.annotations[DELETION_COST]) for each in world.cluster.pods_of("ns")
    }
    assert costs["a"] < costs["b"]


def test_a_policy_without_a_ratio_keeps_its_costs() -> None:
    policy = vke_policy({"name": "base", "type": "ecs"}, {"name": "burst", "type": "vci"})
    world = Scaled(policy, 2)
    assert world.bind("one").annotations[DELETION_COST] == "200"
