"""Which candidates for preemption are of use, and what filter says around it."""

from dataclasses import replace
from typing import Any

import pytest
from worlds import World

from builders import ack_policy, node, pod, virtual, vke_policy
from spillover.api.kubernetes import Taint
from spillover.core.cache.binding_plan import BindingPlan
from spillover.core.cache.ledger import HOLD_SECONDS, NOMINATED_SECONDS
from spillover.core.decision.reasons import NOT_FIRST_CHOICE
from spillover.core.model.pods import POLICY_ANNOTATION, UNIT_ANNOTATION, Pod
from spillover.core.model.policy import Policy, UnitKey
from spillover.core.scheduler import PREEMPT_SECONDS

TEAM = Taint("team", "other", "NoSchedule")
PREPAID = {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}}
ECI = {"resource": "eci"}
EAGER = {"preemptPolicy": "BeforeNextUnit"}
MAY_PREEMPT = "may preempt pods of lower priority in ecs"


class Preempting(World):
    """Two prepaid nodes, one of them tainted, a virtual one, and one of no unit."""

    def __init__(self, *units: dict[str, Any], **spec: Any) -> None:
        self.policy = ack_policy(*units, **spec) if units else None
        nodes = (
            node("pre-1", pool="prepaid"), node("pre-2", pool="prepaid"),
            node("tainted", [TEAM], pool="prepaid"), virtual("vk"), node("other"),
        )  # fmt: skip
        super().__init__([self.policy] if self.policy else [], nodes)

    def bound(self, name: str, on: str, unit: int | None = 0, **fields: Any) -> None:
        annotations = {}
        if self.policy and unit is not None:
            annotations = marks(self.policy, unit)
        self.cluster.put_pod(pod(name, node=on, annotations=annotations, **fields))

    def preempt(self, who: Pod, **victims: list[str]) -> set[str]:
        """`pre_1=["low"]` stands for the node pre-1."""
        return set(
            self.scheduler.preempt(
                who, {name.replace("_", "-"): uids for name, uids in victims.items()}
            )
        )

    def taken(self) -> int:
        assert self.policy is not None
        key = UnitKey(self.policy.key, self.policy.units[0].identity)
        return self.cluster.ledger.usage(key, besides="").pods


def marks(policy: Policy, unit: int) -> dict[str, str]:
    return {POLICY_ANNOTATION: str(policy.key), UNIT_ANNOTATION: policy.units[unit].identity}


URGENT = pod("urgent", priority=10)


def test_the_first_unit_in_order_with_a_candidate() -> None:
    postpaid = {"resource": "ecs", "nodeSelector": {"pool": "gone"}}
    world = Preempting(postpaid, PREPAID, ECI)
    world.bound("low", "pre-1", 1)
    assert world.preempt(URGENT, pre_1=["low"], other=["x"]) == {"pre-1"}


@pytest.mark.parametrize("name", ["tainted", "vk", "unheard_of"])
def test_tainted_virtual_and_unknown_nodes_are_of_no_use(name: str) -> None:
    for world in (Preempting(PREPAID, ECI), Preempting()):
        world.bound("low", "pre-1")
        assert world.preempt(URGENT, **{name: ["low"]}) == set()


def test_a_node_without_victims_is_never_answered() -> None:
    world = Preempting(PREPAID)
    world.bound("low", "pre-1")
    assert world.preempt(URGENT, pre_1=["low"], pre_2=[]) == {"pre-1"}


def test_at_its_max_only_the_units_own_pods_make_room() -> None:
    world = Preempting({**PREPAID, "max": 1})
    world.bound("own", "pre-1")
    world.bound("stranger", "pre-2", None, labels={})
    assert world.preempt(URGENT, pre_1=["own"], pre_2=["stranger"]) == {"pre-1"}
    assert world.preempt(URGENT, pre_2=["stranger"]) == set()
    assert world.preempt(URGENT, pre_2=["unknown"]) == set()


