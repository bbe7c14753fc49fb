"""Waits that begin, are written down, end, and are resumed; and nudges for what fields bring."""

import json
from dataclasses import replace
from typing import Any

import pytest
from worlds import World

from builders import ack_policy, leading, node, pod, virtual, vke_policy
from spillover.core.model.pods import POLICY_ANNOTATION, UNIT_ANNOTATION, WAITING_ANNOTATION, Pod
from spillover.core.model.policy import Policy
from spillover.core.model.timestamps import instant_of, seconds_of
from spillover.core.model.workloads import Workload

START = 1_767_268_800.0  # 2026-01-01T12:00:00Z
TIMED = {"policy": "TimeoutOrExceedMax", "timeout": "60s"}
PREPAID = {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}, "max": 5}
POSTPAID = {"resource": "ecs", "nodeSelector": {"pool": "postpaid"}, "max": 5}
ECI = {"resource": "eci"}


class Timed(World):
    """With a virtual node, some time after 1970."""

    def __init__(self, *policies: Policy) -> None:
        super().__init__(policies, [virtual("vk")], wall=START)

    def ask(self, who: Pod, *offered: str) -> str:
        return self.filter(who, *(offered or ("vk",)))

    def written(self) -> dict[str, str]:
        ((_, text),) = self.cluster.attempts.unwritten()
        found: dict[str, str] = json.loads(text)
        return found


def timed() -> Policy:
    return ack_policy(PREPAID, ECI, whenTryNextUnits=TIMED)


def test_a_wait_is_to_be_written_once() -> None:
    policy = timed()
    world = Timed(policy)
    one = world.put("one")
    assert world.ask(one) == "waits for ecs until 2026-01-01T12:01:00Z"
    assert world.written() == {policy.units[0].identity: "2026-01-01T12:00:00Z"}
    ((_, value),) = world.cluster.attempts.unwritten()
    world.cluster.attempts.wrote("one", value)
    world.now = 10.0
    assert world.ask(one) == "waits for ecs until 2026-01-01T12:01:00Z"
    assert world.cluster.attempts.unwritten() == []


def test_a_failed_write_is_tried_again_after_a_rest() -> None:
    world = Timed(timed())
    world.ask(world.put("one"))
    world.cluster.attempts.write_failed("one", 3.0)
    assert world.cluster.attempts.unwritten() == []
    world.now = 3.0
    assert len(world.cluster.attempts.unwritten()) == 1


def test_a_pod_that_is_gone_or_placed_is_not_written_to() -> None:
    world = Timed(timed())
    one, two = world.put("one"), world.put("two")
    world.ask(one)
    world.ask(two)
    world.cluster.drop_pod("one", 99)
    world.cluster.put_node(node("pre", pool="prepaid"))
    assert world.ask(two, "pre") == "ecs"
    assert world.cluster.attempts.unwritten() == []


def test_the_end_of_a_wait_is_a_nudge() -> None:
    world = Timed(timed())
    world.ask(world.put("one"))
    assert world.nudged() == []
    world.now = 59.9
    assert world.nudged() == []
    world.now = 60.0
    assert world.nudged() == ["one"]
    assert world.ask(world.put("one")) == "eci"


def test_pods_whose_waits_end_at_different_times_are_nudged_each_at_its_own() -> None:
    world = Timed(timed())
    world.ask(world.put("one"))
    world.now = 20.0
    world.ask(world.put("two"))
    nudges = []
    for second in range(20, 90):
        world.now = float(second)
        nudges += [(second, name) for name in world.nudged()]
        for _, name in nudges:
            world.cluster.waiting.forget(name)  # placed
    assert nudges == [(60, "one"), (80, "two")]


def test_a_node_that_appears_is_a_nudge_before_the_end() -> None:
    world = Timed(timed())
    world.cluster.put_node(node("pre", pool="off"))
    world.ask(world.put("one"), "vk", "pre")
    world.now = 5.0
    world.cluster.put_node(node("pre", pool="prepaid"))
    assert world.nudged() == ["one"]


