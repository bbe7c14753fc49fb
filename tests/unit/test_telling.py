"""How often people are told, and in which words."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from builders import ack_policy, leading, node, pod, virtual
from spillover.controller.objects import of_pod, of_policy
from spillover.controller.rate_limiter import RateLimiter
from spillover.controller.recorder import (
    BURST,
    NAMESPACE_BURST,
    NAMESPACE_PER_SECOND,
    PER_SECOND,
    REPEAT_SECONDS,
    Recorder,
)
from spillover.controller.statuses import Statuses
from spillover.controller.unit_series import UnitSeries
from spillover.core.cache.cluster import ClusterCache
from spillover.core.model.conventions import NodeConventions
from spillover.core.reporting.decision_events import DecisionEvent, Reason
from spillover.core.reporting.status import as_wire, fill, report
from spillover.core.scheduler import Scheduler
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiSession

NOW = "2026-01-01T00:00:00Z"
WAITS = DecisionEvent(Reason.WAITING_FOR_UNIT, "waits for ecs")


@dataclass
class Clock:
    now: float = 0.0
    outcomes: list[str] = field(default_factory=list)

    def recorder(self) -> Recorder:
        return Recorder(
            ApiSession(Credentials()), self.outcomes.append, lambda: self.now,
            lambda: datetime.now(UTC), Random(1),
        )  # fmt: skip


def test_the_same_is_told_once_an_hour() -> None:
    clock = Clock()
    recorder = clock.recorder()
    about = of_pod(pod("one"))
    for _ in range(3):
        recorder.record(about, WAITS)
    recorder.record(about, DecisionEvent(Reason.WAITING_FOR_UNIT, "waits for eci"))
    recorder.record(of_pod(pod("two")), WAITS)
    assert len(recorder) == 3
    clock.now = REPEAT_SECONDS + 1
    recorder.record(about, WAITS)
    assert len(recorder) == 4
    assert clock.outcomes == []


def test_a_crowd_of_pods_does_not_silence_policies() -> None:
    clock = Clock()
    recorder = clock.recorder()
    for number in range(BURST + 5):
        recorder.record(of_pod(pod(f"pod-{number}", namespace=f"n-{number % 10}")), WAITS)
    assert clock.outcomes == ["dropped"] * 5
    recorder.record(of_policy(ack_policy({"resource": "ecs"})), WAITS)
    assert len(recorder) == BURST + 1
    clock.now = 2 / PER_SECOND
    for number in range(3):  # what was dropped is told when it happens again
        recorder.record(of_pod(pod(f"pod-{BURST + number}", namespace="other")), WAITS)
    assert (len(recorder), len(clock.outcomes)) == (BURST + 3, 6)


def test_a_namespace_does_not_silence_the_others() -> None:
    clock = Clock()
    recorder = clock.recorder()
    for number in range(NAMESPACE_BURST + 9):
        recorder.record(of_pod(pod(f"pod-{number}", namespace="loud")), WAITS)
    assert clock.outcomes == ["dropped"] * 9
    recorder.record(of_pod(pod("one", namespace="quiet")), WAITS)
    assert len(recorder) == NAMESPACE_BURST + 1
    clock.now = 1 / NAMESPACE_PER_SECOND
    recorder.record(of_pod(pod("later", namespace="loud")), WAITS)
    assert len(recorder) == NAMESPACE_BURST + 2


def test_pace_once_a_second_and_longer_after_failures() -> None:
    clock = Clock()
    pace: RateLimiter[str] = RateLimiter(1.0, lambda: clock.now, Random(1))
    assert pace.allows("a")
    pace.begin("a")
    clock.now = 5.0
    assert not pace.allows("a")  # still under way
    assert pace.allows("b")
    pace.wrote("a", 1)
    assert not pace.allows("a")
    clock.now = 6.0
    assert pace.allows("a")
    assert rests(pace, clock, lambda: pace.failed("a"))
    pace.wrote("a", 3, seconds=4.0)  # a dear one
    clock.now += 3.0
    assert not pace.allows("a")
    pace.hurry("a")
    assert pace.allows("a")
    pace.wrote("a", 4, seconds=4.0)
    pace.hurry("a")
    assert not pace.allows("a")  # once a second all the same
    clock.now += 1.0
    assert pace.allows("a")
    pace.begin("a")
    pace.hurry("a")
    pace.wrote("a", 5, seconds=4.0)  # hurried while it was under way
    clock.now += 1.0
    assert pace.allows("a")
    # Written again and again: something takes it back.
    pace.wrote("a", 2)
    assert rests(pace, clock, lambda: pace.wrote("a", 2))
    pace.failed("a")
    pace.hurry("a")
    assert not pace.allows("a")  # what fails is not hurried
    pace.begin("a")
    assert pace.reset() == {"a"}


def rests(pace: RateLimiter[str], clock: Clock, end: Callable[[], None]) -> bool:
    """Longer each time."""
    found = []
    for _ in range(4):
        pace.begin("a")
        end()
        begun = clock.now
        while not pace.allows("a"):
            clock.now += 0.1
        found.append(clock.now - begun)
    return found[0] < found[1] < found[3]


def cache(*units: dict[str, Any], **spec: Any) -> ClusterCache:
    made = ClusterCache(NodeConventions(), lambda: 0.0, lambda: 0.0, lambda: 0.5)
    leading(Scheduler(made))
    made.put_node(node("real"))
    made.put_node(virtual("vk"))
    made.put_policy(ack_policy(*units, **spec))
    return made


def of(made: ClusterCache) -> Any:
    (policy,) = made.policies.all()
    return report(made, policy)


def test_what_a_status_says() -> None:
    made = cache({"resource": "eci", "max": 2, "maxResources": {"cpu": "4"}}, {"resource": "ecs"})
    requests = (("cpu", 1500),)
    made.put_pod(pod("a", node="vk", ready=True, started=True, requests=requests))
    made.put_pod(pod("b", node="vk", requests=requests))
    made.put_pod(pod("c", node="vk", terminating=True, requests=requests))
    made.put_pod(pod("d", node="nobody-knows"))
    made.put_pod(pod("e"))
    made.put_pod(pod("f", node="vk", finished=True))
    status = as_wire(of(made), {}, NOW)
    conditions = {each["type"]: each for each in status.pop("conditions")}
    assert status == {
        "observedGeneration": 0, "strategy": "prefer", "unitCount": 2,
        "pods": 4, "unscheduled": 1, "pending": 3, "ready": 1, "terminating": 1, "outside": 1,
        "fill": "2/2 eci (3/4 cpu), 0/∞ ecs",
        "units": [
            {"name": "eci", "assigned": 2, "pending": 1, "ready": 1, "terminating": 1, "used": 2,
             "max": 2, "free": 0, "maxResources": {"cpu": "4"}, "usedResources": {"cpu": "3"}},
            {"name": "ecs", "assigned": 0, "pending": 0, "ready": 0, "terminating": 0, "used": 0},
        ],
    }  # fmt: skip
    assert {name: each["status"] for name, each in conditions.items()} == {
        "Ready": "True", "Invalid": "False", "Conflict": "False", "OwnDeletionCost": "False",
        "EditsWait": "False", "BindingRefused": "False", "Crowded": "False",
        "LabelsKept": "False", "PodsNotRouted": "False",
    }  # fmt: skip


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    made = cache({"resource": "eci"})
    before = as_wire(of(made), {}, NOW)
    later = "2026-01-01T00:01:00Z"
    assert as_wire(of(made), before, later) == before
    made.put_pod(
        pod("own", node="vk", annotations={"controller.kubernetes.io/pod-deletion-cost": "1"})
    )
    after = {each["type"]: each for each in as_wire(of(made), before, later)["conditions"]}
    assert after["OwnDeletionCost"]["lastTransitionTime"] == later
    assert "own" in after["OwnDeletionCost"]["message"]
    assert after["Ready"]["lastTransitionTime"] == NOW


def test_groups_have_a_max_each_and_no_free() -> None:
    made = cache({"resource": "eci", "max": 2}, matchLabelKeys=["hash"])
    for uid, group in (("a", "x"), ("b", "x"), ("c", "x"), ("d", "y")):
        made.put_pod(pod(uid, node="vk", labels={"app": "app", "hash": group}))
    found = of(made)
    assert (found.units[0].used, found.units[0].over) == (4, 1)
    assert "free" not in as_wire(found, {}, NOW)["units"][0]
    assert fill(found) == "4 eci (at most 2 in each group, 2 groups)"


def test_a_status_is_written_when_it_says_something_else() -> None:
    made = cache({"resource": "eci"})
    statuses = Statuses(ApiSession(Credentials()), lambda: datetime(2026, 1, 1, tzinfo=UTC))
    key = of(made).policy.key
    first = statuses.wanted(of(made))
    assert first is not None
    others = {"type": "Audited", "status": "True"}
    there = {**first, "conditions": [others, *first["conditions"]], "more": 1}
    assert statuses.see(key, 5, there)
    assert statuses.wanted(of(made)) is None
    assert not statuses.see(key, 4, {})  # older news
    assert statuses.wanted(of(made)) is None
    assert statuses.see(key, 6, {**there, "pods": 9})
    assert statuses.wanted(of(made)) is not None


@pytest.mark.parametrize("leads", [True, False])
def test_series_are_told_by_the_leader_alone(*, leads: bool) -> None:
    made = cache({"resource": "eci", "max": 1}, name='"quoted"\\')
    for uid in "ab":
        made.put_pod(pod(uid, node="vk"))
    series = UnitSeries(lambda: leads)
    series.put(of(made))
    text = series.text().decode()
    if not leads:
        assert text == ""
        return
    labels = r'namespace="ns",policy="\"quoted\"\\",dialect="ack",unit="eci"'
    assert f'spillover_unit_pods{{{labels},state="assigned"}} 2\n' in text
    assert f"spillover_unit_over_max{{{labels}}} 1\n" in text
    series.drop(of(made).policy.key)
    assert "eci" not in series.text().decode()
