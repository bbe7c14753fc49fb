"""The agent's parts without I/O: who lives, reports on the wire, templates, the fleet's table."""

import json
from typing import Any

import pytest

from spillover.federation.agent.leases import AgentLease, Leases, agent_lease
from spillover.federation.deployments import deployed
from spillover.federation.fleet_table import fleet_rows
from spillover.federation.member import UnitState, WorkloadState
from spillover.federation.memberreport import MemberReport, as_wire, from_wire
from spillover.kube.reading import Unreadable, readable

DEAD = 60.0


def lease(version: int, holder: str = "host_1", member: str = "a") -> AgentLease:
    return AgentLease(member, holder, version)


def test_an_agent_lives_while_its_lease_is_seen_to_change() -> None:
    leases = Leases()
    leases.see(lease(1), 100.0)
    assert leases.alive(114.9, in_touch_since=0.0) == {"a"}
    assert leases.alive(115.0, in_touch_since=0.0) == frozenset()
    leases.see(lease(1), 115.0)  # listed again, and not renewed
    assert leases.alive(115.0, in_touch_since=0.0) == frozenset()
    leases.see(lease(2), 116.0)
    assert leases.alive(116.0, in_touch_since=0.0) == {"a"}


def test_a_released_lease_is_no_sign_of_life() -> None:
    leases = Leases()
    leases.see(lease(1, holder=""), 100.0)
    assert leases.alive(100.0, in_touch_since=0.0) == frozenset()
    assert leases.dead(100.0, 0.0, DEAD) == frozenset()
    assert leases.dead(160.0, 0.0, DEAD) == {"a"}


def test_time_without_contact_to_the_hub_does_not_count() -> None:
    leases = Leases()
    leases.see(lease(1), 100.0)
    assert leases.dead(500.0, in_touch_since=0.0, seconds=DEAD) == {"a"}
    assert leases.dead(500.0, in_touch_since=499.0, seconds=DEAD) == frozenset()
    assert leases.alive(500.0, in_touch_since=499.0) == {"a"}


@pytest.mark.parametrize("minutes", [-60, 0, 60])
def test_the_clock_of_another_agent_is_no_matter(minutes: int) -> None:
    """Only the version of the Lease is read of it."""
    leases = Leases()
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
    assert leases.alive(110.0, in_touch_since=0.0) == {"a"}


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
    body = {"metadata": {"name": "a"}, "status": as_wire(states, "old")}
    assert from_wire(json.dumps(body).encode()) == MemberReport("a", tuple(states), "old")


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
    reports = [MemberReport(member, (each,)) for member, each in states.items()]
    found = fleet_rows({"ns/app": 20}, {"ns/app": {"a": 6}}, {"ns/app": ("a", "b")}, reports)
    return {row.member: row.next for row in found}


def test_the_table_says_what_moves_next_and_why() -> None:
    has_room = state(waiting=0, unschedulable=0, room=4, reasons=(), bounded=False)
    assert rows(a=state(), b=has_room) == {
        "a": "2 pods can move to b: eci is at its max of 2",
        "b": "4 replicas are placed nowhere yet",
    }
    full = state(waiting=0, unschedulable=0, replicas=12)
    assert rows(a=state(), b=full)["a"] == "2 pods wait, no member has room: eci is at its max of 2"
    home = state(replicas=6, waiting=0, unschedulable=0, room=2)
    assert rows(a=home, b=full)["a"] == "the limit rises, and 2 pods can come here"
    assert rows(a=state(failing=True), b=full)["a"].startswith("its scheduler does not decide")