def test_after_a_restart_waits_go_on_though_nobody_asks() -> None:
    policy = timed()
    world = Timed(policy)
    mark = json.dumps({policy.units[0].identity: instant_of(START - 50)})
    refused = {"refusal": "Unschedulable: x", "annotations": {WAITING_ANNOTATION: mark}}
    world.put("waits", **refused)
    world.put("other", refusal="Unschedulable: x")
    leading(world.scheduler)
    # The nodes of these pods are not known. One is tried at the end of its wait, when it may go
    # on; the other at once, so that its wait begins.
    assert world.nudged() == ["other"]
    assert "waits for ecs until" in world.ask(world.put("other", refusal="Unschedulable: x"))
    world.now = 9.0
    assert world.nudged() == []
    world.now = 10.0
    assert world.nudged() == ["waits"]
    assert world.ask(world.put("waits", **refused)) == "eci"


def test_a_second_unit_has_a_wait_of_its_own() -> None:
    policy = ack_policy(PREPAID, POSTPAID, ECI, whenTryNextUnits=TIMED)
    world = Timed(policy)
    first, second = (unit.identity for unit in policy.units[:2])
    one = world.put("one", refusal="Unschedulable: x", since=instant_of(START - 30))
    assert "waits for ecs(pool=prepaid) until 2026-01-01T12:01:00Z" in world.ask(one)
    world.now = 60.0
    assert "waits for ecs(pool=postpaid) until 2026-01-01T12:02:00Z" in world.ask(one)
    assert world.written() == {first: instant_of(START), second: "2026-01-01T12:01:00Z"}
    world.now = 120.0
    assert world.ask(one) == "eci"


def test_the_end_of_the_first_of_two_waits_is_a_nudge() -> None:
    world = Timed(ack_policy(PREPAID, POSTPAID, ECI, whenTryNextUnits=TIMED))
    world.ask(world.put("one"))
    world.now = 59.0
    assert world.nudged() == []
    world.now = 60.0
    assert world.nudged() == ["one"]
    one = world.put("one")
    assert "waits for ecs(pool=postpaid) until 2026-01-01T12:02:00Z" in world.ask(one)
    world.now = 119.0
    assert world.nudged() == []
    world.now = 120.0
    assert world.nudged() == ["one"]
    assert world.ask(world.put("one")) == "eci"


def test_the_end_of_a_wait_is_a_nudge_though_others_are_preempted_next() -> None:
    policy = ack_policy(PREPAID, ECI, whenTryNextUnits=TIMED, preemptPolicy="BeforeNextUnit")
    world = Timed(policy)
    world.cluster.put_node(node("pre", pool="prepaid"))
    world.put("low", node="pre", labels={})
    world.ask(world.put("one", priority=10))
    assert world.nudged() == []
    world.now = 60.0
    assert world.nudged() == ["one"]
    one = world.put("one", priority=10)
    assert world.ask(one) == "may preempt pods of lower priority in ecs"


@pytest.mark.parametrize("when", ["BeforeNextUnit", "AfterAllUnits"])
def test_room_that_only_preemption_can_use_is_a_nudge(when: str) -> None:
    def limited(limit: int) -> Policy:
        unit = {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}, "max": limit}
        return ack_policy(unit, {**ECI, "max": 0}, preemptPolicy=when)

    world = Timed(limited(0))
    world.cluster.put_node(node("pre", pool="prepaid"))
    world.put("low", node="pre", labels={})
    for name in ("one", "two"):
        world.ask(world.put(name, priority=10))
    world.ask(world.put("meek", priority=10, may_preempt=False))
    assert world.nudged() == []
    world.cluster.put_policy(limited(1))
    assert world.nudged() == ["one"]
    world.ask(world.put("one", priority=10))
    world.now += 100
    assert "one" not in world.nudged(), "it has been told"


def test_a_wait_that_begins_while_another_is_being_written_is_written_too() -> None:
    world = Timed(ack_policy(PREPAID, POSTPAID, ECI, whenTryNextUnits=TIMED))
    world.ask(world.put("one"))
    ((_, first),) = world.cluster.attempts.unwritten()
    world.now = 60.0
    world.ask(world.put("one"))
    world.cluster.attempts.wrote("one", first)
    ((_, both),) = world.cluster.attempts.unwritten()
    assert len(json.loads(both)) == 2
    world.cluster.attempts.wrote("one", both)
    assert world.cluster.attempts.unwritten() == []


def test_a_clock_that_steps_back_does_not_change_the_message() -> None:
    world = Timed(timed())
    one = world.put("one")
    message = world.ask(one)
    for back in (-10.0, -9.0, -5000.0):
        world.now = back
        assert world.ask(one) == message


