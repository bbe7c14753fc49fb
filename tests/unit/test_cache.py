"""Slots from filter to bind to gone, and where bound pods count."""

from dataclasses import replace
from typing import Any

import pytest
from worlds import World

from builders import ack_policy, leading, node, pod, raw, virtual, vke_policy
from spillover.api import ack
from spillover.api.kubernetes import Taint, Toleration
from spillover.core.cache import ledger
from spillover.core.cache.binding_plan import BindingPlan
from spillover.core.cache.cluster import ClusterCache
from spillover.core.cache.ledger import RESERVATION_SECONDS, SLOW_RESERVATION_SECONDS
from spillover.core.cache.term import NOT_LEADING, OUTRANKED
from spillover.core.decision.outcomes import Placement, Rejected, because
from spillover.core.dialects import load
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.pods import EPOCH_ANNOTATION, Pod
from spillover.core.model.policy import Policy, UnitKey
from spillover.core.scheduler import Scheduler

COST = "controller.kubernetes.io/pod-deletion-cost"
COST_MARK = "spillover.dev/deletion-cost"


class Ledgered(World):
    """With one virtual and one real node, and a clock that stands still."""

    def __init__(self, *policies: Policy) -> None:
        super().__init__(policies, (virtual("vk"), node("real", pool="a")), jitter=0.5)

    def taken(self, policy: Policy, index: int = 0) -> int:
        key = UnitKey(policy.key, policy.units[index].identity)
        return self.cluster.ledger.usage(key, besides="").pods

    def place(self, who: Pod, *offered: str) -> str:
        """The unit's title, or the first reason."""
        decision = self.scheduler.place(who, offered or ("vk", "real"))
        match decision:
            case Placement():
                return decision.unit.title if decision.unit else "outside"
            case Rejected():
                return next(iter(decision.reasons.values()))

    def plan(self, uid: str, on: str) -> BindingPlan:
        plan = self.scheduler.plan_binding(uid, on)
        assert isinstance(plan, BindingPlan), plan
        return plan

    def bind(self, who: Pod, on: str) -> Pod:
        """All the way: filter, bind, and the watch's confirmation."""
        self.cluster.put_pod(who)
        self.place(who, on)
        plan = self.plan(who.uid, on)
        self.cluster.ledger.bound(who.uid, plan.flight)
        bound = replace(
            who,
            version=who.version + 1,
            node=on,
            annotations={**who.annotations, **plan.annotations},
        )
        self.cluster.put_pod(bound)
        return bound


def limited(limit: int = 1, **unit: Any) -> Policy:
    return ack_policy({"resource": "eci", "max": limit, **unit}, {"resource": "ecs"})


def test_a_reservation_takes_a_slot_until_it_expires() -> None:
    policy = limited()
    world = Ledgered(policy)
    assert world.place(pod("one")) == "eci"
    assert world.taken(policy) == 1
    assert world.place(pod("two"), "vk") == "eci is at its max of 1"
    assert world.place(pod("two")) == "ecs"
    world.now = RESERVATION_SECONDS - 0.1
    assert world.taken(policy) == 1
    world.now = RESERVATION_SECONDS
    assert world.taken(policy) == 0
    assert world.place(pod("three")) == "eci"


def test_a_pod_with_volumes_keeps_its_reservation_longer() -> None:
    policy = limited()
    world = Ledgered(policy)
    world.place(pod("one", slow_to_bind=True))
    world.now = SLOW_RESERVATION_SECONDS - 0.1
    assert world.taken(policy) == 1
    world.now = SLOW_RESERVATION_SECONDS
    assert world.taken(policy) == 0


def test_a_reservation_lasts_from_the_last_decision() -> None:
    policy = limited()
    world = Ledgered(policy)
    world.place(pod("one"))
    world.now = RESERVATION_SECONDS - 10
    world.place(pod("one"))
    world.now = RESERVATION_SECONDS + 1  # the first would have ended
    assert world.taken(policy) == 1
    world.now = 2 * RESERVATION_SECONDS - 10
    assert world.taken(policy) == 0


