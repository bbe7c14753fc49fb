"""Which pods are above a maximum, and which ones a maximum alone holds back."""

from dataclasses import replace
from typing import Any

import pytest
from worlds import World

from builders import ack_policy, node, pod, virtual, vke_policy
from spillover.api.labels import DELETION_COST
from spillover.core.cache.deletion_cost import COST_MARK, above
from spillover.core.model.pods import POLICY_ANNOTATION, UNIT_ANNOTATION, Pod
from spillover.core.model.policy import LoadedPolicy, Policy
from spillover.core.model.resources import Requests
from spillover.core.reporting.desired_annotations import DesiredAnnotations
from spillover.core.reporting.scale_up import DELAY, OUR_DELAY


class Kept(World):
    """With one node of each kind."""

    def __init__(self, policy: LoadedPolicy) -> None:
        super().__init__([policy], (node("real"), virtual("vk")), jitter=0.5)
        self.policy = policy
        self.upkeep = DesiredAnnotations(self.cluster)

    def wanted(self, *pods: Pod) -> dict[str, dict[str, str | None]]:
        for each in pods:
            self.cluster.put_pod(each)
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
    world = Kept(limited(1))
    first, second = refused("first", 1), refused("second", 2)
    assert world.wanted(first, second) == {"second": DELAYED}
    world.cluster.dirty.take_policies()
    world.scheduler.place(second, ["vk"])
    assert world.cluster.dirty.take_policies() == [world.policy.key]
    assert world.wanted(first, second) == {"first": DELAYED}


def test_costs_by_rank_and_above_the_max() -> None:
    world = Kept(ack_policy({"resource": "ecs"}, {"resource": "eci", "max": 1}))
    first = pod("first", node="real")
    assert world.wanted(first, bound("old", 1), bound("new", 2)) == {
        "first": cost("200"), "old": cost("100"), "new": cost("-100"),
    }  # fmt: skip


def test_a_cost_of_ours_is_corrected_and_any_other_left_alone() -> None:
    world = Kept(ack_policy({"resource": "eci"}))
    ours, own, overwritten = {DELETION_COST: "7", COST_MARK: "7"}, {DELETION_COST: "100"}, "8"
    pods = [
        bound("ours", annotations=ours), bound("own", annotations=own),
        bound("overwritten", annotations={**ours, DELETION_COST: overwritten}),
        bound("right", annotations={DELETION_COST: "100", COST_MARK: "100"}),
    ]  # fmt: skip
    assert world.wanted(*pods) == {"ours": cost("100")}


def test_costs_where_the_unit_or_the_policy_is_no_more() -> None:
    policy = ack_policy({"resource": "eci"})
    world = Kept(policy)
    marks = {POLICY_ANNOTATION: str(policy.key), UNIT_ANNOTATION: "gone"}
    left = bound("left", annotations=marks)
    assert world.wanted(left) == {"left": cost("-100")}
    world.cluster.drop_policy(policy.key)
    ours = bound("ours", annotations={DELETION_COST: "100", COST_MARK: "100", **marks})
    assert world.wanted(left, ours) == {"ours": {DELETION_COST: None, COST_MARK: None}}


def test_an_invalid_policy_leaves_costs_as_they_are() -> None:
    from spillover.core.model.policy import InvalidPolicy  # noqa: PLC0415 - of this test alone

    good = ack_policy({"resource": "eci"})
    world = Kept(InvalidPolicy(good.key, good.uid, good.created, good.selector, ()))
    assert world.wanted(bound("one", annotations={DELETION_COST: "300", COST_MARK: "300"})) == {}


def test_no_cost_on_nodes_of_no_unit() -> None:
    policy = vke_policy({"name": "vci", "type": "vci"})
    world = Kept(policy)
    outside = pod("outside", node="real", annotations={POLICY_ANNOTATION: str(policy.key),
                                                       UNIT_ANNOTATION: ""})  # fmt: skip
    assert world.wanted(outside) == {}


DELAYED: dict[str, str | None] = {DELAY: OUR_DELAY}


def limited(most: int, **more: Any) -> Policy:
    return ack_policy({"resource": "eci", "max": most}, {"resource": "ecs", "max": 0}, **more)


def test_as_many_waiting_pods_are_not_held_back_as_there_are_slots() -> None:
    world = Kept(limited(3))
    waiting = [refused("urgent", 9, priority=5), refused("old", 1), refused("new", 8)]
    assert world.wanted(bound("there", annotations={DELETION_COST: "9"}), *waiting) == {
        "new": DELAYED
    }


