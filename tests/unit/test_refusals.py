"""Units whose bindings the API server refuses."""

from builders import ack_policy, leading, node, pod
from spillover.core.cache.binding_plan import BindingPlan
from spillover.core.cache.cluster import ClusterCache
from spillover.core.cache.refusals import FIRST_REST, LONGEST_REST, Refusals
from spillover.core.decision.outcomes import Placement, Rejected, Waiting
from spillover.core.model.conventions import NodeConventions
from spillover.core.reporting.status import report
from spillover.core.scheduler import Scheduler

NOW = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def test_a_unit_rests_longer_each_time() -> None:
    clock = Clock()
    refusals = Refusals(clock, lambda: 0.5)
    key = ack_policy({"resource": "ecs"}).key
    rests = []
    for _ in range(8):
        refusals.refused(key, "unit", "no")
        found = refusals.resting(key, "unit")
        assert found is not None
        rests.append(found.until - clock.now)
        clock.now = found.until
        assert refusals.resting(key, "unit") is None
        assert refusals.reasons(key, ["unit", "other"]) == ["no"]
    assert rests[:3] == [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST]
    assert rests[-1] == LONGEST_REST
    assert refusals.bound(key, "unit")
    assert not refusals.bound(key, "unit")
    assert refusals.reasons(key, ["unit"]) == []


def test_pods_stay_with_a_unit_that_rests_and_are_nudged_when_it_is_over() -> None:
    clock = Clock()
    scheduler = leading(Scheduler(ClusterCache(NodeConventions(), clock, clock, lambda: 0.5)))
    scheduler.cluster.put_node(node("real"))
    policy = ack_policy({"resource": "ecs", "max": 5}, {"resource": "eci"})
    scheduler.cluster.put_policy(policy)
    assert isinstance(scheduler.place(pod("one"), ["real"]), Placement)
    plan = scheduler.plan_binding("one", "real")
    assert isinstance(plan, BindingPlan)
    scheduler.cluster.ledger.not_bound("one", plan.flight)
    for _ in range(3):  # of bindings that were under way together
        scheduler.binding_refused(plan, "refused by a rule")
    assert scheduler.due_nudges() == []  # takes in that a slot is free
    for uid in ("one", "two"):
        found = scheduler.place(pod(uid), ["real"])
        assert isinstance(found, Rejected)
        assert found.reasons == {"real": "ecs: refused by a rule"}
        assert isinstance(found.stays, Waiting)
    assert report(scheduler.cluster, policy).refusals == ("refused by a rule",)
    assert scheduler.due_nudges() == []
    clock.now += FIRST_REST + 0.1
    assert {each.uid for each in scheduler.due_nudges()} == {"one", "two"}
    assert isinstance(scheduler.place(pod("one"), ["real"]), Placement)


def test_an_edit_is_a_new_beginning() -> None:
    clock = Clock()
    scheduler = leading(Scheduler(ClusterCache(NodeConventions(), clock, clock, lambda: 0.5)))
    scheduler.cluster.put_node(node("real"))
    policy = ack_policy({"resource": "ecs"})
    scheduler.cluster.put_policy(policy)
    scheduler.cluster.refusals.refused(policy.key, policy.units[0].identity, "no")
    assert isinstance(scheduler.place(pod("one"), ["real"]), Rejected)
    scheduler.cluster.put_policy(ack_policy({"resource": "ecs", "max": 3}))
    assert isinstance(scheduler.place(pod("one"), ["real"]), Placement)