def test_the_oldest_reservations_and_holds_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MAX_RESERVATIONS", 2)
    policy = limited(9)
    world = Ledgered(policy)
    key = UnitKey(policy.key, policy.units[0].identity)
    for number in range(4):
        world.place(pod(f"pod-{number}"))
    assert world.taken(policy) == 2
    assert world.cluster.ledger.with_slots(f"pod-{n}" for n in range(4)) == {"pod-2", "pod-3"}
    for number in range(4):
        world.cluster.ledger.hold(pod(f"held-{number}"), key)
    assert world.taken(policy) == 4
    assert [world.cluster.ledger.held(f"held-{n}") for n in range(4)] == [None, None, key, key]


def test_decisions_again_and_again_need_no_more_memory() -> None:
    world = Ledgered(limited(9))
    for _ in range(5000):
        world.place(pod("one", slow_to_bind=True))
    noted = world.cluster.ledger._expiries  # noqa: SLF001 - memory is not seen from outside
    assert len(noted) < 3000


def test_another_decision_for_the_same_pod_replaces_its_reservation() -> None:
    policy = limited()
    world = Ledgered(policy)
    assert world.place(pod("one")) == "eci"
    assert world.place(pod("one")) == "eci"
    assert world.taken(policy) == 1
    assert world.place(pod("one"), "real") == "ecs"
    assert (world.taken(policy, 0), world.taken(policy, 1)) == (0, 1)
    assert world.place(pod("one"), "unheard-of") == "node(s) not known to Spillover yet"
    assert (world.taken(policy, 0), world.taken(policy, 1)) == (0, 0)


def test_a_refusal_by_the_scheduler_ends_a_reservation_if_it_is_a_new_one() -> None:
    policy = limited()
    world = Ledgered(policy)
    before = pod("one", refusal="Unschedulable: 0/2 nodes")
    world.place(before)
    world.cluster.put_pod(replace(before, version=2))  # a late view of what was before filter
    assert world.taken(policy) == 1
    world.cluster.put_pod(replace(before, version=3, refusal="SchedulerError: PreBind"))
    assert world.taken(policy) == 0


@pytest.mark.parametrize("change", [{"finished": True}, {"terminating": True, "node": "vk"}])
def test_pods_that_have_finished_or_are_being_deleted_do_not_count(change: dict[str, Any]) -> None:
    policy = limited()
    world = Ledgered(policy)
    bound = world.bind(pod("one"), "vk")
    assert world.taken(policy) == 1
    world.cluster.put_pod(replace(bound, version=9, **change))
    assert world.taken(policy) == 0


def test_a_deleted_pod_frees_its_slot_in_every_state() -> None:
    policy = limited(9)
    world = Ledgered(policy)
    world.cluster.put_pod(pod("reserved"))
    world.place(pod("reserved"))
    world.cluster.put_pod(pod("binding"))
    world.place(pod("binding"))
    world.plan("binding", "vk")
    world.bind(pod("bound"), "vk")
    assert world.taken(policy) == 3
    for uid in ("reserved", "binding", "bound"):
        world.cluster.drop_pod(uid, version=9)
    assert world.taken(policy) == 0


def test_bind_without_a_reservation_decides_again() -> None:
    policy = limited()
    world = Ledgered(policy)
    world.cluster.put_pod(pod("one"))
    world.place(pod("one"))
    world.now = RESERVATION_SECONDS
    world.bind(pod("two"), "vk")
    assert world.scheduler.plan_binding("one", "vk") == "eci is at its max of 1"
    plan = world.plan("one", "real")
    assert plan.unit is policy.units[1]
    assert because(plan.passed) == "eci is at its max of 1"
    assert (world.taken(policy, 0), world.taken(policy, 1)) == (1, 1)


def test_bind_to_a_node_that_filter_did_not_answer_decides_again() -> None:
    world = Ledgered(ack_policy({"resource": "ecs"}))
    world.cluster.put_pod(pod("one"))
    world.place(pod("one"))
    assert (
        world.scheduler.plan_binding("one", "vk")
        == "node(s) belong to no unit of ResourcePolicy policy"
    )