def test_a_time_out_of_this_world_is_no_time() -> None:
    policy = timed()
    mark = json.dumps({policy.units[0].identity: "9999-12-31T23:59:59-23:59"})
    world = Timed(policy)
    one = world.put("one", annotations={WAITING_ANNOTATION: mark})
    assert world.ask(one) == "waits for ecs until 2026-01-01T12:01:00Z"
    assert world.written() == {policy.units[0].identity: "2026-01-01T12:00:00Z"}


def test_what_the_pod_says_already_is_kept_beside_a_new_wait() -> None:
    policy = ack_policy(PREPAID, POSTPAID, ECI, whenTryNextUnits=TIMED)
    world = Timed(policy)
    first, second = (unit.identity for unit in policy.units[:2])
    begun = instant_of(START - 60)
    mark = json.dumps({first: begun})
    world.ask(world.put("one", annotations={WAITING_ANNOTATION: mark}))
    assert world.written() == {first: begun, second: "2026-01-01T12:00:00Z"}


# --- when a wait begins ---------------------------------------------------------------------------


NO_CLAIM = 'Unschedulable: 0/2 nodes are available: persistentvolumeclaim "model" not found.'
NO_DEVICE = (
    "Unschedulable: 0/2 nodes are available: waiting for a claim. no new claims to deallocate,"
    " preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
)
NO_NODE = "Unschedulable: 0/2 nodes are available: 2 Insufficient cpu."


def test_time_at_a_maximum_is_no_wait() -> None:
    policy = ack_policy({**PREPAID, "max": 1}, {**ECI, "max": 1}, whenTryNextUnits=TIMED)
    world = Timed(policy)
    for number, unit in enumerate(policy.units):
        marks = {POLICY_ANNOTATION: str(policy.key), UNIT_ANNOTATION: unit.identity}
        world.put(f"there-{number}", node="vk", annotations=marks)
    three = world.put("three", since=instant_of(START))
    world.ask(three)
    world.now = 30.0
    refused = world.put(
        "three", since=instant_of(START), refusal="Unschedulable: eci is at its max"
    )
    world.delete("there-0")
    world.delete("there-1")
    assert world.ask(refused) == "waits for ecs until 2026-01-01T12:01:30Z"


def test_a_slot_that_becomes_free_without_a_node_begins_a_wait() -> None:
    policy = ack_policy({**PREPAID, "max": 1}, {**ECI, "max": 1}, whenTryNextUnits=TIMED)
    world = Timed(policy)
    for number, unit in enumerate(policy.units):
        marks = {POLICY_ANNOTATION: str(policy.key), UNIT_ANNOTATION: unit.identity}
        world.put(f"there-{number}", node="vk", annotations=marks)
    for name in ("three", "four"):
        world.ask(world.put(name))
    assert world.nudged() == []
    world.now = 30.0
    world.delete("there-0")
    for name in ("four", "three"):
        assert world.nudged() == [name], "there is room for one at a time"
        assert world.ask(world.put(name)) == "waits for ecs until 2026-01-01T12:01:30Z"
    assert world.nudged() == []


def test_a_new_leader_believes_the_annotation_only() -> None:
    policy = timed()
    world = Timed(policy)
    one = world.put("one")
    world.ask(one)
    world.cluster.end_term()
    world.now = 40.0
    mark = json.dumps({policy.units[0].identity: instant_of(START + 40)})
    one = world.put("one", annotations={WAITING_ANNOTATION: mark})
    leading(world.scheduler)
    assert world.ask(one) == "waits for ecs until 2026-01-01T12:01:40Z"


def test_a_wait_begins_anew_after_the_unit_was_at_its_limit() -> None:
    policy = ack_policy({**PREPAID, "max": 1}, {**ECI, "max": 0}, whenTryNextUnits=TIMED)
    world = Timed(policy)
    first, second = world.put("first"), world.put("second")
    assert world.ask(second) == "waits for ecs until 2026-01-01T12:01:00Z"
    world.cluster.put_node(node("pre", pool="prepaid"))
    assert world.ask(first, "pre") == "ecs"
    assert world.nudged() == ["second"], "it waits for no node of this unit any more"
    assert world.ask(second) == "eci is at its max of 0"
    mark = json.dumps({policy.units[0].identity: instant_of(START)})
    # The annotation may still be there: it was written before.
    second = world.put("second", annotations={WAITING_ANNOTATION: mark})
    world.now = 40.0
    world.delete("first")
    assert world.ask(second) == "waits for ecs until 2026-01-01T12:01:40Z"
    assert world.written() == {policy.units[0].identity: "2026-01-01T12:00:40Z"}


