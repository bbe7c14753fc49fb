"""Slots from filter to bind to gone, and where bound pods count."""

from dataclasses import replace
from typing import Any

import pytest

from builders import ack_policy, leading, node, pod, raw, virtual, vke_policy
from spillover.api import ack
from spillover.api.kubernetes import Taint, Toleration
from spillover.core.cache import SchedulingCache
from spillover.core.claims import Claim
from spillover.core.conventions import NodeConventions
from spillover.core.dialects import load
from spillover.core.ledger import RESERVATION_SECONDS, SLOW_RESERVATION_SECONDS
from spillover.core.pods import EPOCH_ANNOTATION, Pod
from spillover.core.policy import Policy, UnitKey
from spillover.core.term import NOT_LEADING, OUTRANKED
from spillover.core.verdicts import Placement, Rejected, because

COST = "controller.kubernetes.io/pod-deletion-cost"
COST_MARK = "spillover.dev/deletion-cost"


class World:
    """A cache with one virtual and one real node, and a clock that stands still."""

    def __init__(self, *policies: Policy) -> None:
        self.now = 0.0
        self.cache = leading(
            SchedulingCache(NodeConventions(), lambda: self.now, lambda: self.now, lambda: 0.5)
        )
        self.cache.put_node(virtual("vk"))
        self.cache.put_node(node("real", pool="a"))
        for policy in policies:
            self.cache.put_policy(policy)

    def taken(self, policy: Policy, index: int = 0) -> int:
        key = UnitKey(policy.key, policy.units[index].identity)
        return self.cache.ledger.usage(key, besides="").pods

    def place(self, who: Pod, *offered: str) -> str:
        """The unit's title, or the first reason."""
        decision = self.cache.place(who, offered or ("vk", "real"))
        match decision:
            case Placement():
                return decision.unit.title if decision.unit else "outside"
            case Rejected():
                return next(iter(decision.reasons.values()))

    def claim(self, uid: str, on: str) -> Claim:
        claim = self.cache.claim(uid, on)
        assert isinstance(claim, Claim), claim
        return claim

    def bind(self, who: Pod, on: str) -> Pod:
        """All the way: filter, bind, and the watch's confirmation."""
        self.cache.put_pod(who)
        self.place(who, on)
        claim = self.claim(who.uid, on)
        self.cache.ledger.bound(who.uid, claim.flight)
        bound = replace(
            who,
            version=who.version + 1,
            node=on,
            annotations={**who.annotations, **claim.annotations},
        )
        self.cache.put_pod(bound)
        return bound


def limited(limit: int = 1, **unit: Any) -> Policy:
    return ack_policy({"resource": "eci", "max": limit, **unit}, {"resource": "ecs"})


def test_a_reservation_takes_a_slot_until_it_expires() -> None:
    policy = limited()
    world = World(policy)
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
    world = World(policy)
    world.place(pod("one", slow_to_bind=True))
    world.now = SLOW_RESERVATION_SECONDS - 0.1
    assert world.taken(policy) == 1
    world.now = SLOW_RESERVATION_SECONDS
    assert world.taken(policy) == 0


def test_another_decision_for_the_same_pod_replaces_its_reservation() -> None:
    policy = limited()
    world = World(policy)
    assert world.place(pod("one")) == "eci"
    assert world.place(pod("one")) == "eci"
    assert world.taken(policy) == 1
    assert world.place(pod("one"), "real") == "ecs"
    assert (world.taken(policy, 0), world.taken(policy, 1)) == (0, 1)
    assert world.place(pod("one"), "unheard-of") == "node(s) not known to Spillover yet"
    assert (world.taken(policy, 0), world.taken(policy, 1)) == (0, 0)


def test_a_refusal_by_the_scheduler_ends_a_reservation_if_it_is_a_new_one() -> None:
    policy = limited()
    world = World(policy)
    before = pod("one", refusal="Unschedulable: 0/2 nodes")
    world.place(before)
    world.cache.put_pod(replace(before, version=2))  # a late view of what was before filter
    assert world.taken(policy) == 1
    world.cache.put_pod(replace(before, version=3, refusal="SchedulerError: PreBind"))
    assert world.taken(policy) == 0