def test_a_policy_that_changes_between_filter_and_bind_is_asked_again() -> None:
    world = Ledgered(limited(1))
    world.cluster.put_pod(pod("one"))
    world.place(pod("one"))
    world.cluster.put_policy(limited(0))
    assert world.scheduler.plan_binding("one", "vk") == "eci is at its max of 0"


def test_a_policy_that_comes_between_filter_and_bind_is_asked() -> None:
    world = Ledgered()
    world.cluster.put_pod(pod("one"))
    assert world.place(pod("one")) == "outside"
    world.cluster.put_policy(ack_policy({"resource": "ecs", "max": 0}))
    assert world.scheduler.plan_binding("one", "real") == "ecs is at its max of 0"


@pytest.mark.parametrize("change", [{"terminating": True}, {"finished": True}])
def test_a_pod_that_can_not_be_bound_gets_no_claim(change: dict[str, Any]) -> None:
    world = Ledgered(limited())
    world.cluster.put_pod(pod("one", **change))
    assert world.scheduler.plan_binding("one", "vk") == (
        "the pod is bound, being deleted or finished already"
    )
    world.cluster.put_pod(pod("two", node="real"))
    assert world.scheduler.plan_binding("two", "vk") == "the pod is bound already"
    assert (
        world.scheduler.plan_binding("never-seen", "vk") == "the pod is not known to Spillover yet"
    )


def test_one_binding_at_a_time() -> None:
    world = Ledgered(limited())
    world.cluster.put_pod(pod("one"))
    first = world.plan("one", "vk")
    assert world.scheduler.plan_binding("one", "vk") == "another binding of this pod is under way"
    world.cluster.ledger.not_bound("one", first.flight)
    world.plan("one", "vk")


def test_news_of_an_old_binding_does_not_end_a_newer_one() -> None:
    policy = limited()
    world = Ledgered(policy)
    world.cluster.put_pod(pod("one"))
    first = world.plan("one", "vk")
    world.cluster.ledger.outcome_unknown("one", first.flight, 1)
    world.cluster.put_pod(pod("one", version=2))  # the fence, as the watch shows it
    second = world.plan("one", "vk")
    world.cluster.ledger.not_bound("one", first.flight)  # the fence's own answer comes late
    assert world.taken(policy) == 1
    world.cluster.ledger.bound("one", second.flight)
    assert world.scheduler.plan_binding("one", "vk") == "the pod is bound already"
    assert world.taken(policy) == 1


def test_a_pod_that_is_gone_reserves_nothing() -> None:
    policy = limited()
    world = Ledgered(policy)
    world.cluster.put_pod(pod("one", version=3))
    world.cluster.drop_pod("one", version=4)
    assert world.scheduler.obstacle(pod("one", version=3)) == "the pod is gone"
    assert world.scheduler.obstacle(pod("new", version=5)) is None


def test_a_pod_that_is_being_deleted_gives_up_its_reservation() -> None:
    policy = limited()
    world = Ledgered(policy)
    world.place(pod("one"))
    world.cluster.put_pod(pod("one", version=2, terminating=True))
    assert world.taken(policy) == 0


def test_a_pod_that_came_under_a_policy_since_filter_is_decided_again() -> None:
    world = Ledgered(ack_policy({"resource": "ecs", "max": 0}))
    assert world.place(pod("one", labels={}), "real") == "outside"
    world.cluster.put_pod(pod("one", version=2, labels={"app": "app"}))
    assert world.scheduler.plan_binding("one", "real") == "ecs is at its max of 0"


def test_marks_that_were_copied_from_another_pod_are_overwritten() -> None:
    policy = limited()
    world = Ledgered(policy)
    copied = world.bind(pod("one"), "vk").annotations
    world.cluster.put_pod(pod("two", labels={}, annotations=copied))
    plan = world.plan("two", "real")
    assert plan.annotations == {"spillover.dev/policy": "", "spillover.dev/unit": ""}


def test_annotations_that_are_too_large_together_are_not_written() -> None:
    policy = limited(5, podAnnotations={"note": "x" * 200_000})
    world = Ledgered(policy)
    world.cluster.put_pod(pod("one", annotations={"other": "x" * 70_000}))
    assert world.scheduler.plan_binding("one", "vk") == (
        "the pod's annotations and those of the unit are too large together"
    )
    assert world.taken(policy) == 0


