"""Agents in the mode report: the hub shows what the members' API servers say."""

import json
import time
from collections.abc import Iterator

import pytest

from federation.agents import agents
from federation.fleet import (
    MEMBERS,
    NAMESPACE,
    WORKLOAD,
    Fleet,
    Running,
    override,
    propagation,
    workload,
)
from federation.states import until
from harness.client import Object
from harness.containers import Container
from harness.explaining import spillover
from harness.watch import Watch, is_live, node_of, scheduled_condition

EVENT_SECONDS = 4
_PREFIXES = ("prepaid-", "virtual-", "postpaid-")
_STEPS = (
    (10, 2, "2/2/0 2/2/0 2/0/0"),
    (20, 2, "2/2/2+2 2/2/2+2 2/2/4"),
    (20, 4, "2/4/2 2/4/2 2/2/0"),
)


@pytest.fixture(scope="module")
def reporting(members_and_hub: Fleet) -> Iterator[dict[str, Container]]:
    with agents(members_and_hub, "report", f"--event-after-seconds={EVENT_SECONDS}") as found:
        yield found


@pytest.mark.timeout(600)
def test_the_hub_shows_each_step(
    members_and_hub: Fleet, reporting: dict[str, Container], pods: dict[str, Watch]
) -> None:
    fleet = members_and_hub
    assert set(reporting) == set(MEMBERS)
    fleet.set_virtual_max(2, *MEMBERS)
    fleet.hub.apply(propagation("reported"), override("annotations"))
    fleet.hub.apply(workload(10, "reported", "annotations"))
    with Running(fleet):
        for replicas, most, state in _STEPS:
            fleet.set_virtual_max(most, *MEMBERS[:2])
            fleet.scale(replicas)
            until(pods, state, 60, state)
            deadline = time.monotonic() + 10
            while (shown := rows(fleet)) != (there := counted(pods)):
                assert time.monotonic() < deadline, (shown, there)
                time.sleep(0.2)
            if "+" in state:
                check_reasons(fleet)
        check_event(fleet, pods)


def rows(fleet: Fleet) -> dict[str, list[int]]:
    """Pods by unit and unschedulable pods of each member, as `spillover federation status` tells
    them."""
    return {
        row["member"]: [*(pods for _, pods in row["units"]), row["unschedulable"]]
        for row in status(fleet)
    }


def status(fleet: Fleet) -> list[Object]:
    text = spillover(fleet.hub, "federation", "status", "-o", "json")
    found: list[Object] = json.loads(text)
    return found


def counted(pods: dict[str, Watch]) -> dict[str, list[int]]:
    """The same, as the members' API servers tell them."""
    found = {}
    for member, watch in pods.items():
        live = list(filter(is_live, watch.objects.values()))
        stuck = [pod for pod in live if scheduled_condition(pod).get("reason") == "Unschedulable"]
        found[member] = [
            *(sum(node_of(pod).startswith(prefix) for pod in live) for prefix in _PREFIXES),
            len(stuck),
        ]
    return found


def check_reasons(fleet: Fleet) -> None:
    for row in status(fleet):
        if row["unschedulable"]:
            assert "eci is at its max of 2" in row["next"], row
            assert "ack-poc" in row["next"], row
    table = spillover(fleet.hub, "federation", "status")
    assert table.split()[:3] == ["WORKLOAD", "MEMBER", "REPLICAS"]
    assert "2 since " in table


def check_event(fleet: Fleet, pods: dict[str, Watch]) -> None:
    """Its first pods were unschedulable for the time of the threshold, and not for much longer."""
    fleet.scale(10)
    fleet.set_virtual_max(2, *MEMBERS)
    fleet.hub.kubectl("delete", "events", "--all", "-n", NAMESPACE)
    fleet.scale(20)
    fleet.hub.wait("pods that wait", lambda: stuck(pods) == 4, 15)
    begun = time.monotonic()
    fleet.hub.wait("events", lambda: len(events(fleet)) >= 2, EVENT_SECONDS + 15)
    assert time.monotonic() - begun < EVENT_SECONDS + 5
    for member in MEMBERS[:2]:
        (event,) = (each for each in events(fleet) if each["note"].startswith(f"{member}:"))
        _, lasts, why = event["note"].split(": ", 2)
        count, seconds = lasts.split(" pods are unschedulable for ")
        assert count == "2"
        assert EVENT_SECONDS <= int(seconds.removesuffix("s")) <= EVENT_SECONDS + 5
        assert "eci is at its max of 2" in why
        assert event["regarding"]["name"] == WORKLOAD


def stuck(pods: dict[str, Watch]) -> int:
    return sum(found[-1] for found in counted(pods).values())


def events(fleet: Fleet) -> list[Object]:
    return [
        each
        for each in fleet.hub.items("events.events.k8s.io", "-n", NAMESPACE)
        if each.get("reason") == "UnschedulableInMember"
    ]
