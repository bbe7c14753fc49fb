"""Pods that are created in a crowd: who gets a gate, and when it goes."""

from dataclasses import replace
from typing import Any

import pytest
from worlds import World

from builders import ack_policy, leading, node, pod, raw, virtual
from spillover.api import ack
from spillover.api.kubernetes import Toleration
from spillover.core.admission.mutate import (
    AdmissionDefaults,
    AdmittedPod,
    NamespaceMarks,
    PodChanges,
    admit,
    json_patch,
)
from spillover.core.cache.crowds import MOST_TRIED, Crowds, Wait, told_by
from spillover.core.cache.unschedulable import DEFAULT_BOUNDS, MEMORY_SECONDS, Bounds
from spillover.core.decision.outcomes import Rejected
from spillover.core.dialects import load
from spillover.core.model.policy import LoadedPolicy, PolicyKey
from spillover.core.reporting.status import report
from webhook.crowded import MEMORY_SECONDS as REMEMBERED
from webhook.crowded import CrowdedNamespaces

GATE = "spillover.dev/crowd"
TEAM = Toleration(key="team", operator="Exists")


class Crowded(World):
    """With a virtual node."""

    def __init__(self, *policies: LoadedPolicy, bounds: Bounds = DEFAULT_BOUNDS) -> None:
        super().__init__(policies, [virtual("vk")], bounds=bounds)

    def gated(self, *names: str, **fields: Any) -> None:
        for name in names:
            self.put(name, has_crowd_gate=True, created=name, **fields)

    def rejected(self, *names: str) -> list[Rejected]:
        answers = [self.scheduler.place(self.put(name), ("vk",)) for name in names]
        assert all(isinstance(each, Rejected) for each in answers)
        return [each for each in answers if isinstance(each, Rejected)]

    def crowd(self) -> None:
        self.rejected(*(f"waits-{n}" for n in range(MOST_TRIED + 1)))
        assert self.cluster.waiting.crowds.is_crowded("ns")

    def nudged(self) -> list[str]:
        """In two looks: a change that comes during one is seen by the next."""
        return super().nudged() + super().nudged()


def at_max(limit: int = 1) -> Crowded:
    world = Crowded(ack_policy({"resource": "eci", "max": limit}))
    for number in range(limit):
        world.put(f"bound-{number}", node="vk")
    return world


def test_gates_go_as_slots_are_free_the_oldest_first() -> None:
    world = at_max(2)
    world.gated("c", "a", "b")
    assert world.nudged() == []
    world.version += 1
    world.cluster.drop_pod("bound-0", world.version)
    assert world.nudged() == ["a"]
    world.now += 1
    assert world.nudged() == []
    world.put("a")  # without its gate
    world.put("a", node="vk")
    world.cluster.drop_pod("bound-1", world.version + 1)
    assert world.nudged() == ["b"]


def test_a_gate_that_could_not_be_taken_is_tried_again() -> None:
    world = at_max()
    world.gated("a")
    world.cluster.drop_pod("bound-0", world.version + 1)
    assert world.nudged() == ["a"]
    world.cluster.waiting.not_nudged("a")
    assert world.cluster.waiting.crowds.wait_of("a") is Wait.GATED
    world.now += 10
    assert world.nudged() == ["a"]


def test_and_again_however_often_it_fails() -> None:
    world = at_max()
    world.gated("a")
    world.cluster.drop_pod("bound-0", world.version + 1)
    for _ in range(20):
        assert world.nudged() == ["a"]
        world.now += 1000
    for _ in range(20):
        assert world.nudged() == ["a"]
        world.cluster.waiting.not_nudged("a")
        assert world.nudged() == []
        world.now += 1000


def test_a_gated_pod_is_not_forgotten_however_long_it_waits() -> None:
    world = at_max()
    world.gated("a")
    for _ in range(5):
        world.now += MEMORY_SECONDS
        assert world.nudged() == []
    world.cluster.drop_pod("bound-0", world.version + 1)
    assert world.nudged() == ["a"]