@pytest.mark.parametrize("change", [{"finished": True}, {"terminating": True, "node": "vk"}])
def test_pods_that_have_finished_or_are_being_deleted_do_not_count(change: dict[str, Any]) -> None:
    policy = limited()
    world = World(policy)
    bound = world.bind(pod("one"), "vk")
    assert world.taken(policy) == 1
    world.cache.put_pod(replace(bound, version=9, **change))
    assert world.taken(policy) == 0


def test_a_deleted_pod_frees_its_slot_in_every_state() -> None:
    policy = limited(9)
    world = World(policy)
    world.cache.put_pod(pod("reserved"))
    world.place(pod("reserved"))
    world.cache.put_pod(pod("binding"))
    world.place(pod("binding"))
    world.claim("binding", "vk")
    world.bind(pod("bound"), "vk")
    assert world.taken(policy) == 3
    for uid in ("reserved", "binding", "bound"):
        world.cache.drop_pod(uid, version=9)
    assert world.taken(policy) == 0


def test_bind_without_a_reservation_decides_again() -> None:
    policy = limited()
    world = World(policy)
    world.cache.put_pod(pod("one"))
    world.place(pod("one"))
    world.now = RESERVATION_SECONDS
    world.bind(pod("two"), "vk")
    assert world.cache.claim("one", "vk") == "eci is at its max of 1"
    claim = world.claim("one", "real")
    assert claim.unit is policy.units[1]
    assert because(claim.passed) == "eci is at its max of 1"
    assert (world.taken(policy, 0), world.taken(policy, 1)) == (1, 1)


def test_bind_to_a_node_that_filter_did_not_answer_decides_again() -> None:
    world = World(ack_policy({"resource": "ecs"}))
    world.cache.put_pod(pod("one"))
    world.place(pod("one"))
    assert world.cache.claim("one", "vk") == "node(s) belong to no unit of ResourcePolicy policy"


def test_a_policy_that_changes_between_filter_and_bind_is_asked_again() -> None:
    world = World(limited(1))
    world.cache.put_pod(pod("one"))
    world.place(pod("one"))
    world.cache.put_policy(limited(0))
    assert world.cache.claim("one", "vk") == "eci is at its max of 0"


def test_a_policy_that_comes_between_filter_and_bind_is_asked() -> None:
    world = World()
    world.cache.put_pod(pod("one"))
    assert world.place(pod("one")) == "outside"
    world.cache.put_policy(ack_policy({"resource": "ecs", "max": 0}))
    assert world.cache.claim("one", "real") == "ecs is at its max of 0"


@pytest.mark.parametrize("change", [{"terminating": True}, {"finished": True}])
def test_a_pod_that_can_not_be_bound_gets_no_claim(change: dict[str, Any]) -> None:
    world = World(limited())
    world.cache.put_pod(pod("one", **change))
    assert world.cache.claim("one", "vk") == ("the pod is bound, being deleted or finished already")
    world.cache.put_pod(pod("two", node="real"))
    assert world.cache.claim("two", "vk") == "the pod is bound already"
    assert world.cache.claim("never-seen", "vk") == "the pod is not known to Spillover yet"


def test_one_binding_at_a_time() -> None:
    world = World(limited())
    world.cache.put_pod(pod("one"))
    first = world.claim("one", "vk")
    assert world.cache.claim("one", "vk") == "another binding of this pod is under way"
    world.cache.ledger.not_bound("one", first.flight)
    world.claim("one", "vk")


def test_news_of_an_old_binding_does_not_end_a_newer_one() -> None:
    policy = limited()
    world = World(policy)
    world.cache.put_pod(pod("one"))
    first = world.claim("one", "vk")
    world.cache.ledger.outcome_unknown("one", first.flight, 1)
    world.cache.put_pod(pod("one", version=2))  # the fence, as the watch shows it
    second = world.claim("one", "vk")
    world.cache.ledger.not_bound("one", first.flight)  # the fence's own answer comes late
    assert world.taken(policy) == 1
    world.cache.ledger.bound("one", second.flight)
    assert world.cache.claim("one", "vk") == "the pod is bound already"
    assert world.taken(policy) == 1


