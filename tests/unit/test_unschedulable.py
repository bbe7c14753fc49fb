"""Which rejected pods are nudged after a change, and which are not."""

from dataclasses import replace
from typing import Any

import pytest
from worlds import World

from builders import ack_policy, leading, node, pod, virtual
from spillover.api.kubernetes import Taint, Toleration
from spillover.core.cache.unschedulable import (
    ANSWER_SECONDS,
    DEFAULT_BOUNDS,
    FAILED_REST_SECONDS,
    MEMORY_SECONDS,
    MOST_AT_ONCE,
    MOST_UNANSWERED,
    Bounds,
)
from spillover.core.model.policy import Policy

TEAM = Taint("team", "other", "NoSchedule")


class Waiting(World):
    """With a virtual node."""

    def __init__(
        self, *policies: Policy, jitter: float = 0.0, bounds: Bounds = DEFAULT_BOUNDS
    ) -> None:
        super().__init__(policies, [virtual("vk")], jitter=jitter, bounds=bounds)

    def bound(self, name: str, **fields: Any) -> None:
        self.put(name, node="vk", labels={"app": "app"}, **fields)

    def reject(self, name: str, *offered: str, **fields: Any) -> None:
        answer = self.scheduler.place(self.put(name, **fields), offered or ("vk",))
        assert hasattr(answer, "reasons"), answer


def limited(limit: int = 1) -> Policy:
    return ack_policy({"resource": "eci", "max": limit})


def crowded(*waiters: str, limit: int = 1) -> Waiting:
    """A full unit and pods that wait for it."""
    world = Waiting(limited(limit))
    for number in range(limit):
        world.bound(f"bound-{number}")
    for name in waiters:
        world.reject(name)
    assert world.nudged() == []
    return world


def test_nothing_changed_nobody_is_nudged() -> None:
    world = crowded("one", "two")
    for _ in range(100):
        world.now += 1
        assert world.nudged() == []


def test_as_many_as_there_are_slots() -> None:
    world = crowded("a", "b", "c", limit=2)
    world.delete("bound-0")
    assert world.nudged() == ["a"]
    world.delete("bound-1")
    assert world.nudged() == ["b"]
    assert world.nudged() == []


def test_highest_priority_and_oldest_first() -> None:
    world = crowded(limit=4)
    world.reject("young", created="2026-01-03T00:00:00Z")
    world.reject("old", created="2026-01-01T00:00:00Z")
    world.reject("urgent", created="2026-01-02T00:00:00Z", priority=7)
    # Of another shape.
    world.reject("tolerant", created="2025-01-01T00:00:00Z", tolerations=(Toleration("x"),))
    for number in range(4):
        world.delete(f"bound-{number}")
    assert world.nudged() == ["urgent", "tolerant", "old", "young"]


def test_a_filter_call_after_the_change_makes_the_nudge_needless() -> None:
    world = crowded("one")
    world.delete("bound-0")
    world.version += 1
    world.scheduler.place(pod("one", version=world.version), ["vk"])
    assert world.nudged() == []


def test_a_slot_taken_by_somebody_else_meanwhile_is_not_offered() -> None:
    world = crowded("one")
    world.delete("bound-0")
    world.scheduler.place(pod("new", version=99), ["vk"])
    assert world.nudged() == []


def test_a_nudge_without_an_answer_frees_its_slot_for_the_next_pod() -> None:
    world = crowded("one", "two")
    world.delete("bound-0")
    assert world.nudged() == ["one"]
    world.now += ANSWER_SECONDS - 0.1
    assert world.nudged() == []
    world.now += 0.1
    # The first one may be tried again too: its rest is by chance, here none at all.
    assert len(world.nudged()) == 1


def test_rests_grow_and_after_four_nudges_without_an_answer_there_is_no_more() -> None:
    world = Waiting(limited(), jitter=1.0)
    world.bound("bound-0")
    world.reject("one")
    world.delete("bound-0")
    times = []
    while world.now < MEMORY_SECONDS:
        if world.nudged():
            times.append(world.now)
        world.now += 1
    assert times == [0, 10, 25, 50]


@pytest.mark.parametrize("answered", [True, False])
def test_a_nudged_pod_that_is_rejected_gives_its_slot_to_the_next(answered: bool) -> None:
    world = Waiting(limited())
    world.bound("bound-0")
    world.reject("one")
    world.reject("two", "vk", "other")
    world.delete("bound-0")
    assert world.nudged() == ["one"]
    if answered:
        world.reject("one", "other")
        assert world.nudged() == ["two"]
    else:
        world.delete("one")
        assert world.nudged() == ["two"]