def test_nor_for_others() -> None:
    world = Crowded(ack_policy({"resource": "eci", "max": 1}), bounds=Bounds(pods=3))
    world.put("bound-0", node="vk")
    world.gated("a")
    world.rejected("one", "two", "three", "four")
    assert len(world.cluster.waiting) == 4
    for name in ("two", "three", "four", "bound-0"):
        world.cluster.drop_pod(name, world.version + 1)
    assert world.nudged() == ["a"]


def test_a_new_leader_knows_the_gated_pods() -> None:
    world = at_max()
    world.cluster.end_term()
    world.gated("a")
    assert world.nudged() == []
    leading(world.scheduler)
    assert world.nudged() == []
    world.cluster.drop_pod("bound-0", world.version + 1)
    assert world.nudged() == ["a"]


@pytest.mark.parametrize("change", ["policy deleted", "label changed", "another scheduler"])
def test_a_pod_that_no_crowd_holds_loses_its_gate(change: str) -> None:
    world = at_max()
    world.gated("a")
    assert world.nudged() == []
    if change == "policy deleted":
        world.cluster.drop_policy(ack_policy({"resource": "eci"}).key)
    elif change == "label changed":
        world.gated("a", labels={"app": "other"})
        world.cluster.waiting.slots_freed(["ns"])
    else:
        world.gated("a", scheduler="other")
        world.cluster.waiting.slots_freed(["ns"])
    assert world.nudged() == ["a"]


def test_under_an_invalid_policy_it_waits_until_the_policy_is_mended() -> None:
    world = Crowded(load(raw("policy", {"units": []}), ack.GROUP))
    world.gated("a")
    assert world.nudged() == []
    world.cluster.put_policy(ack_policy({"resource": "eci"}))
    assert world.nudged() == ["a"]


def test_autoscalers_see_some_of_those_that_a_node_would_help() -> None:
    world = Crowded(ack_policy({"resource": "ecs"}))
    names = [f"pod-{n:02}" for n in range(MOST_TRIED + 5)]
    world.gated(*names)
    assert world.nudged() == names[:MOST_TRIED]
    for name in names[:MOST_TRIED]:
        world.put(name)
    assert world.nudged() == []
    world.put(names[0], node="vk")  # somebody has bound it
    assert world.nudged() == [names[MOST_TRIED]]
    for name in names[1:MOST_TRIED]:
        world.put(name, node="vk")
    assert world.nudged() == names[MOST_TRIED + 1 :]


def test_as_many_where_the_scheduler_finds_none_of_the_units_nodes_feasible() -> None:
    """We know nodes of the unit, and the scheduler offers others."""
    world = Crowded(ack_policy({"resource": "ecs", "nodeSelector": {"pool": "a"}}))
    world.cluster.put_node(node("full", pool="a"))
    names = [f"pod-{n:03}" for n in range(15 * MOST_TRIED)]
    world.gated(*names)
    assert world.nudged() == names[:MOST_TRIED]
    world.rejected(*names[:MOST_TRIED])
    out = []
    for _ in range(300):
        world.now += 1
        found = world.nudged()
        assert len(found) <= 1
        # It may have a place, whatever those before it wait for.
        out += found
        world.rejected(*found)
    assert out == names[MOST_TRIED : MOST_TRIED + len(out)]
    assert 80 < len(out) < 100  # ever more rarely


def test_edits_that_hold_pods_and_set_them_free_let_no_more_out() -> None:
    """A pod that was let out takes room also while only a maximum is against it."""
    selector = {"pool": "a"}
    world = Crowded(ack_policy({"resource": "ecs", "nodeSelector": selector}))
    world.cluster.put_node(node("full", pool="a"))
    names = [f"pod-{n:03}" for n in range(10 * MOST_TRIED)]
    world.gated(*names)
    out: list[str] = []
    for _ in range(10):
        for limit in ({}, {"max": 0}):
            world.cluster.put_policy(
                ack_policy({"resource": "ecs", "nodeSelector": selector, **limit})
            )
            world.now += 0.05
            out += world.nudged()
            world.rejected(*out)
    assert len(out) <= MOST_TRIED + 2