def test_a_pod_that_is_gone_reserves_nothing() -> None:
    policy = limited()
    world = World(policy)
    world.cache.put_pod(pod("one", version=3))
    world.cache.drop_pod("one", version=4)
    assert world.cache.obstacle(pod("one", version=3)) == "the pod is gone"
    assert world.cache.obstacle(pod("new", version=5)) is None


def test_a_pod_that_is_being_deleted_gives_up_its_reservation() -> None:
    policy = limited()
    world = World(policy)
    world.place(pod("one"))
    world.cache.put_pod(pod("one", version=2, terminating=True))
    assert world.taken(policy) == 0


def test_a_pod_that_came_under_a_policy_since_filter_is_decided_again() -> None:
    world = World(ack_policy({"resource": "ecs", "max": 0}))
    assert world.place(pod("one", labels={}), "real") == "outside"
    world.cache.put_pod(pod("one", version=2, labels={"app": "app"}))
    assert world.cache.claim("one", "real") == "ecs is at its max of 0"


def test_marks_that_were_copied_from_another_pod_are_overwritten() -> None:
    policy = limited()
    world = World(policy)
    copied = world.bind(pod("one"), "vk").annotations
    world.cache.put_pod(pod("two", labels={}, annotations=copied))
    claim = world.claim("two", "real")
    assert claim.annotations == {"spillover.dev/policy": "", "spillover.dev/unit": ""}


def test_annotations_that_are_too_large_together_are_not_written() -> None:
    policy = limited(5, podAnnotations={"note": "x" * 200_000})
    world = World(policy)
    world.cache.put_pod(pod("one", annotations={"other": "x" * 70_000}))
    assert world.cache.claim("one", "vk") == (
        "the pod's annotations and those of the unit are too large together"
    )
    assert world.taken(policy) == 0


def test_a_policy_that_is_written_again_unchanged_keeps_reservations() -> None:
    world = World(limited())
    world.place(pod("one"))
    world.cache.put_policy(limited())
    assert world.taken(limited()) == 1


def test_an_old_view_never_undoes_a_binding() -> None:
    policy = limited()
    world = World(policy)
    world.cache.put_pod(pod("one", version=5))
    world.place(pod("one", version=5))
    claim = world.claim("one", "vk")
    world.cache.put_pod(pod("one", version=6, refusal="SchedulerError: time-out"))
    assert world.taken(policy) == 1
    world.cache.ledger.bound("one", claim.flight)
    world.cache.put_pod(pod("one", version=7))
    assert world.taken(policy) == 1
    world.cache.put_pod(pod("one", version=8, node="vk"))
    world.cache.put_pod(pod("one", version=7))
    assert world.taken(policy) == 1


def test_an_unknown_outcome_is_settled_by_a_newer_version_only() -> None:
    policy = limited()
    world = World(policy)
    world.cache.put_pod(pod("one", version=5))
    world.place(pod("one", version=5))
    claim = world.claim("one", "vk")
    world.cache.ledger.outcome_unknown("one", claim.flight, 5)
    world.cache.put_pod(pod("one", version=5))
    assert world.taken(policy) == 1
    assert world.cache.ledger.in_flight("one")
    world.cache.put_pod(pod("one", version=6))
    assert world.taken(policy) == 0
    assert not world.cache.ledger.in_flight("one")


def test_bound_pods_count_by_annotation_whatever_their_node_is_now() -> None:
    policy = limited(5)
    world = World(policy)
    world.bind(pod("one"), "vk")
    world.cache.put_node(node("vk"))  # relabelled: a real node now
    assert (world.taken(policy, 0), world.taken(policy, 1)) == (1, 0)
    world.cache.put_policy(limited(0))
    assert world.taken(policy) == 1


def test_pods_of_a_removed_unit_count_nowhere() -> None:
    world = World(limited(5))
    world.bind(pod("one"), "vk")
    other = ack_policy({"resource": "acs", "max": 5})
    world.cache.put_policy(other)
    assert world.taken(other) == 0


