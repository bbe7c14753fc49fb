"""Which pods are above a maximum, and which ones a maximum alone holds back."""

from dataclasses import replace
from typing import Any

import pytest

from builders import ack_policy, leading, node, pod, virtual, vke_policy
from spillover.api.labels import DELETION_COST
from spillover.core.cache import SchedulingCache
from spillover.core.conventions import NodeConventions
from spillover.core.deletion_cost import COST_MARK, above
from spillover.core.pods import POLICY_ANNOTATION, UNIT_ANNOTATION, Pod
from spillover.core.policy import LoadedPolicy, Policy
from spillover.core.resources import Requests
from spillover.core.scale_up import DELAY, OUR_DELAY
from spillover.core.upkeep import Upkeep


class World:
    """A cache with one node of each kind."""

    def __init__(self, policy: LoadedPolicy) -> None:
        self.cache = leading(
            SchedulingCache(NodeConventions(), lambda: 0.0, lambda: 0.0, lambda: 0.5)
        )
        self.cache.put_node(node("real"))
        self.cache.put_node(virtual("vk"))
        self.cache.put_policy(policy)
        self.policy = policy
        self.upkeep = Upkeep(self.cache)

    def wanted(self, *pods: Pod) -> dict[str, dict[str, str | None]]:
        for each in pods:
            self.cache.put_pod(each)
        self.upkeep.look(self.policy.key)
        found = {each.uid: self.upkeep.wanted(each) for each in pods}
        return {uid: wanted for uid, wanted in found.items() if wanted}


def bound(
    uid: str, age: int = 0, requests: Requests = (), annotations: dict[str, str] | None = None
) -> Pod:
    return pod(
        uid,
        node="vk",
        created=f"2026-01-01T00:00:{age:02}Z",
        requests=requests,
        annotations=annotations or {},
    )


def refused(uid: str, age: int = 0, **fields: Any) -> Pod:
    return pod(uid, refusal="Unschedulable: x", created=f"2026-01-01T00:00:{age:02}Z", **fields)


def cost(value: str) -> dict[str, str | None]:
    return {DELETION_COST: value, COST_MARK: value}


def test_the_newest_pods_are_above_a_max() -> None:
    (unit,) = ack_policy({"resource": "eci", "max": 2}).units
    pods = [bound("new", 9), bound("old", 1), bound("b", 5), bound("a", 5)]
    assert above(pods, unit, 2) == {"new", "b"}
    assert above(pods, unit, 4) == set()
    assert above(pods, unit, 0) == {"new", "old", "a", "b"}
    assert above(pods, unit, None) == set()


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [("8", set()), ("6", {"newest"}), ("5", {"newest"}), ("3", {"newest", "middle"})],
)
def test_the_newest_pods_that_help_are_above_max_resources(limit: str, wanted: set[str]) -> None:
    (unit,) = ack_policy({"resource": "eci", "maxResources": {"cpu": limit}}).units
    pods = [
        bound("oldest", 1, (("cpu", 3000),)), bound("middle", 2, (("cpu", 2000),)),
        bound("newest", 3, (("cpu", 3000),)), bound("asks-for-none", 4, (("memory", 1),)),
    ]  # fmt: skip
    assert above(pods, unit, None) == wanted


def test_pods_that_are_going_are_above_a_max_first() -> None:
    (unit,) = ack_policy({"resource": "eci", "max": 2}).units
    going = pod("going", node="vk", created="2026-01-01T00:00:00Z", terminating=True)
    assert above([going, bound("old", 1), bound("new", 9)], unit, 2) == {"going"}


def test_a_reservation_has_others_held_back() -> None:
    world = World(limited(1))
    first, second = refused("first", 1), refused("second", 2)
    assert world.wanted(first, second) == {"second": DELAYED}
    world.cache.changes.take_policies()
    world.cache.place(second, ["vk"])
    assert world.cache.changes.take_policies() == [world.policy.key]
    assert world.wanted(first, second) == {"first": DELAYED}


def test_costs_by_rank_and_above_the_max() -> None:
    world = World(ack_policy({"resource": "ecs"}, {"resource": "eci", "max": 1}))
    first = pod("first", node="real")
    assert world.wanted(first, bound("old", 1), bound("new", 2)) == {
        "first": cost("200"), "old": cost("100"), "new": cost("-100"),
    }  # fmt: skip


def test_a_cost_of_ours_is_corrected_and_any_other_left_alone() -> None:
    world = World(ack_policy({"resource": "eci"}))
    ours, own, overwritten = {DELETION_COST: "7", COST_MARK: "7"}, {DELETION_COST: "100"}, "8"
    pods = [
        bound("ours", annotations=ours), bound("own", annotations=own),
        bound("overwritten", annotations={**ours, DELETION_COST: overwritten}),
        bound("right", annotations={DELETION_COST: "100", COST_MARK: "100"}),
    ]  # fmt: skip
    assert world.wanted(*pods) == {"ours": cost("100")}


def test_costs_where_the_unit_or_the_policy_is_no_more() -> None:
    policy = ack_policy({"resource": "eci"})
    world = World(policy)
    marks = {POLICY_ANNOTATION: str(policy.key), UNIT_ANNOTATION: "gone"}
    left = bound("left", annotations=marks)
    assert world.wanted(left) == {"left": cost("-100")}
    world.cache.drop_policy(policy.key)
    ours = bound("ours", annotations={DELETION_COST: "100", COST_MARK: "100", **marks})
    assert world.wanted(left, ours) == {"ours": {DELETION_COST: None, COST_MARK: None}}


