"""The agent's parts without I/O: who lives, reports on the wire, templates, the fleet's table."""

import json
from typing import Any

import pytest

from builders import pod
from spillover.core.model.pods import Pod
from spillover.federation.agent.leases import AgentLease, Leases, agent_lease
from spillover.federation.agent.scheduler_watch import SchedulerWatch
from spillover.federation.deployments import deployed
from spillover.federation.fleet_table import fleet_rows
from spillover.federation.member import UnitState, WorkloadState
from spillover.federation.memberreport import MemberReport, as_wire, from_wire
from spillover.kube.reading import Unreadable, readable

DEAD = 60.0


def lease(version: int, holder: str = "host_1", member: str = "a") -> AgentLease:
    return AgentLease(member, holder, version)


def seen(until: int) -> Leases:
    """Our own Lease is renewed every five seconds, up to a time."""
    leases = Leases("own")
    for second in range(0, until + 1, 5):
        leases.see(lease(second, member="own"), float(second))
    return leases


def test_an_agent_lives_while_its_lease_is_seen_to_change() -> None:
    leases = seen(200)
    leases.see(lease(1), 100.0)
    assert leases.alive(114.9) == {"a", "own"}
    leases.see(lease(1), 115.0)  # listed again, and not renewed
    assert leases.alive(115.0) == {"own"}
    leases.see(lease(2), 116.0)
    assert leases.alive(116.0) == {"a", "own"}


def test_a_released_lease_is_no_sign_of_life() -> None:
    leases = seen(200)
    leases.see(lease(1, holder=""), 100.0)
    assert leases.alive(100.0) == {"own"}
    assert leases.dead(100.0, DEAD) == frozenset()
    assert leases.dead(160.0, DEAD) == {"a"}


def test_nobody_dies_while_our_own_renewals_are_not_seen() -> None:
    """The hub is away, or the watch is slow."""
    leases = seen(100)
    leases.see(lease(1), 100.0)
    assert leases.dead(500.0, DEAD) == frozenset()
    leases.see(lease(1000, member="own"), 500.0)
    assert leases.dead(505.0, DEAD) == frozenset()
    assert leases.alive(505.0) == {"a", "own"}
    for second in range(505, 565, 5):
        leases.see(lease(second, member="own"), float(second))
    assert leases.dead(560.0, DEAD) == {"a"}


@pytest.mark.parametrize("minutes", [-60, 0, 60])
def test_the_clock_of_another_agent_is_no_matter(minutes: int) -> None:
    """Only the version of the Lease is read of it."""
    leases = seen(200)
    for version in (1, 2):
        raw = json.dumps(
            {
                "metadata": {"name": "spillover-agent-a", "resourceVersion": str(version)},
                "spec": {
                    "holderIdentity": "host_1",
                    "renewTime": f"2026-01-01T{12 + minutes // 60:02}:00:0{version}.000000Z",
                },
            }
        ).encode()
        leases.see(agent_lease(raw), 100.0 + version)
    assert leases.alive(110.0) == {"a", "own"}


def state(**fields: Any) -> WorkloadState:
    defaults: dict[str, Any] = {
        "policy": "group/p", "replicas": 8, "bound": 6, "waiting": 2, "unschedulable": 2,
        "room": 0, "bounded": True, "unschedulable_since": "2026-01-01T00:00:00Z",
        "waits_until": 1_800_000_000.0, "reasons": ("eci is at its max of 2",),
        "units": (UnitState("prepaid", 2, None), UnitState("eci", 2, 0)),
    }  # fmt: skip
    return WorkloadState(namespace="ns", name="app", **{**defaults, **fields})


def test_a_report_comes_back_as_it_was_written() -> None:
    states = [state(), state(waits_until=None, unschedulable_since="", reasons=(), units=())]
    for each in states:
        body = {"metadata": {"name": "a"}, "status": as_wire([each], "old")}
        found = from_wire(json.dumps(body).encode())
        assert found == MemberReport("a", {"ns/app": each}, "old")


def test_a_report_has_as_much_as_fits() -> None:
    long = state(units=tuple(UnitState("u" * 200, 0, None) for _ in range(100)))
    status = as_wire([long] * 100, "")
    assert 10 < len(status["workloads"]) < 60
    assert status["leftOut"] == 100 - len(status["workloads"])
    assert len(json.dumps(status)) < 1_500_000


def template(**spec: Any) -> bytes:
    pod = {"containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": "2"}}}]}
    return json.dumps(
        {
            "metadata": {"name": "app", "namespace": "ns", "uid": "u", "resourceVersion": "1"},
            "spec": {
                "replicas": 3,
                "template": {"metadata": {"labels": {"app": "app"}}, "spec": {**pod, **spec}},
            },
        }
    ).encode()