def test_above_its_max_one_victim_is_not_enough() -> None:
    world = Preempting({**PREPAID, "max": 1})
    for name in ("a", "b"):
        world.bound(name, "pre-1")
    assert world.preempt(URGENT, pre_1=["a"]) == set()
    assert world.preempt(URGENT, pre_1=["a", "b"]) == {"pre-1"}


def test_victims_of_another_group_make_no_room() -> None:
    world = Preempting({**PREPAID, "max": 1}, matchLabelKeys=["hash"])
    ours, other = {"app": "app", "hash": "a"}, {"app": "app", "hash": "b"}
    world.bound("own", "pre-1", labels=ours)
    world.bound("other", "pre-2", labels=other)
    urgent = pod("urgent", priority=10, labels=ours)
    assert world.preempt(urgent, pre_1=["own"], pre_2=["other"]) == {"pre-1"}


def test_resources_of_victims_count() -> None:
    world = Preempting({**PREPAID, "maxResources": {"cpu": 4}})
    world.bound("small", "pre-1", requests=(("cpu", 1000),))
    world.bound("large", "pre-2", requests=(("cpu", 3000),))
    urgent = pod("urgent", priority=10, requests=(("cpu", 3000),))
    assert world.preempt(urgent, pre_1=["small"], pre_2=["large"]) == {"pre-2"}


def test_nobody_is_evicted_for_a_pod_that_waits() -> None:
    timed = {"policy": "TimeoutOrExceedMax", "timeout": "60s"}
    world = Preempting({**PREPAID, "max": 5}, ECI, whenTryNextUnits=timed)
    world.bound("low", "pre-1")
    assert world.preempt(URGENT, pre_1=["low"]) == set()
    world.filter(URGENT, "vk")
    world.now = 60.0
    assert world.preempt(URGENT, pre_1=["low"]) == {"pre-1"}


def test_a_pod_that_waits_in_a_later_unit_preempts_nobody_before_it() -> None:
    timed = {"policy": "TimeoutOrExceedMax", "timeout": "60s"}
    later = {"resource": "ecs", "nodeSelector": {"pool": "gone"}, "max": 5}
    world = Preempting(PREPAID, later, ECI, whenTryNextUnits=timed)
    world.bound("low", "pre-1")
    assert world.filter(URGENT, "vk").startswith("waits for ecs(pool=gone)")
    assert world.preempt(URGENT, pre_1=["low"]) == set()
    world.now = 60.0
    assert world.preempt(URGENT, pre_1=["low"]) == {"pre-1"}


def test_a_pod_whose_freed_place_was_taken_may_preempt_again() -> None:
    world = eager()
    world.filter(URGENT, "vk")
    assert world.preempt(URGENT, pre_1=["low"]) == {"pre-1"}
    world.bound("thief", "pre-1")
    assert world.preempt(URGENT, pre_1=["thief"]) == {"pre-1"}


def test_what_was_tried_is_remembered_until_the_pod_is_bound() -> None:
    """Bind may decide anew, and is not to ask for preemption again."""
    world = eager()
    world.cluster.put_pod(URGENT)
    world.filter(URGENT, "vk")
    assert world.filter(URGENT, "vk") == "eci"
    assert world.policy is not None
    world.cluster.put_policy(replace(world.policy, uid="edited"))
    assert isinstance(world.scheduler.plan_binding("urgent", "vk"), BindingPlan)


def test_a_pod_that_waits_without_an_end_may_preempt_where_it_waits() -> None:
    when = {"policy": "ExceedMax"}
    postpaid = {"resource": "ecs"}
    world = Preempting({**PREPAID, "max": 5}, postpaid, whenTryNextUnits=when)
    world.bound("low", "pre-1")
    world.bound("elsewhere", "other", None, labels={})
    assert world.preempt(URGENT, other=["elsewhere"]) == set()
    assert world.preempt(URGENT, pre_1=["low"], other=["elsewhere"]) == {"pre-1"}