def test_a_change_of_a_pod_does_not_put_off_the_next_gate() -> None:
    world = Crowded(ack_policy({"resource": "ecs", "nodeSelector": {"pool": "a"}}))
    world.cluster.put_node(node("full", pool="a"))
    names = [f"pod-{n:02}" for n in range(2 * MOST_TRIED)]
    world.gated(*names)
    assert world.nudged() == names[:MOST_TRIED]
    world.rejected(*names[:MOST_TRIED])
    assert world.nudged() == []
    world.now += 60
    world.put(names[0], labels={"app": "app", "other": "x"}, tolerations=(TEAM,))
    assert world.nudged() == [names[MOST_TRIED]]


def test_a_let_out_pod_that_nobody_asks_for_takes_room() -> None:
    """Only plugins of the scheduler refuse it: filter is not called."""
    world = Crowded(ack_policy({"resource": "ecs", "nodeSelector": {"pool": "a"}}))
    world.cluster.put_node(node("full", pool="a"))
    names = [f"pod-{n:02}" for n in range(4 * MOST_TRIED)]
    world.gated(*names)
    out = world.nudged()
    for name in out:
        world.put(name)  # without its gate
    for _ in range(10):
        world.now += MEMORY_SECONDS / 10 + 1
        found = world.nudged()
        out += found
        for name in found:
            world.put(name)
    assert len(out) <= MOST_TRIED + 11  # one gate in each pause
    assert world.cluster.waiting.crowds.beyond("ns") == len(out) - MOST_TRIED


def test_a_crowd_that_never_had_gates_puts_no_long_pause_before_others() -> None:
    """Many were created before the webhook heard of the crowd. Filter rejects them all."""
    world = Crowded(ack_policy({"resource": "ecs", "nodeSelector": {"pool": "a"}}))
    world.cluster.put_node(node("full", pool="a"))
    world.rejected(*(f"first-{n:02}" for n in range(5 * MOST_TRIED)))
    names = [f"pod-{n:03}" for n in range(5 * MOST_TRIED)]
    world.gated(*names)
    out: list[str] = []
    for _ in range(40):
        for name in world.nudged():
            out.append(name)
            world.put(name)  # without its gate
            if len(out) % 2:
                world.put(name, refusal="Unschedulable: 0/1 nodes are available")
            else:
                world.put(name, node="full")
        world.now += 0.3
    assert len(out) >= 3 * MOST_TRIED


def test_pods_that_the_schedulers_own_plugins_refuse_keep_few_others_out() -> None:
    """Filter is not called for them, and each may be on another node: they take little room."""
    world = Crowded(ack_policy({"resource": "ecs", "nodeSelector": {"pool": "a"}}))
    world.cluster.put_node(node("full", pool="a"))
    names = [f"pod-{n:03}" for n in range(15 * MOST_TRIED)]
    world.gated(*names)
    out: list[str] = []
    for _ in range(30):
        found = world.nudged()
        out += found
        for name in found:
            world.put(name)  # without its gate
            world.put(name, refusal="Unschedulable: 0/1 nodes are available")
        world.now += 0.3
    assert 10 * MOST_TRIED <= len(out) < 12 * MOST_TRIED
    assert world.cluster.waiting.crowds.beyond("ns") > 0


def test_a_pod_that_has_a_place_is_followed_at_once() -> None:
    world = Crowded(ack_policy({"resource": "ecs", "nodeSelector": {"pool": "a"}}))
    world.cluster.put_node(node("full", pool="a"))
    names = [f"pod-{n:02}" for n in range(3 * MOST_TRIED)]
    world.gated(*names)
    assert world.nudged() == names[:MOST_TRIED]
    world.rejected(*names[:MOST_TRIED])
    world.now += 1
    for name in names[MOST_TRIED:]:
        assert world.nudged() == [name]
        world.put(name, node="full")
        world.now += 1


def test_each_policy_has_one_that_is_tried() -> None:
    world = Crowded(
        ack_policy({"resource": "ecs"}),
        ack_policy({"resource": "ecs"}, name="second", selector={"app": "second"}),
    )
    world.gated(*(f"pod-{n:02}" for n in range(MOST_TRIED)))
    assert len(world.nudged()) == MOST_TRIED
    world.gated("second-a", "second-b", labels={"app": "second"})
    assert world.nudged() == ["second-a"]