def test_reservations_that_expire_free_slots() -> None:
    world = Waiting(limited())
    world.scheduler.place(pod("never-bound", version=3), ["vk"])
    world.reject("one")
    assert world.nudged() == []
    world.now = 60.0
    assert world.nudged() == ["one"]


def test_a_policy_that_changes() -> None:
    world = crowded("a", "b", "c")
    world.cluster.put_policy(limited(3))
    assert world.nudged() == ["a", "b"]


def test_a_policy_that_goes_lets_pods_onto_nodes_of_no_unit() -> None:
    world = crowded("one")
    world.cluster.put_node(node("real"))
    world.reject("one", "vk", "real")
    world.cluster.drop_policy(limited().key)
    assert world.nudged() == ["one"]


def test_an_invalid_policy_that_is_mended() -> None:
    policy = limited()
    world = Waiting(policy)
    world.bound("bound-0")
    world.reject("one")
    world.cluster.put_policy(replace(policy, units=()))
    assert world.nudged() == []
    world.cluster.put_policy(limited(2))
    assert world.nudged() == ["one"]


def test_nodes_that_become_usable() -> None:
    world = Waiting(ack_policy({"resource": "ecs", "nodeSelector": {"pool": "a"}}))
    world.cluster.put_node(node("tainted", [TEAM], pool="a"))
    world.cluster.put_node(node("elsewhere", pool="b"))
    world.reject("taint", "tainted")
    world.reject("label", "elsewhere")
    world.reject("unknown", "new")
    world.cluster.put_node(node("tainted", [TEAM], pool="a"))
    assert world.nudged() == []
    world.cluster.put_node(node("tainted", pool="a"))
    assert world.nudged() == ["taint"]
    world.cluster.put_node(node("elsewhere", pool="a"))
    assert world.nudged() == ["label"]
    world.cluster.put_node(node("new", pool="a"))
    assert world.nudged() == ["unknown"]


def test_pods_that_wait_no_more_are_forgotten() -> None:
    world = crowded("bound", "gone", "terminating", "forgotten", limit=9)
    world.version += 1
    world.cluster.put_pod(pod("bound", node="vk", version=world.version))
    world.delete("gone")
    world.cluster.put_pod(pod("terminating", version=99, terminating=True))
    assert len(world.cluster.waiting) == 1
    world.now += MEMORY_SECONDS + 1
    assert world.nudged() == []
    assert len(world.cluster.waiting) == 0


def test_a_waiting_pod_that_changes_is_judged_as_it_is_now() -> None:
    world = Waiting(limited(0), ack_policy({"resource": "eci"}, name="b", selector={"app": "b"}))
    world.reject("one")
    world.cluster.put_pod(pod("one", version=99, labels={"app": "b"}))
    assert world.nudged() == ["one"]


def test_a_unit_without_a_limit_is_filled_as_the_scheduler_answers() -> None:
    world = Waiting(ack_policy({"resource": "ecs"}))
    world.cluster.put_node(node("tainted", [TEAM]))
    for number in range(MOST_UNANSWERED + 50):
        world.reject(f"pod-{number:03}", "tainted")
    world.cluster.put_node(node("tainted"))
    assert len(world.nudged()) == MOST_AT_ONCE
    assert len(world.nudged()) == MOST_UNANSWERED - MOST_AT_ONCE
    assert world.nudged() == []
    world.version += 1
    world.scheduler.place(pod("pod-000", version=world.version), ["tainted"])
    assert world.nudged() == [f"pod-{MOST_UNANSWERED}"]


def test_a_round_is_bounded_and_the_next_one_goes_on() -> None:
    policy = ack_policy({"resource": "ecs", "nodeSelector": {"pool": "a"}})
    world = Waiting(policy, bounds=Bounds(round_cost=2_000))
    for number in range(30):  # each is a class of its own
        world.cluster.put_node(node(f"node-{number}", [TEAM], pool="a"))
        world.reject(f"pod-{number:02}", f"node-{number}")
    world.cluster.put_node(node("node-29", pool="a"))
    rounds = [world.nudged() for _ in range(10)]
    assert rounds[0] == []
    assert [name for names in rounds for name in names] == ["pod-29"]