def test_a_wait_that_is_over_is_taken_out_of_the_annotation() -> None:
    policy = ack_policy({**PREPAID, "max": 1}, {**ECI, "max": 0}, whenTryNextUnits=TIMED)
    world = Timed(policy)
    mark = json.dumps({policy.units[0].identity: instant_of(START)})
    second = world.put("second", annotations={WAITING_ANNOTATION: mark})
    world.cluster.put_node(node("pre", pool="prepaid"))
    world.ask(world.put("first"), "pre")
    world.ask(second)
    assert world.written() == {}
    world.cluster.attempts.wrote("second", "{}")
    world.ask(world.put("second", annotations={WAITING_ANNOTATION: "{}"}))
    assert world.cluster.attempts.unwritten() == []


def test_no_wait_begins_for_a_pod_that_cannot_be_scheduled_at_all() -> None:
    policy = timed()
    world = Timed(policy)
    late = world.put("late", refusal=NO_CLAIM, since=instant_of(START))
    world.put("device", refusal=NO_DEVICE)
    world.put("gated", has_other_gates=True, refusal="SchedulingGated: gated")
    assert world.cluster.attempts.unwritten() == []
    world.now = 28.0
    assert world.ask(late) == "waits for ecs until 2026-01-01T12:01:28Z"


def test_a_wait_begins_though_no_node_at_all_is_feasible() -> None:
    policy = timed()
    world = Timed(policy)
    world.put("one", refusal=NO_NODE)
    assert world.written() == {policy.units[0].identity: instant_of(START)}
    world.now = 60.0
    assert world.ask(world.put("one", refusal=NO_NODE)) == "eci"


def test_a_wait_behind_our_own_gate_begins_when_the_pod_is_created() -> None:
    policy = timed()
    world = Timed(policy)
    world.put("one", has_crowd_gate=True)
    assert world.written() == {policy.units[0].identity: instant_of(START)}


# --- slots that fields bring ----------------------------------------------------------------------


def bound(world: Timed, policy: Policy, name: str, **fields: Any) -> Pod:
    marks = {POLICY_ANNOTATION: str(policy.key), UNIT_ANNOTATION: policy.units[0].identity}
    return world.put(name, node="vk", annotations=marks, **fields)


def test_a_pod_that_starts_to_terminate_frees_its_slot() -> None:
    policy = ack_policy({**ECI, "max": 1})
    world = Timed(policy)
    first = bound(world, policy, "first")
    world.ask(world.put("one"))
    assert world.nudged() == []
    world.cluster.put_pod(replace(first, version=99, terminating=True))
    assert world.nudged() == ["one"]


def test_where_terminating_pods_count_the_slot_is_free_once_it_is_gone() -> None:
    policy = ack_policy({**ECI, "max": 1}, ignoreTerminatingPod=False)
    world = Timed(policy)
    first = bound(world, policy, "first")
    world.ask(world.put("one"))
    world.cluster.put_pod(replace(first, version=99, terminating=True))
    assert world.nudged() == []
    world.cluster.drop_pod("first", 100)
    assert world.nudged() == ["one"]


def test_the_last_terminating_pod_of_a_unit_lets_others_go_on() -> None:
    when = {"policy": "LackResourceAndNoTerminating"}
    policy = ack_policy({**PREPAID, "max": None}, ECI, whenTryNextUnits=when)
    world = Timed(policy)
    world.cluster.put_node(node("pre", pool="prepaid"))
    first = bound(world, policy, "first")
    world.cluster.put_pod(replace(first, version=98, terminating=True))
    assert world.ask(world.put("one")) == "waits for terminating pods of ecs"
    assert world.nudged() == []
    world.cluster.drop_pod("first", 99)
    assert world.nudged() == ["one"]


def test_freed_resources_nudge_as_many_as_fit() -> None:
    policy = ack_policy({**ECI, "maxResources": {"cpu": 4}})
    world = Timed(policy)
    bound(world, policy, "first", requests=(("cpu", 4000),))
    for name in ("one", "two", "three"):
        world.ask(world.put(name, requests=(("cpu", 2000),)))
    world.cluster.drop_pod("first", 99)
    assert world.nudged() == ["one", "three"]  # by name: all else is equal