def test_pods_that_others_bound_count_by_node_labels_and_annotations() -> None:
    marks = {"podLabels": {"eci": "true"}, "podAnnotations": {"note": "x"}}
    policy = limited(9, **marks)
    world = World(policy)
    carrying: dict[str, Any] = {
        "labels": {"app": "app", "eci": "true"},
        "annotations": {"note": "x"},
        "node": "vk",
    }
    world.cache.put_pod(pod("all", **carrying))
    world.cache.put_pod(pod("no-label", **{**carrying, "labels": {"app": "app"}}))
    world.cache.put_pod(pod("no-annotation", **{**carrying, "annotations": {}}))
    world.cache.put_pod(pod("elsewhere", **{**carrying, "node": "real"}))
    world.cache.put_pod(pod("not-selected", **{**carrying, "labels": {"eci": "true"}}))
    world.cache.put_pod(pod("other-namespace", **{**carrying, "namespace": "other"}))
    assert (world.taken(policy, 0), world.taken(policy, 1)) == (1, 1)


def test_counts_follow_nodes_and_policies_that_come_later() -> None:
    policy = limited(9)
    world = World()
    world.cache.put_pod(pod("one", node="late"))
    world.cache.put_policy(policy)
    assert world.taken(policy) == 0
    world.cache.put_node(virtual("late"))
    assert world.taken(policy) == 1
    world.cache.drop_node("late")
    assert world.taken(policy) == 0
    world.cache.put_node(virtual("late"))
    world.cache.drop_policy(policy.key)
    assert world.taken(policy) == 0


def test_a_complete_list_drops_what_it_lacks_but_not_what_is_newer() -> None:
    policy = limited(9)
    world = World(policy)
    world.cache.put_pod(pod("listed", version=3, node="vk"))
    world.cache.put_pod(pod("gone", version=4, node="vk"))
    world.cache.put_pod(pod("newer", version=12, node="vk"))
    world.cache.keep_pods({"listed"}, version=10)
    assert world.taken(policy) == 2
    world.cache.keep_nodes({"real"})
    assert world.place(pod("x"), "vk") == "node(s) not known to Spillover yet"
    world.cache.keep_policies(ack.GROUP, set())
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
    world = World(policy)
    world.cache.put_pod(pod("one", version=7))
    claim = world.claim("one", "vk")
    assert claim.labels == {"eci": "true"}
    assert claim.annotations == {
        "note": "x",
        COST: "200",
        COST_MARK: "200",
        "spillover.dev/policy": "scheduling.alibabacloud.com/policy",
        "spillover.dev/unit": policy.units[0].identity,
    }
    assert (claim.pod.version, claim.node, claim.unit) == (7, "vk", policy.units[0])
    world.cache.put_pod(pod("two"))
    assert world.claim("two", "real").annotations[COST] == "100"


def test_a_deletion_cost_of_the_users_own_stays_and_one_of_the_units_beats_ours() -> None:
    policy = ack_policy({"resource": "ecs", "podAnnotations": {COST: "-5"}})
    world = World(policy)
    world.cache.put_pod(pod("one"))
    assert world.claim("one", "real").annotations[COST] == "-5"
    world.cache.put_pod(pod("two", annotations={COST: "7"}))
    assert COST not in world.claim("two", "real").annotations


def test_a_pod_outside_every_subset_names_its_policy_and_counts_nowhere() -> None:
    policy = vke_policy({"name": "vci", "type": "vci", "maxReplicas": 0})
    world = World(policy)
    bound = world.bind(pod("one"), "real")
    assert bound.annotations == {
        "spillover.dev/policy": "scheduling.vke.volcengine.com/policy",
        "spillover.dev/unit": "",
    }
    assert world.taken(policy) == 0


def test_only_provider_taints_that_evict_are_to_be_tolerated() -> None:
    evicting = Taint("vci.vke.volcengine.com/node-type", "vci", "NoExecute")
    world = World(limited(5))
    world.cache.put_node(virtual("evicting", evicting))
    world.cache.put_pod(pod("one"))
    assert world.claim("one", "evicting").tolerate == (evicting,)
    world.cache.put_pod(pod("two"))
    assert world.claim("two", "vk").tolerate == ()
    tolerant = (Toleration(evicting.key, "Exists"),)
    world.cache.put_pod(pod("three", tolerations=tolerant))
    assert world.claim("three", "evicting").tolerate == ()