def test_bounds_hold() -> None:
    world = Waiting(limited(0), bounds=Bounds(pods=3, names=10))
    for number in range(5):
        world.reject(f"pod-{number}")
    assert len(world.cluster.waiting) == 3
    # Too many names: the nodes of the others are forgotten, and then its own, but no pod is.
    world.reject("wide", *(f"node-{n}" for n in range(10)))
    world.reject("wider", "vk", *(f"node-{n}" for n in range(10)))
    assert len(world.cluster.waiting) == 3
    world.cluster.put_policy(limited(9))
    assert set(world.nudged()) == {"pod-4", "wider"}


def test_a_new_term_brings_back_those_who_were_refused_before() -> None:
    world = Waiting(limited(2))
    refused = {"refusal": "Unschedulable: 0/1 nodes are available: 1 eci is at its max of 1"}
    world.bound("bound-0")
    world.cluster.put_pod(pod("before", version=21, **refused))
    world.cluster.put_pod(pod("error", version=22, refusal="SchedulerError: no answer"))
    world.cluster.put_pod(pod("theirs", version=23, scheduler="default-scheduler", **refused))
    assert world.nudged() == []
    leading(world.scheduler)
    assert world.nudged() == ["before"]
    world.now += 1000
    assert world.nudged() == []
    world.cluster.end_term()
    assert len(world.cluster.waiting) == 0


def test_a_nudge_that_could_not_be_written_counts_for_nothing() -> None:
    world = crowded("one")
    world.delete("bound-0")
    for _ in range(10):
        assert world.nudged() == ["one"]
        world.cluster.waiting.not_nudged("one")
        assert not world.cluster.waiting.holds("one")
        assert world.nudged() == []
        world.now += FAILED_REST_SECONDS
    assert world.nudged() == ["one"]
    assert world.cluster.waiting.holds("one")


def test_a_pod_for_which_the_scheduler_finds_no_node_does_not_hold_up_others() -> None:
    world = Waiting(limited())
    world.bound("bound-0")
    world.reject("big", created="2026-01-01T00:00:00Z")
    world.reject("small", created="2026-01-02T00:00:00Z")
    ours = "Unschedulable: 0/2 nodes are available: 1 eci is at its max of 1, 1 Insufficient cpu"
    big = {"created": "2026-01-01T00:00:00Z"}
    world.cluster.put_pod(pod("big", version=90, refusal=ours, **big))
    assert len(world.cluster.waiting) == 2
    world.delete("bound-0")
    assert world.nudged() == ["big"]
    theirs = "Unschedulable: 0/2 nodes are available: 2 Insufficient cpu"
    world.cluster.put_pod(pod("big", version=91, refusal=theirs, **big))
    assert world.nudged() == ["small"]


def test_a_nudge_without_an_answer_puts_a_pod_behind_the_others() -> None:
    world = crowded("a", "b", "c")
    world.delete("bound-0")
    turns = []
    for _ in range(4):
        turns += world.nudged()
        world.now += ANSWER_SECONDS
    assert turns == ["a", "b", "c", "a"]


def test_the_last_class_has_its_turn_though_something_changes_all_the_time() -> None:
    policy = ack_policy({"resource": "ecs", "nodeSelector": {"pool": "a"}})
    world = Waiting(policy, bounds=Bounds(round_cost=1_000))
    for number in range(30):
        world.cluster.put_node(node(f"node-{number}", [TEAM], pool="a"))
        world.reject(f"pod-{number:02}", f"node-{number}")
    world.cluster.put_node(node("node-29", pool="a"))
    found = []
    for number in range(10):
        found += world.nudged()
        world.cluster.put_node(node(f"other-{number}"))
    assert found == ["pod-29"]


def test_a_late_word_of_the_call_before_is_not_taken_for_a_refusal_without_us() -> None:
    world = Waiting(ack_policy({"resource": "eci", "max": 0}))
    world.reject("one")
    world.cluster.put_policy(ack_policy({"resource": "eci", "max": 1, "podLabels": {"a": "b"}}))
    world.bound("first", annotations=marks(world))
    world.reject("one")  # another reason than before
    late = "Unschedulable: 0/1 nodes are available: 1 eci is at its max of 0"
    world.cluster.put_pod(pod("one", version=90, refusal=late))
    assert len(world.cluster.waiting) == 1


def marks(world: Waiting) -> dict[str, str]:
    """Of a pod that we have bound to the first unit."""
    (policy,) = world.cluster.policies.of_namespace("ns")
    assert isinstance(policy, Policy)
    unit = policy.units[0].identity
    return {"spillover.dev/policy": str(policy.key), "spillover.dev/unit": unit}