def test_a_policy_that_is_written_again_unchanged_keeps_reservations() -> None:
    world = Ledgered(limited())
    world.place(pod("one"))
    world.cluster.put_policy(limited())
    assert world.taken(limited()) == 1


def test_an_old_view_never_undoes_a_binding() -> None:
    policy = limited()
    world = Ledgered(policy)
    world.cluster.put_pod(pod("one", version=5))
    world.place(pod("one", version=5))
    plan = world.plan("one", "vk")
    world.cluster.put_pod(pod("one", version=6, refusal="SchedulerError: time-out"))
    assert world.taken(policy) == 1
    world.cluster.ledger.bound("one", plan.flight)
    world.cluster.put_pod(pod("one", version=7))
    assert world.taken(policy) == 1
    world.cluster.put_pod(pod("one", version=8, node="vk"))
    world.cluster.put_pod(pod("one", version=7))
    assert world.taken(policy) == 1


def test_an_unknown_outcome_is_settled_by_a_newer_version_only() -> None:
    policy = limited()
    world = Ledgered(policy)
    world.cluster.put_pod(pod("one", version=5))
    world.place(pod("one", version=5))
    plan = world.plan("one", "vk")
    world.cluster.ledger.outcome_unknown("one", plan.flight, 5)
    world.cluster.put_pod(pod("one", version=5))
    assert world.taken(policy) == 1
    assert world.cluster.ledger.in_flight("one")
    world.cluster.put_pod(pod("one", version=6))
    assert world.taken(policy) == 0
    assert not world.cluster.ledger.in_flight("one")


def test_bound_pods_count_by_annotation_whatever_their_node_is_now() -> None:
    policy = limited(5)
    world = Ledgered(policy)
    world.bind(pod("one"), "vk")
    world.cluster.put_node(node("vk"))  # relabelled: a real node now
    assert (world.taken(policy, 0), world.taken(policy, 1)) == (1, 0)
    world.cluster.put_policy(limited(0))
    assert world.taken(policy) == 1


def test_pods_of_a_removed_unit_count_nowhere() -> None:
    world = Ledgered(limited(5))
    world.bind(pod("one"), "vk")
    other = ack_policy({"resource": "acs", "max": 5})
    world.cluster.put_policy(other)
    assert world.taken(other) == 0


def test_pods_that_others_bound_count_by_node_labels_and_annotations() -> None:
    marks = {"podLabels": {"eci": "true"}, "podAnnotations": {"note": "x"}}
    policy = limited(9, **marks)
    world = Ledgered(policy)
    carrying: dict[str, Any] = {
        "labels": {"app": "app", "eci": "true"},
        "annotations": {"note": "x"},
        "node": "vk",
    }
    world.cluster.put_pod(pod("all", **carrying))
    world.cluster.put_pod(pod("no-label", **{**carrying, "labels": {"app": "app"}}))
    world.cluster.put_pod(pod("no-annotation", **{**carrying, "annotations": {}}))
    world.cluster.put_pod(pod("elsewhere", **{**carrying, "node": "real"}))
    world.cluster.put_pod(pod("not-selected", **{**carrying, "labels": {"eci": "true"}}))
    world.cluster.put_pod(pod("other-namespace", **{**carrying, "namespace": "other"}))
    assert (world.taken(policy, 0), world.taken(policy, 1)) == (1, 1)


def test_counts_follow_nodes_and_policies_that_come_later() -> None:
    policy = limited(9)
    world = Ledgered()
    world.cluster.put_pod(pod("one", node="late"))
    world.cluster.put_policy(policy)
    assert world.taken(policy) == 0
    world.cluster.put_node(virtual("late"))
    assert world.taken(policy) == 1
    world.cluster.drop_node("late")
    assert world.taken(policy) == 0
    world.cluster.put_node(virtual("late"))
    world.cluster.drop_policy(policy.key)
    assert world.taken(policy) == 0