def test_a_slot_that_frees_takes_one_delay_away() -> None:
    world = Kept(limited(1))
    delayed = {DELAY: OUR_DELAY}
    there = bound("there", annotations={DELETION_COST: "9"})
    waiting = [refused("old", 1, annotations=delayed), refused("new", 8, annotations=delayed)]
    assert world.wanted(there, *waiting) == {}
    world.cluster.drop_pod("there", 9)
    assert world.wanted(*waiting) == {"old": {DELAY: None}}


def test_a_bound_pod_loses_its_delay_with_the_write_of_its_cost() -> None:
    world = Kept(limited(1))
    assert world.wanted(bound("there", annotations={DELAY: OUR_DELAY})) == {
        "there": {**cost("200"), DELAY: None}
    }


def test_who_has_a_reservation_has_the_slot() -> None:
    world = Kept(limited(1))
    first, second = refused("first", 1), refused("second", 2)
    world.cluster.put_pod(first)
    world.cluster.put_pod(second)
    world.scheduler.place(second, ["vk"])
    assert world.wanted(first, second) == {"first": DELAYED}


def test_a_reservation_that_ends_and_a_priority_that_changes_have_the_policy_looked_at() -> None:
    world = Kept(limited(1))
    waiting = refused("first", 1)
    world.cluster.put_pod(waiting)
    world.scheduler.place(waiting, ["vk"])
    changes = world.cluster.dirty
    changes.take_policies()
    world.cluster.ledger.release("first")
    world.scheduler.due_nudges()
    assert changes.take_policies() == [world.policy.key]
    world.cluster.put_pod(replace(waiting, version=2, priority=5))
    assert changes.take_policies() == [world.policy.key]


def test_between_the_answer_and_the_watch_a_bound_pod_has_its_slot() -> None:
    world = Kept(limited(1))
    first, second = refused("first", 1), refused("second", 2)
    world.cluster.put_pod(first)
    world.cluster.put_pod(second)
    world.scheduler.place(first, ["vk"])
    claim = world.scheduler.plan_binding("first", "vk")
    assert not isinstance(claim, str)
    world.cluster.ledger.bound("first", claim.flight)
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
    assert Kept(policy).wanted(refused("one")) == {}


def test_groups_have_slots_of_their_own() -> None:
    world = Kept(limited(1, matchLabelKeys=["hash"]))
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
    world = Kept(policy)
    there = bound("there", 1, (("cpu", 3000),), annotations={DELETION_COST: "9"})
    big, small = (
        refused("big", 1, requests=(("cpu", 2000),)),
        refused("small", 2, requests=(("cpu", 1000),)),
    )
    assert world.wanted(there, big, small) == {"big": DELAYED}


def test_pods_of_other_schedulers_and_untried_ones_are_left_alone() -> None:
    world = Kept(limited(0))
    assert world.wanted(refused("theirs", scheduler="default-scheduler"), pod("untried")) == {}


def test_a_pod_whose_unit_was_changed_by_somebody_counts_where_it_was() -> None:
    policy = ack_policy({"resource": "eci", "max": 1}, {"resource": "ecs"})
    world = Kept(policy)
    first, second = (unit.identity for unit in policy.units)
    marks = {POLICY_ANNOTATION: str(policy.key), UNIT_ANNOTATION: first}
    world.cluster.put_pod(bound("it", annotations=marks))
    for version, changed in enumerate(({**marks, UNIT_ANNOTATION: second}, {}), start=2):
        world.cluster.put_pod(replace(bound("it", annotations=changed), version=version))
        now = world.cluster.pod("it")
        assert now is not None
        assert world.cluster.home_of(now).unit is policy.units[0]
        assert marks.items() <= world.upkeep.wanted(now).items()
        assert world.upkeep.why(now) == "somebody else has changed where it counts"
    world.cluster.put_pod(replace(bound("it", annotations=marks), version=9))
    now = world.cluster.pod("it")
    assert now is not None
    assert not marks.keys() & world.upkeep.wanted(now).keys()


def test_marks_that_a_pod_of_others_is_given_afterwards_move_it_nowhere() -> None:
    policy = ack_policy({"resource": "eci", "max": 1}, {"resource": "ecs"})
    world = Kept(policy)
    world.cluster.put_pod(bound("it"))
    marks = {POLICY_ANNOTATION: str(policy.key), UNIT_ANNOTATION: "x"}
    world.cluster.put_pod(replace(bound("it", annotations=marks), version=2))
    now = world.cluster.pod("it")
    assert now is not None
    assert world.cluster.home_of(now).unit is policy.units[0]
    wanted = world.upkeep.wanted(now)
    assert {key: wanted[key] for key in marks} == dict.fromkeys(marks)