def test_an_invalid_policy_leaves_costs_as_they_are() -> None:
    from spillover.core.policy import InvalidPolicy  # noqa: PLC0415 - of this test alone

    good = ack_policy({"resource": "eci"})
    world = World(InvalidPolicy(good.key, good.uid, good.created, good.selector, ()))
    assert world.wanted(bound("one", annotations={DELETION_COST: "300", COST_MARK: "300"})) == {}


def test_no_cost_on_nodes_of_no_unit() -> None:
    policy = vke_policy({"name": "vci", "type": "vci"})
    world = World(policy)
    outside = pod("outside", node="real", annotations={POLICY_ANNOTATION: str(policy.key),
                                                       UNIT_ANNOTATION: ""})  # fmt: skip
    assert world.wanted(outside) == {}


DELAYED: dict[str, str | None] = {DELAY: OUR_DELAY}


def limited(most: int, **more: Any) -> Policy:
    return ack_policy({"resource": "eci", "max": most}, {"resource": "ecs", "max": 0}, **more)


def test_as_many_waiting_pods_are_not_held_back_as_there_are_slots() -> None:
    world = World(limited(3))
    waiting = [refused("urgent", 9, priority=5), refused("old", 1), refused("new", 8)]
    assert world.wanted(bound("there", annotations={DELETION_COST: "9"}), *waiting) == {
        "new": DELAYED
    }


def test_a_slot_that_frees_takes_one_delay_away() -> None:
    world = World(limited(1))
    delayed = {DELAY: OUR_DELAY}
    there = bound("there", annotations={DELETION_COST: "9"})
    waiting = [refused("old", 1, annotations=delayed), refused("new", 8, annotations=delayed)]
    assert world.wanted(there, *waiting) == {}
    world.cache.drop_pod("there", 9)
    assert world.wanted(*waiting) == {"old": {DELAY: None}}


def test_a_bound_pod_loses_its_delay_with_the_write_of_its_cost() -> None:
    world = World(limited(1))
    assert world.wanted(bound("there", annotations={DELAY: OUR_DELAY})) == {
        "there": {**cost("200"), DELAY: None}
    }


def test_who_has_a_reservation_has_the_slot() -> None:
    world = World(limited(1))
    first, second = refused("first", 1), refused("second", 2)
    world.cache.put_pod(first)
    world.cache.put_pod(second)
    world.cache.place(second, ["vk"])
    assert world.wanted(first, second) == {"first": DELAYED}


def test_a_reservation_that_ends_and_a_priority_that_changes_have_the_policy_looked_at() -> None:
    world = World(limited(1))
    waiting = refused("first", 1)
    world.cache.put_pod(waiting)
    world.cache.place(waiting, ["vk"])
    changes = world.cache.changes
    changes.take_policies()
    world.cache.ledger.release("first")
    world.cache.due_nudges()
    assert changes.take_policies() == [world.policy.key]
    world.cache.put_pod(replace(waiting, version=2, priority=5))
    assert changes.take_policies() == [world.policy.key]


def test_between_the_answer_and_the_watch_a_bound_pod_has_its_slot() -> None:
    world = World(limited(1))
    first, second = refused("first", 1), refused("second", 2)
    world.cache.put_pod(first)
    world.cache.put_pod(second)
    world.cache.place(first, ["vk"])
    claim = world.cache.claim("first", "vk")
    assert not isinstance(claim, str)
    world.cache.ledger.bound("first", claim.flight)
    assert world.wanted(first, second) == {"second": DELAYED}


@pytest.mark.parametrize(
    "policy",
    [
        ack_policy({"resource": "eci", "max": 0}, {"resource": "ecs"}),
        vke_policy({"name": "vci", "type": "vci", "maxReplicas": 0}),
    ],
    ids=["a unit without a max", "nodes of no unit"],
)
def test_nobody_is_held_back_where_a_node_would_help(policy: Policy) -> None:
    assert World(policy).wanted(refused("one")) == {}


def test_groups_have_slots_of_their_own() -> None:
    world = World(limited(1, matchLabelKeys=["hash"]))
    there = bound("there", annotations={DELETION_COST: "9"})
    grouped = pod("there", node="vk", labels={"app": "app", "hash": "a"},
                  annotations=there.annotations)  # fmt: skip
    waiting = [
        refused(name, labels={"app": "app", **({"hash": group} if group else {})})
        for name, group in (("same", "a"), ("other", "b"), ("none", ""))
    ]
    assert world.wanted(grouped, *waiting) == {"same": DELAYED}


def test_resources_hold_back_too() -> None:
    policy = ack_policy({"resource": "eci", "maxResources": {"cpu": "4"}})
    world = World(policy)
    there = bound("there", 1, (("cpu", 3000),), annotations={DELETION_COST: "9"})
    big, small = (
        refused("big", 1, requests=(("cpu", 2000),)),
        refused("small", 2, requests=(("cpu", 1000),)),
    )
    assert world.wanted(there, big, small) == {"big": DELAYED}


def test_pods_of_other_schedulers_and_untried_ones_are_left_alone() -> None:
    world = World(limited(0))
    assert world.wanted(refused("theirs", scheduler="default-scheduler"), pod("untried")) == {}