def test_a_template_makes_a_pod_that_requests_its_limits() -> None:
    found = deployed(template(nodeName="taken"))
    assert found.shape.pod.requests == (("nvidia.com/gpu", 2),)
    assert (found.shape.pod.node, found.replicas) == ("", 3)


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1e0003x"}}}]},
        {"containers": [{"name": "c", "resources": None}, 7]},
        {"containers": 7},
        {"tolerations": {"key": 1}},
        {"affinity": {"nodeAffinity": 7}},
    ],
)
def test_an_odd_template_is_unreadable_and_nothing_else(spec: dict[str, Any]) -> None:
    assert isinstance(readable(template(**spec), deployed), Unreadable)


def rows(**states: WorkloadState) -> dict[str, str]:
    reports = [MemberReport(member, {each.key: each}) for member, each in states.items()]
    order = {"ns/app": ("a", "b", "c")}
    silent = {"b": "no agent since 2026"} if "dead" in states else {}
    found = fleet_rows({"ns/app": 20}, {"ns/app": {"a": 6}}, order, reports, silent)
    return {row.member: row.next for row in found if row.member != "dead"}


def test_the_table_says_what_moves_next_and_why() -> None:
    has_room = state(
        waiting=0, unschedulable=0, room=4, reasons=(), bounded=False, waits_until=None
    )
    assert rows(a=state(waits_until=None), b=has_room) == {
        "a": "2 pods can move to b: eci is at its max of 2",
        "b": "4 replicas are placed nowhere yet",
        "c": "the member's report has nothing of this workload, or there is no report",
    }
    assert rows(a=state(), b=has_room, dead=has_room)["b"].startswith("the counts may be old")
    full = state(waiting=0, unschedulable=0, replicas=12, waits_until=None)
    assert rows(a=state(), b=full)["a"] == "2 pods wait, no member has room: eci is at its max of 2"
    home = state(replicas=6, waiting=0, unschedulable=0, room=2, waits_until=None)
    assert rows(a=home, b=full)["a"] == "2 more pods can run here: the agent raises the limit"
    assert rows(a=state(failing=True), b=full)["a"].startswith("its scheduler does not work")


def waiting(uid: str, refusal: str = "", **fields: Any) -> Pod:
    return pod(uid, refusal=refusal, **fields)


def placed(uid: str, since: str) -> Pod:
    return pod(uid, node="a", since=since)


class Watched:
    """A scheduler that is watched. Every pod is of a federated workload."""

    def __init__(self) -> None:
        self.now = 0.0
        self._watch = SchedulerWatch(60.0, lambda: self.now)

    def is_failing(self, now: float, *pods: Pod) -> bool:
        self.now = now
        return self._watch.look(pods, {each.uid for each in pods})

    def is_on_trial(self) -> bool:
        return self._watch.is_on_trial()


OLD = placed("old", "2026-01-01T00:00:00Z")


def test_a_scheduler_that_answers_nobody_is_failing_and_comes_back_on_trial() -> None:
    scheduler, stuck, again = Watched(), waiting("stuck", "SchedulerError: x"), waiting("again")
    assert not scheduler.is_failing(0.0, OLD, stuck)
    assert scheduler.is_failing(10.0, OLD, stuck)
    assert scheduler.is_failing(69.0, OLD), "its pods have moved away, and it may still be down"
    assert not scheduler.is_failing(70.0, OLD)
    assert scheduler.is_on_trial()
    assert not scheduler.is_failing(71.0, OLD, again)
    assert scheduler.is_failing(81.0, OLD, again)
    assert scheduler.is_failing(200.0, OLD), "twice as long"
    assert not scheduler.is_failing(200.5, OLD, placed("new", "2026-01-01T00:03:00Z"))
    assert not scheduler.is_on_trial()


def test_a_scheduler_that_ends_in_the_middle_of_a_burst_is_failing() -> None:
    scheduler, left = Watched(), [waiting(f"left-{number}") for number in range(4)]
    assert not scheduler.is_failing(0.0, OLD, waiting("first"), *left)
    assert not scheduler.is_failing(1.0, OLD, placed("first", "2026-01-01T00:00:01Z"), *left)
    assert scheduler.is_failing(11.0, OLD, placed("first", "2026-01-01T00:00:01Z"), *left)


@pytest.mark.parametrize("year", [2025, 2027])
def test_a_busy_scheduler_is_not_failing_whatever_its_clock_says(year: int) -> None:
    scheduler, queue = Watched(), [waiting(f"pod-{number}") for number in range(100)]
    assert not scheduler.is_failing(0.0, OLD, *queue)
    for second in range(60):
        answered = placed(f"done-{second}", f"{year}-01-01T00:00:00Z")
        assert not scheduler.is_failing(float(second), OLD, answered, *queue)


def test_pods_that_have_a_reason_to_wait_are_no_sign() -> None:
    scheduler = Watched()
    for second in range(0, 60, 5):
        slow, gated = waiting("slow", slow_to_bind=True), waiting("gated", has_crowd_gate=True)
        assert not scheduler.is_failing(float(second), OLD, slow, gated)