def test_a_pod_with_another_gate_is_left_alone_until_that_is_gone() -> None:
    world = Crowded(ack_policy({"resource": "eci"}))
    world.gated("a", has_other_gates=True)
    assert world.nudged() == []
    world.gated("a")
    assert world.nudged() == ["a"]


def test_a_timed_wait_begins_at_the_creation() -> None:
    world = Crowded(
        ack_policy(
            {"resource": "ecs", "max": 5},
            {"resource": "eci", "max": 0},
            whenTryNextUnits={"policy": "TimeoutOrExceedMax", "timeout": "60s"},
        )
    )
    gated = pod("a", version=20, has_crowd_gate=True, created="1970-01-01T00:00:00Z")
    world.cluster.put_pod(gated)
    ((_, since),) = world.cluster.demand_of(gated).waits
    assert since == 0.0


def test_a_few_waiting_pods_are_no_crowd() -> None:
    world = at_max()
    world.rejected(*(f"waits-{n}" for n in range(MOST_TRIED)))
    assert not world.cluster.waiting.crowds.is_crowded("ns")


def test_a_crowd_is_told_until_half_of_it_is_gone() -> None:
    world = at_max()
    world.crowd()
    world.scheduler.due_nudges()
    (policy,) = world.cluster.policies.all()
    assert report(world.scheduler.cluster, policy).is_crowded
    assert world.cluster.dirty.is_edited(policy.key)
    for number in range(MOST_TRIED // 2 + 1):
        assert world.cluster.waiting.crowds.is_crowded("ns")
        world.cluster.drop_pod(f"waits-{number}", world.version + 1)
    assert not report(world.scheduler.cluster, policy).is_crowded


def test_in_a_crowd_the_reason_does_not_change_with_the_units() -> None:
    world = at_max()
    world.crowd()
    (before,) = world.rejected("one")
    world.cluster.put_policy(
        ack_policy({"resource": "eci", "max": 0}, {"resource": "acs", "max": 0})
    )
    (after,) = world.rejected("one")
    assert before.causes == after.causes
    (reason,) = after.causes
    assert reason.startswith("ResourcePolicy policy places no pod like this now, and many pods")
    # Events and the log still tell of the units.
    assert len(after.passed) == 2


def test_a_label_that_lacks_is_told_all_the_same() -> None:
    world = Crowded(ack_policy({"resource": "eci"}, matchLabelKeys=["version"]))
    world.crowd()
    (answer,) = world.rejected("one")
    (reason,) = answer.causes
    assert reason.startswith("the pod lacks the label version")


def test_what_others_refused_before_our_term_is_no_crowd() -> None:
    world = at_max()
    world.cluster.end_term()
    for number in range(3 * MOST_TRIED):
        world.put(f"{number}", refusal="Unschedulable: Insufficient cpu")
    leading(world.scheduler)
    assert not world.cluster.waiting.crowds.is_crowded("ns")


def test_the_counts_follow_the_pods() -> None:
    crowds = Crowds(most=2)
    for number in range(3):
        crowds.count(f"{number}", "a", None, Wait.HELD)
    crowds.count("0", "a", None, Wait.GATED)
    crowds.count("other", "b", None, Wait.SEEKING)
    assert (crowds.is_crowded("a"), crowds.is_crowded("b"), crowds.gated()) == (True, False, 1)
    assert crowds.take_changed() == {"a"}
    for number in range(3):
        crowds.forget(f"{number}")
        crowds.forget(f"{number}")
    assert not crowds.is_crowded("a")
    assert (crowds.take_changed(), crowds.take_changed()) == ({"a"}, set())


# --- admission ----------------------------------------------------------------------------------

DEFAULTS = AdmissionDefaults()
POLICY = ack_policy({"resource": "eci"})
WANTED = AdmittedPod(
    labels={"app": "app"}, annotations={}, scheduler="default-scheduler", requests=(),
    node_selector={},
)  # fmt: skip


def admitted(
    wanted: AdmittedPod, policy: LoadedPolicy | None = POLICY, *, is_crowded: bool = True
) -> PodChanges:
    return admit(wanted, policy, NamespaceMarks(), DEFAULTS, is_crowded=is_crowded)


@pytest.mark.parametrize("scheduler", ["", "spillover-scheduler", "ack-co-scheduler"])
def test_a_pod_of_a_crowded_namespace_gets_a_gate(scheduler: str) -> None:
    changes = admitted(replace(WANTED, scheduler=scheduler))
    assert changes.gate
    gate = {"name": GATE}
    assert json_patch(changes, has_labels=True)[-1] == {
        "op": "add", "path": "/spec/schedulingGates", "value": [gate],
    }  # fmt: skip
    assert json_patch(changes, has_labels=True, has_gates=True)[-1] == {
        "op": "add", "path": "/spec/schedulingGates/-", "value": gate,
    }  # fmt: skip


@pytest.mark.parametrize(
    "wanted",
    [
        replace(WANTED, gates=("other", GATE)),
        replace(WANTED, scheduler="volcano"),
        replace(WANTED, node="node", scheduler="spillover-scheduler"),
    ],
    ids=["it has it", "another scheduler's", "it has a node"],
)
def test_or_not(wanted: AdmittedPod) -> None:
    assert not admitted(wanted).gate


def test_pods_under_no_policy_and_of_other_namespaces_get_none() -> None:
    assert not admitted(replace(WANTED, scheduler="spillover-scheduler"), None).gate
    assert not admitted(WANTED, is_crowded=False).gate


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"conditions": [{"type": "Crowded", "status": "True"}]}, True),
        ({"conditions": [{"type": "Crowded", "status": "False"}]}, False),
        ({"conditions": [7, None, {"type": "Ready", "status": "True"}]}, False),
        ({"conditions": "Crowded"}, False),
        ("Crowded", False),
        (None, False),
    ],
)
def test_what_a_status_says(status: object, says: bool) -> None:
    assert told_by(status) is says