def test_groups_have_slots_of_their_own() -> None:
    policy = ack_policy({**ECI, "max": 1}, matchLabelKeys=["hash"])
    world = Timed(policy)
    a, b = ({"app": "app", "hash": value} for value in "ab")
    bound(world, policy, "first", labels=a)
    bound(world, policy, "second", labels=b)
    world.ask(world.put("one", labels=a))
    world.ask(world.put("two", labels=b))
    world.cluster.drop_pod("second", 99)
    assert world.nudged() == ["two"]


# --- the owners' replicas -------------------------------------------------------------------------


def ratio(text: str = "0.5") -> Policy:
    return vke_policy({"name": "base", "type": "vci", "maxReplicasRatio": text}, strategy="require")


def owner(replicas: int, uid: str = "owner", above: str = "") -> Workload:
    return Workload("deployments", uid, "ns", replicas, above)


def test_more_replicas_raise_the_maximum_and_nudge() -> None:
    world = Timed(ratio())
    world.cluster.put_workload(owner(2))
    world.put("first", node="vk", owner="owner")
    assert world.ask(world.put("one", owner="owner")) == "base is at its max of 0.5 of the replicas"
    assert world.nudged() == []
    world.cluster.put_workload(owner(4))
    assert world.nudged() == ["one"]


def test_fewer_replicas_end_reservations_so_that_bind_decides_anew() -> None:
    world = Timed(ratio())
    world.cluster.put_workload(owner(4))
    for name in ("one", "two"):
        assert world.ask(world.put(name, owner="owner")) == "base"
    world.cluster.put_workload(owner(2))
    assert not isinstance(world.scheduler.plan_binding("one", "vk"), str)
    assert world.scheduler.plan_binding("two", "vk") == "base is at its max of 0.5 of the replicas"


def test_a_deployment_stands_for_its_replica_sets_and_others_count_once_each() -> None:
    world = Timed(ratio("1"))
    key = ratio().key
    world.cluster.put_workload(owner(10, "deployment"))
    world.cluster.put_workload(owner(4, "old", above="deployment"))
    world.cluster.put_workload(owner(6, "new", above="deployment"))
    world.cluster.put_workload(owner(3, "alone"))
    for name, above in {"a": "old", "b": "new", "c": "alone", "d": "", "e": ""}.items():
        world.put(name, owner=above)
    assert world.cluster.workloads.desired(key) == 10 + 3 + 2
    world.cluster.drop_workload("alone")
    assert world.cluster.workloads.desired(key) == 10 + 2
    world.cluster.drop_pod("d", 99)
    assert world.cluster.workloads.desired(key) == 10 + 1
    world.put("e", terminating=True)
    assert world.cluster.workloads.desired(key) == 10
    world.cluster.keep_workloads("deployments", {"old", "new"})
    assert world.cluster.workloads.desired(key) == 4 + 6
    world.cluster.drop_pod("b", 100)
    assert world.cluster.workloads.desired(key) == 4


def test_a_pod_is_not_placed_before_the_replicas_of_its_owner_are_known() -> None:
    """Watches are not in step: counted as a pod by itself it would spill for good."""
    base = {"name": "base", "type": "vci", "maxReplicasRatio": "0.5"}
    world = Timed(vke_policy(base, {"name": "burst", "type": "vci"}))
    one = pod("one", version=50, owner="replica-set")
    unknown = "the replicas that the pod's owner wants are not known to Spillover yet"
    assert world.ask(one) == unknown
    world.cluster.put_workload(owner(10, "replica-set", above="deployment"))
    assert world.ask(one) == unknown
    assert world.nudged() == []
    world.cluster.put_workload(owner(10, "deployment"))
    assert world.nudged() == ["one"]
    assert world.ask(one) == "base"


def test_the_pod_that_is_asked_for_counts_though_the_watch_is_late() -> None:
    world = Timed(ratio("1"))
    assert world.ask(pod("one", version=50)) == "base"


def test_instants_and_seconds_are_inverse() -> None:
    assert instant_of(START) == "2026-01-01T12:00:00Z"
    assert seconds_of("2026-01-01T12:00:00Z") == START
    assert seconds_of("2026-01-01T12:00:00") is None
    assert seconds_of("today") is None