def test_a_complete_list_drops_what_it_lacks_but_not_what_is_newer() -> None:
    policy = limited(9)
    world = Ledgered(policy)
    world.cluster.put_pod(pod("listed", version=3, node="vk"))
    world.cluster.put_pod(pod("gone", version=4, node="vk"))
    world.cluster.put_pod(pod("newer", version=12, node="vk"))
    world.cluster.keep_pods({"listed"}, version=10)
    assert world.taken(policy) == 2
    world.cluster.keep_nodes({"real"})
    assert world.place(pod("x"), "vk") == "node(s) not known to Spillover yet"
    world.cluster.keep_policies(ack.GROUP, set())
    assert world.place(pod("x"), "real") == "outside"


def test_what_a_binding_carries() -> None:
    policy = ack_policy(
        {
            "resource": "eci",
            "max": 5,
            "podLabels": {"eci": "true"},
            "podAnnotations": {"note": "x"},
        },
        {"resource": "ecs", "podLabels": {"base": "yes"}},
    )
    world = Ledgered(policy)
    world.cluster.put_pod(pod("one", version=7))
    plan = world.plan("one", "vk")
    assert plan.labels == {"eci": "true"}
    assert plan.annotations == {
        "note": "x",
        COST: "200",
        COST_MARK: "200",
        "spillover.dev/policy": "scheduling.alibabacloud.com/policy",
        "spillover.dev/unit": policy.units[0].identity,
    }
    assert (plan.pod.version, plan.node, plan.unit) == (7, "vk", policy.units[0])
    world.cluster.put_pod(pod("two"))
    assert world.plan("two", "real").annotations[COST] == "100"


def test_a_deletion_cost_of_the_users_own_stays_and_one_of_the_units_beats_ours() -> None:
    policy = ack_policy({"resource": "ecs", "podAnnotations": {COST: "-5"}})
    world = Ledgered(policy)
    world.cluster.put_pod(pod("one"))
    assert world.plan("one", "real").annotations[COST] == "-5"
    world.cluster.put_pod(pod("two", annotations={COST: "7"}))
    assert COST not in world.plan("two", "real").annotations


def test_a_pod_outside_every_subset_names_its_policy_and_counts_nowhere() -> None:
    policy = vke_policy({"name": "vci", "type": "vci", "maxReplicas": 0})
    world = Ledgered(policy)
    bound = world.bind(pod("one"), "real")
    assert bound.annotations == {
        "spillover.dev/policy": "scheduling.vke.volcengine.com/policy",
        "spillover.dev/unit": "",
    }
    assert world.taken(policy) == 0


def test_only_provider_taints_that_evict_are_to_be_tolerated() -> None:
    evicting = Taint("vci.vke.volcengine.com/node-type", "vci", "NoExecute")
    world = Ledgered(limited(5))
    world.cluster.put_node(virtual("evicting", evicting))
    world.cluster.put_pod(pod("one"))
    assert world.plan("one", "evicting").tolerate == (evicting,)
    world.cluster.put_pod(pod("two"))
    assert world.plan("two", "vk").tolerate == ()
    tolerant = (Toleration(evicting.key, "Exists"),)
    world.cluster.put_pod(pod("three", tolerations=tolerant))
    assert world.plan("three", "evicting").tolerate == ()


def test_the_older_policy_wins_valid_or_not() -> None:
    world = Ledgered()
    broken = load(
        raw("z", {"selector": {"app": "app"}, "units": []}, "2025-01-01T00:00:00Z"), ack.GROUP
    )
    world.cluster.put_policy(ack_policy({"resource": "ecs"}, name="a"))
    assert world.place(pod()) == "ecs"
    world.cluster.put_policy(broken)
    assert (
        world.place(pod())
        == "ResourcePolicy z is invalid: spec.units: at least one unit is required"
    )
    world.cluster.drop_policy(broken.key)
    assert world.place(pod()) == "ecs"


def test_an_empty_selector_selects_the_whole_namespace_and_no_other() -> None:
    world = Ledgered(ack_policy({"resource": "ecs", "max": 0}, selector={}))
    assert world.place(pod(labels={}), "real") == "ecs is at its max of 0"
    assert world.place(pod(namespace="other"), "real") == "outside"