def test_a_namespace_is_crowded_while_one_of_its_policies_says_so() -> None:
    one, two = (PolicyKey(ack.GROUP, "ns", name) for name in ("one", "two"))
    now = [0.0]
    crowded = CrowdedNamespaces(lambda: now[0])
    crowded.put(one, says_so=True)
    crowded.put(two, says_so=True)
    crowded.put(one, says_so=False)
    assert ("ns" in crowded, "other" in crowded) == (True, False)
    crowded.drop(two)
    crowded.drop(two)
    # A policy that is deleted and made anew says nothing at first.
    assert "ns" in crowded
    now[0] += REMEMBERED
    assert "ns" not in crowded
    crowded.put(one, says_so=True)
    crowded.put(one, says_so=False)
    assert "ns" not in crowded


def test_a_pod_that_comes_back_unbound_takes_room_until_it_is_bound() -> None:
    crowds, key = Crowds(most=2), PolicyKey("g", "ns", "p")
    for uid in ("a", "b"):
        crowds.count(uid, "ns", key, Wait.GATED)
        crowds.count(uid, "ns", key, Wait.SEEKING)
        crowds.placed(uid)
    assert crowds.has_room("ns", key)
    for uid in ("a", "b"):
        crowds.tried(uid, "ns", key)
        crowds.placed(uid)
    assert not crowds.has_room("ns", key)
    crowds.count("a", "ns", key, Wait.HELD)
    assert not crowds.has_room("ns", key), "it had lost its gate"
    for uid in ("a", "b"):
        crowds.forget(uid)
    assert crowds.has_room("ns", key)


def test_many_policies_do_not_let_many_pods_out() -> None:
    crowds = Crowds(most=2)
    keys = [PolicyKey("g", "ns", f"p{number}") for number in range(9)]
    out = 0
    for number, key in enumerate(keys):
        if crowds.has_room("ns", key):
            crowds.count(f"pod-{number}", "ns", key, Wait.SEEKING)
            out += 1
    assert out == 4