def test_the_older_policy_wins_valid_or_not() -> None:
    world = World()
    broken = load(
        raw("z", {"selector": {"app": "app"}, "units": []}, "2025-01-01T00:00:00Z"), ack.GROUP
    )
    world.cache.put_policy(ack_policy({"resource": "ecs"}, name="a"))
    assert world.place(pod()) == "ecs"
    world.cache.put_policy(broken)
    assert (
        world.place(pod())
        == "ResourcePolicy z is invalid: spec.units: at least one unit is required"
    )
    world.cache.drop_policy(broken.key)
    assert world.place(pod()) == "ecs"


def test_an_empty_selector_selects_the_whole_namespace_and_no_other() -> None:
    world = World(ack_policy({"resource": "ecs", "max": 0}, selector={}))
    assert world.place(pod(labels={}), "real") == "ecs is at its max of 0"
    assert world.place(pod(namespace="other"), "real") == "outside"


def test_a_refused_bind_changes_nothing() -> None:
    policy = ack_policy({"resource": "eci", "max": 1})
    world = World(policy)
    one = pod("one")
    world.cache.put_pod(one)
    assert world.place(one, "vk") == "eci"
    reason = world.cache.claim("one", "real")
    assert reason == "node(s) belong to no unit of ResourcePolicy policy"
    assert world.taken(policy) == 1
    assert isinstance(world.cache.claim("one", "vk"), Claim)


def test_a_doubted_pod_counts_in_every_unit_until_its_version_changes() -> None:
    policy = ack_policy({"resource": "eci", "max": 1}, {"resource": "ecs", "max": 1})
    world = World(policy)
    doubted = pod("doubted", version=5)
    world.cache.put_pod(doubted)
    world.cache.doubt(doubted)
    assert [world.taken(policy, index) for index in (0, 1)] == [1, 1]
    assert world.place(pod("other"), "vk") == "eci is at its max of 1"
    assert world.place(doubted, "vk") == "eci"  # itself it may have either
    world.cache.put_pod(replace(doubted, version=6))
    assert world.place(pod("other"), "real") == "ecs"


def test_no_doubt_is_left_of_a_pod_that_has_changed_or_is_gone() -> None:
    policy = ack_policy({"resource": "eci", "max": 1})
    world = World(policy)
    for uid in ("changed", "gone"):
        world.cache.put_pod(pod(uid, version=5))
    world.cache.put_pod(pod("changed", version=6))
    world.cache.drop_pod("gone", 7)
    for uid in ("changed", "gone"):
        world.cache.doubt(pod(uid, version=5))
    assert world.cache.ledger.doubted() == []


def test_a_policy_that_comes_later_counts_doubts_and_bindings_under_way() -> None:
    world = World()
    doubted, flying = pod("doubted", version=5), pod("flying")
    for each in (doubted, flying):
        world.cache.put_pod(each)
    world.cache.doubt(doubted)
    world.place(flying, "real")
    world.claim("flying", "real")
    policy = ack_policy({"resource": "ecs", "max": 5})
    world.cache.put_policy(policy)
    assert world.taken(policy) == 2


def test_the_end_of_a_term_ends_reservations_but_no_binding() -> None:
    policy = ack_policy({"resource": "eci", "max": 5})
    world = World(policy)
    for uid in ("reserved", "flying"):
        world.cache.put_pod(pod(uid))
        world.place(pod(uid), "vk")
    world.claim("flying", "vk")
    world.cache.end_term()
    assert world.taken(policy) == 1
    assert world.cache.claim("reserved", "vk") == NOT_LEADING


def test_a_pod_of_a_newer_epoch_is_not_bound() -> None:
    world = World(ack_policy({"resource": "eci", "max": 5}))
    world.cache.put_pod(pod("swept", annotations={EPOCH_ANNOTATION: "2"}))
    assert world.cache.claim("swept", "vk") == OUTRANKED
