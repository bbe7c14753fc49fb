"""One walk over the units per decision, and what is told of it."""

import json
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from builders import ack_policy, leading, node, pod, raw, virtual, vke_policy
from spillover.api import ack
from spillover.core.cache.cluster import ClusterCache
from spillover.core.decision import placement
from spillover.core.decision.outcomes import Reasons, Rejected, Verdict
from spillover.core.decision.reasons import UNKNOWN_OWNER
from spillover.core.dialects import load_unless_known
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.policy import InvalidPolicy, LoadedPolicy, Policy, PolicyKey, Unit
from spillover.core.reporting.explain import explain_pod
from spillover.core.scheduler import Scheduler

FULL: list[dict[str, Any]] = [
    {"resource": "ecs", "nodeSelector": {"pool": "a"}, "max": 0},
    {"resource": "ecs"},
    {"resource": "eci", "max": 0},
]


def cache_with(*policies: LoadedPolicy, clock: Callable[[], float] = lambda: 0.0) -> Scheduler:
    scheduler = leading(Scheduler(ClusterCache(NodeConventions(), clock, clock, lambda: 0.0)))
    for each in (node("a-1", pool="a"), virtual("vk")):
        scheduler.cluster.put_node(each)
    for policy in policies:
        scheduler.cluster.put_policy(policy)
    return scheduler


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each unit was evaluated."""
    counts: Counter[str] = Counter()
    real = placement.evaluate_unit

    def counting(unit: Unit, *arguments: Any) -> Verdict:
        counts[unit.title] += 1
        return real(unit, *arguments)

    monkeypatch.setattr(placement, "evaluate_unit", counting)
    return counts


@pytest.mark.parametrize(
    "more",
    [{}, {"preemptPolicy": "BeforeNextUnit"}, {"preemptPolicy": "AfterAllUnits"}],
    ids=["plain", "before next unit", "after all units"],
)
def test_each_unit_is_evaluated_once_for_a_rejection(
    evaluated: Counter[str], more: dict[str, Any]
) -> None:
    now = [0.0]
    scheduler = cache_with(ack_policy(*FULL, **more), clock=lambda: now[0])
    scheduler.cluster.put_pod(pod("low", node="a-1", version=1, priority=-1))
    waiting = pod("one", version=2, priority=5)
    scheduler.cluster.put_pod(waiting)
    answer = scheduler.place(waiting, ["vk"])
    assert isinstance(answer, Rejected)
    assert evaluated
    assert set(evaluated.values()) == {1}
    evaluated.clear()
    now[0] += 100  # after the rest that the scheduler has for its preemption
    scheduler.cluster.put_node(node("a-2", pool="a"))
    scheduler.due_nudges()
    assert evaluated
    assert set(evaluated.values()) == {1}


def test_and_for_a_placement(evaluated: Counter[str]) -> None:
    scheduler = cache_with(ack_policy(*FULL))
    waiting = pod("one", version=2)
    scheduler.cluster.put_pod(waiting)
    assert not isinstance(scheduler.place(waiting, ["a-1", "vk"]), Rejected)
    assert evaluated == {"ecs(pool=a)": 1, "ecs": 1}


def test_explain_gives_filters_reason_where_the_owner_is_not_known() -> None:
    """It said that each unit cannot take the pod, and listed one that takes it."""
    policy = vke_policy(
        {"name": "a", "type": "ecs", "maxReplicasRatio": "0.5"}, {"name": "b", "type": "ecs"}
    )
    scheduler = cache_with(policy)
    one = pod("one", version=2, owner="deployment")
    scheduler.cluster.put_pod(one)
    answer = scheduler.place(one, ["a-1"])
    assert isinstance(answer, Rejected)
    assert answer.causes == {UNKNOWN_OWNER}
    report = explain_pod(scheduler.cluster, one, {"a-1": None})
    assert report.outcome == f"not placed: {UNKNOWN_OWNER}"
    assert report.units == ()
    assert report.next_try.startswith("when the replicas of its owner are known")


def test_nobody_is_evicted_for_a_pod_that_no_unit_may_take_yet() -> None:
    policy = vke_policy({"name": "a", "type": "ecs", "maxReplicasRatio": "0.5"})
    scheduler = cache_with(policy)
    scheduler.cluster.put_pod(pod("low", node="a-1", version=1, priority=-1))
    one = pod("one", version=2, owner="deployment", priority=5)
    scheduler.cluster.put_pod(one)
    assert scheduler.preempt(one, {"a-1": ["low"]}) == frozenset()


@pytest.mark.parametrize("count", [1, 3, 12], ids=["one unit", "few groups", "many groups"])
def test_each_node_is_told_of_its_units(count: int) -> None:
    chance = Random(count)
    labels = [f"l{number}" for number in range(count)]
    of = {
        f"node-{number}": [label for label in labels if chance.random() < 0.5]
        for number in range(500)
    }
    policy = ack_policy(
        *({"resource": "ecs", "nodeSelector": {label: "1"}, "max": 0} for label in labels)
    )
    titles = dict(zip(labels, (unit.title for unit in policy.units), strict=True))
    scheduler = cache_with(policy)
    for name, own in of.items():
        scheduler.cluster.put_node(node(name, (), **dict.fromkeys(own, "1")))
    waiting = pod("one", version=2)
    scheduler.cluster.put_pod(waiting)
    answer = scheduler.place(waiting, [*of, "unknown"])
    assert isinstance(answer, Rejected)
    for name, own in of.items():
        parts = [f"{titles[label]} is at its max of 0" for label in own[:4]]
        more = ["other units"] if len(own) > 4 else []
        told = " and ".join([*parts, *more])
        assert answer.reasons[name] == (
            told or "node(s) belong to no unit of ResourcePolicy policy"
        ), own
    assert answer.reasons["unknown"] == "node(s) not known to Spillover yet"


# --- parsed once --------------------------------------------------------------------------------


def written(generation: int, most: int) -> dict[str, Any]:
    made = raw("policy", {"selector": {}, "units": [{"resource": "eci", "max": most}]})
    made["metadata"]["generation"] = generation
    return made


def test_a_generation_is_parsed_once() -> None:
    known: dict[PolicyKey, LoadedPolicy] = {}
    first = load_unless_known(written(1, 1), ack.GROUP, known.get)
    assert isinstance(first, Policy)
    known[first.key] = first
    again = {**written(1, 1), "status": {"pods": 3}}
    assert load_unless_known(again, ack.GROUP, known.get) is first
    broken = written(7, -1)
    invalid = load_unless_known(broken, ack.GROUP, known.get)
    assert isinstance(invalid, InvalidPolicy)
    assert load_unless_known(broken, ack.GROUP, {invalid.key: invalid}.get) is invalid
    second = load_unless_known(written(2, 5), ack.GROUP, known.get)
    assert isinstance(second, Policy)
    assert second.units[0].max == 5
    other = written(1, 7)
    other["metadata"]["uid"] = "another"
    assert load_unless_known(other, ack.GROUP, known.get).uid == "another"


def test_what_stands_for_an_unreadable_object_is_not_kept() -> None:
    key = PolicyKey(ack.GROUP, "ns", "policy")
    stands = InvalidPolicy(key, "policy", "", {}, (), generation=1, is_unread=True)
    found = load_unless_known(written(1, 1), ack.GROUP, {key: stands}.get)
    assert isinstance(found, Policy)


@pytest.mark.parametrize("name", ["node-1", 'a"b', "a\\b", "a\nb", "ä", ""])
def test_reasons_are_written_as_json(name: str) -> None:
    reasons = Reasons([('is "full"', {name}), ("other", frozenset({"node-2", "node-3"}))])
    expected = {name: 'is "full"', "node-2": "other", "node-3": "other"}
    assert json.loads(reasons.encoded) == expected == dict(reasons)
    assert reasons.causes == {'is "full"', "other"}
    assert json.loads(Reasons([]).encoded) == {}
