"""Labels of units that bindings do not write, because the pods' controllers select by them."""

import pytest
from worlds import World

from builders import ack_policy, node, virtual
from spillover.core.cache.binding_plan import BindingPlan
from spillover.core.cache.kept_labels import MOST_LABELS, MOST_PODS, KeptLabels
from spillover.core.model.policy import PolicyKey
from spillover.core.model.selectors import Operator, Requirement
from spillover.core.model.workloads import Workload
from spillover.core.reporting.status import report

KEY = PolicyKey("group", "ns", "policy")
BY_TIER = (Requirement("tier", Operator.IN, ("any",)),)


def bound(world: World, **fields: object) -> BindingPlan:
    waiting = world.put("one", labels={"app": "app", "tier": "any"}, **fields)
    assert world.filter(waiting, "real") == "ecs"
    plan = world.scheduler.plan_binding("one", "real")
    assert isinstance(plan, BindingPlan), plan
    world.scheduler.binding_accepted(plan)
    return plan


def world() -> World:
    unit = {"resource": "ecs", "podLabels": {"tier": "prepaid", "more": "yes"}}
    return World([ack_policy(unit)], [node("real"), virtual("vk")])


def kept(world: World) -> tuple[str, ...]:
    return report(world.cluster, world.cluster.policies.all()[0]).kept_labels


def test_a_label_that_the_owner_selects_by_stays() -> None:
    it = world()
    it.cluster.put_workload(Workload("replicasets", "owner", "ns", 1, "", BY_TIER))
    plan = bound(it, owner="owner", controller="owner")
    assert plan.labels == {"more": "yes"}
    assert kept(it) == ("tier of ecs",)
    it.delete("one")
    assert kept(it) == ()


def test_other_labels_of_a_known_owner_are_replaced() -> None:
    it = world()
    by_app = (Requirement("app", Operator.IN, ("app",)),)
    it.cluster.put_workload(Workload("replicasets", "owner", "ns", 1, "", by_app))
    assert bound(it, owner="owner", controller="owner").labels == {"tier": "prepaid", "more": "yes"}
    assert kept(it) == ()


@pytest.mark.parametrize("owner", ["", "owner"], ids=["of another kind", "not read yet"])
def test_under_an_unknown_controller_a_pod_keeps_what_it_has(owner: str) -> None:
    it = world()
    assert bound(it, owner=owner, controller="owner").labels == {"more": "yes"}
    assert kept(it) == ("tier of ecs",)


def test_a_pod_without_a_controller_gets_every_label() -> None:
    assert bound(world()).labels == {"tier": "prepaid", "more": "yes"}


def test_a_label_whose_presence_breaks_the_selector_is_not_added() -> None:
    it = world()
    absent = (Requirement("more", Operator.DOES_NOT_EXIST),)
    it.cluster.put_workload(Workload("replicasets", "owner", "ns", 1, "", absent))
    assert bound(it, owner="owner", controller="owner").labels == {"tier": "prepaid"}


def test_an_edit_of_the_policy_forgets_them() -> None:
    it = world()
    bound(it, controller="owner")
    unit = {"resource": "ecs", "podLabels": {"tier": "prepaid", "more": "yes"}, "max": 7}
    it.cluster.put_policy(ack_policy(unit))
    assert kept(it) == ()


def test_what_is_remembered_has_a_bound() -> None:
    labels = KeptLabels()
    assert all(labels.kept(KEY, "unit", f"key-{n}", "pod") for n in range(MOST_LABELS))
    assert not labels.kept(KEY, "unit", "one-more", "pod")
    assert not labels.kept(KEY, "unit", "key-0", "other")
    assert labels.forget_pod("pod") == KEY
    assert labels.of(KEY) == [("unit", "key-0")]
    for number in range(2 * MOST_PODS):
        labels.kept(KEY, "unit", "key-0", f"pod-{number}")
    for number in range(2 * MOST_PODS):
        labels.forget_pod(f"pod-{number}")
    labels.forget_pod("other")
    assert labels.of(KEY) == []