def test_nothing_is_done_under_an_invalid_policy_or_without_a_label() -> None:
    world = Preempting(PREPAID, matchLabelKeys=["hash"])
    world.bound("low", "pre-1")
    assert world.preempt(URGENT, pre_1=["low"]) == set()


def test_an_open_policy_lets_pods_preempt_outside_its_subsets() -> None:
    world = Preempting()
    term = {"key": "pool", "operator": "In", "values": ["prepaid"]}
    subset = {"name": "a", "type": "ecs", "maxReplicas": 0, "nodeSelectorTerm": [term]}
    world.cluster.put_policy(vke_policy(subset))
    world.bound("low", "other", labels={})
    world.bound("lower", "pre-1", labels={})
    assert world.preempt(URGENT, other=["low"], pre_1=["lower"]) == {"other"}
    world.cluster.put_policy(vke_policy(subset, strategy="require"))
    assert world.preempt(URGENT, other=["low"], pre_1=["lower"]) == set()


# --- BeforeNextUnit: filter and preempt together --------------------------------------------------


def eager(*units: dict[str, Any]) -> Preempting:
    world = Preempting(*(units or (PREPAID, ECI)), **EAGER)
    world.bound("low", "pre-1")
    return world


def test_filter_refuses_all_so_that_the_scheduler_preempts() -> None:
    world = eager()
    assert world.filter(URGENT, "vk") == MAY_PREEMPT
    assert world.preempt(URGENT, pre_1=["low"]) == {"pre-1"}
    # Nominated: it neither spills nor is it nudged, until the victims are gone.
    assert world.filter(URGENT, "vk") == "waits for preempted pods to leave ecs"
    world.now = HOLD_SECONDS - 1
    assert world.scheduler.due_nudges() == []
    assert world.filter(URGENT, "pre-1", "vk") == "ecs"


def test_only_the_unit_that_was_asked_for_is_preempted_in() -> None:
    """The next unit has a free node: nobody is to be evicted there or beyond."""
    world = eager(PREPAID, {"resource": "ecs"})
    world.bound("elsewhere", "other", None, labels={})
    assert world.filter(URGENT, "other").startswith(MAY_PREEMPT)
    assert world.preempt(URGENT, other=["elsewhere"]) == set()
    # In a later attempt without a call of filter, there is no free node: every unit may be.
    assert world.preempt(URGENT, other=["elsewhere"]) == {"other"}


def test_without_victims_it_is_nudged_and_goes_on() -> None:
    world = eager()
    world.cluster.put_pod(URGENT)
    assert world.filter(URGENT, "vk") == MAY_PREEMPT
    assert world.scheduler.due_nudges() == []
    world.now = PREEMPT_SECONDS + 0.01
    assert [each.name for each in world.scheduler.due_nudges()] == ["urgent"]
    assert world.filter(URGENT, "vk") == "eci"


def test_what_is_being_freed_is_held_for_the_pod() -> None:
    world = eager({**PREPAID, "max": 2}, ECI)
    world.filter(URGENT, "vk")
    world.preempt(URGENT, pre_1=["low"])
    assert world.taken() == 2
    assert world.filter(pod("another"), "pre-2", "vk") == "eci"
    assert world.filter(URGENT, "pre-1") == "ecs"
    assert world.taken() == 2


def test_a_hold_ends_when_no_nomination_follows() -> None:
    world = eager()
    world.filter(URGENT, "vk")
    world.preempt(URGENT, pre_1=["low"])
    world.now = HOLD_SECONDS
    assert world.taken() == 1
    assert world.filter(URGENT, "vk") == "eci"