def test_a_refused_bind_changes_nothing() -> None:
    policy = ack_policy({"resource": "eci", "max": 1})
    world = Ledgered(policy)
    one = pod("one")
    world.cluster.put_pod(one)
    assert world.place(one, "vk") == "eci"
    reason = world.scheduler.plan_binding("one", "real")
    assert reason == "node(s) belong to no unit of ResourcePolicy policy"
    assert world.taken(policy) == 1
    assert isinstance(world.scheduler.plan_binding("one", "vk"), BindingPlan)


def test_a_doubted_pod_counts_in_every_unit_until_its_version_changes() -> None:
    policy = ack_policy({"resource": "eci", "max": 1}, {"resource": "ecs", "max": 1})
    world = Ledgered(policy)
    doubted = pod("doubted", version=5)
    world.cluster.put_pod(doubted)
    world.cluster.doubt(doubted)
    assert [world.taken(policy, index) for index in (0, 1)] == [1, 1]
    assert world.place(pod("other"), "vk") == "eci is at its max of 1"
    assert world.place(doubted, "vk") == "eci"  # itself it may have either
    world.cluster.put_pod(replace(doubted, version=6))
    assert world.place(pod("other"), "real") == "ecs"


def test_no_doubt_is_left_of_a_pod_that_has_changed_or_is_gone() -> None:
    policy = ack_policy({"resource": "eci", "max": 1})
    world = Ledgered(policy)
    for uid in ("changed", "gone"):
        world.cluster.put_pod(pod(uid, version=5))
    world.cluster.put_pod(pod("changed", version=6))
    world.cluster.drop_pod("gone", 7)
    for uid in ("changed", "gone"):
        world.cluster.doubt(pod(uid, version=5))
    assert world.cluster.ledger.doubted() == []


def test_a_policy_that_comes_later_counts_doubts_and_bindings_under_way() -> None:
    world = Ledgered()
    doubted, flying = pod("doubted", version=5), pod("flying")
    for each in (doubted, flying):
        world.cluster.put_pod(each)
    world.cluster.doubt(doubted)
    world.place(flying, "real")
    world.plan("flying", "real")
    policy = ack_policy({"resource": "ecs", "max": 5})
    world.cluster.put_policy(policy)
    assert world.taken(policy) == 2


def test_the_end_of_a_term_ends_reservations_but_no_binding() -> None:
    policy = ack_policy({"resource": "eci", "max": 5})
    world = Ledgered(policy)
    for uid in ("reserved", "flying"):
        world.cluster.put_pod(pod(uid))
        world.place(pod(uid), "vk")
    world.plan("flying", "vk")
    world.cluster.end_term()
    assert world.taken(policy) == 1
    assert world.scheduler.plan_binding("reserved", "vk") == NOT_LEADING


def test_a_pod_of_a_newer_epoch_is_not_bound() -> None:
    world = Ledgered(ack_policy({"resource": "eci", "max": 5}))
    world.cluster.put_pod(pod("swept", annotations={EPOCH_ANNOTATION: "2"}))
    assert world.scheduler.plan_binding("swept", "vk") == OUTRANKED


@pytest.mark.parametrize("read", range(1, 40))
def test_a_reservation_that_ends_while_another_pod_is_decided_keeps_nobody_out(read: int) -> None:
    """Whichever look at the clock finds it over: the next try is not given the old answer."""
    reads, jumps_at = 0, 0

    def clock() -> float:
        nonlocal reads
        reads += 1
        return 1000.0 if jumps_at and reads >= jumps_at else 0.0

    cluster = ClusterCache(NodeConventions(), clock, lambda: 0.0, lambda: 0.0)
    scheduler = leading(Scheduler(cluster))
    cluster.put_node(virtual("vk"))
    cluster.put_policy(limited(1))
    for name in ("first", "second"):
        cluster.put_pod(pod(name))
    assert isinstance(scheduler.place(pod("first"), ["vk"]), Placement)
    jumps_at = reads + read
    scheduler.place(pod("second"), ["vk"])
    jumps_at = 1
    assert isinstance(scheduler.place(pod("second"), ["vk"]), Placement)