@pytest.mark.parametrize("gone", [{"nominated": ""}, {"terminating": True}, None])
def test_a_hold_ends_with_the_nomination(gone: dict[str, Any] | None) -> None:
    world = eager()
    world.cluster.put_pod(URGENT)
    world.filter(URGENT, "vk")
    world.preempt(URGENT, pre_1=["low"])
    nominated = replace(URGENT, version=5, nominated="pre-1")
    world.cluster.put_pod(nominated)
    world.now = NOMINATED_SECONDS - 1
    assert world.taken() == 2
    if gone is None:
        world.cluster.drop_pod("urgent", 6)
    else:
        world.cluster.put_pod(replace(nominated, version=6, **gone))
    assert world.taken() == 1


def nudged(world: Preempting) -> list[str]:
    return [each.name for each in world.scheduler.due_nudges()]


@pytest.mark.parametrize("given_up", [True, False])
def test_without_its_nomination_the_pod_is_nudged_and_goes_on(*, given_up: bool) -> None:
    world = eager()
    world.cluster.put_pod(URGENT)
    world.filter(URGENT, "vk")
    world.preempt(URGENT, pre_1=["low"])
    world.now = 1.0
    assert nudged(world) == []
    if given_up:
        nominated = replace(URGENT, version=5, nominated="pre-1")
        world.cluster.put_pod(nominated)
        world.now = 100.0
        assert nudged(world) == []
        world.cluster.put_pod(replace(nominated, version=6, nominated=""))
    else:
        world.now = HOLD_SECONDS
    assert nudged(world) == ["urgent"]
    assert world.filter(replace(URGENT, version=7), "vk") == "eci"


def test_a_pod_that_is_leaving_anyway_is_nobody_to_preempt() -> None:
    world = Preempting(PREPAID, ECI, **EAGER)
    world.bound("low", "pre-1", terminating=True)
    assert world.filter(URGENT, "vk") == "eci"


# --- nominations that are not ours ----------------------------------------------------------------

HINTED = pod("hinted", nominated="vk")


def test_a_hint_for_a_later_unit_is_not_followed() -> None:
    world = Preempting(PREPAID, ECI)
    assert world.filter(HINTED, "vk") == NOT_FIRST_CHOICE
    assert world.cluster.waiting.holds("hinted") is False
    assert world.filter(HINTED, "pre-1", "vk") == "ecs"


def test_a_hint_for_the_first_unit_with_room_is_followed() -> None:
    world = Preempting({**PREPAID, "max": 0}, ECI)
    assert world.filter(HINTED, "vk") == "eci"


def test_the_only_node_is_offered_twice_and_taken() -> None:
    """The call with the nominated node alone, and then the full one, which has no other."""
    world = Preempting(PREPAID, ECI)
    assert world.filter(HINTED, "vk") == NOT_FIRST_CHOICE
    assert world.filter(HINTED, "vk") == "eci"


def test_a_probe_without_a_full_call_does_not_make_the_next_one_full() -> None:
    world = Preempting(PREPAID, ECI)
    assert world.filter(HINTED, "vk") == NOT_FIRST_CHOICE
    world.now = 2.0
    assert world.filter(HINTED, "vk") == NOT_FIRST_CHOICE
    world.now = 2.5
    assert world.filter(replace(HINTED, version=9), "vk") == NOT_FIRST_CHOICE


def test_a_hint_starts_no_wait() -> None:
    timed = {"policy": "TimeoutOrExceedMax", "timeout": "60s"}
    world = Preempting({**PREPAID, "max": 5}, ECI, whenTryNextUnits=timed)
    assert world.filter(HINTED, "vk") == NOT_FIRST_CHOICE
    assert world.cluster.attempts.unwritten() == []
    assert world.filter(HINTED, "vk").startswith("waits for ecs until")
    assert len(world.cluster.attempts.unwritten()) == 1


def test_a_pod_under_no_policy_follows_any_hint() -> None:
    world = Preempting(PREPAID, ECI)
    assert world.filter(pod("free", labels={}, nominated="other"), "other") == "outside"
