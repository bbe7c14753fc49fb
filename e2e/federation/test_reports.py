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
from federation.tables import PRIORITIES, WEIGHTS, Table
from harness.client import Object
from harness.containers import Container
from harness.explaining import spillover
from harness.watch import Watch, is_live, node_of, scheduled_condition

EVENT_SECONDS = 4
_PREFIXES = ("prepaid-", "virtual-", "postpaid-")


@pytest.fixture(scope="module")
def reporting(members_and_hub: Fleet) -> Iterator[dict[str, Container]]:
    with agents(members_and_hub, "report", f"--event-after-seconds={EVENT_SECONDS}") as found:
        yield found


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("packs", "table"), [(False, WEIGHTS), (True, PRIORITIES)], ids=["weights", "priorities"]
)
def test_the_hub_shows_each_step(
    members_and_hub: Fleet,
    reporting: dict[str, Container],
    pods: dict[str, Watch],
    packs: bool,
    table: Table,
) -> None:
    fleet = members_and_hub
    assert set(reporting) == set(MEMBERS)
    fleet.set_virtual_max(2, *MEMBERS)
    fleet.hub.apply(propagation("reported", packs=packs), override("annotations"))
    fleet.hub.apply(workload(table[0][1], "reported", "annotations"))
    with Running(fleet):
        for step, replicas, most, states in table:
            fleet.set_virtual_max(most, *MEMBERS[:2])
            fleet.scale(replicas)
            until(pods, states[-1], 60, step)
            deadline = time.monotonic() + 10
            while (shown := rows(fleet)) != (there := counted(pods)):
                assert time.monotonic() < deadline, (step, shown, there)
                time.sleep(0.2)
            if "+" in states[-1]:
                check_reasons(fleet, most)
        if not packs:
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


def check_reasons(fleet: Fleet, most: int) -> None:
    for row in status(fleet):
        if row["unschedulable"]:
            assert f"eci is at its max of {most}" in row["next"], row
            assert "ack-poc" in row["next"], row
    table = spillover(fleet.hub, "federation", "status")
    assert table.split()[:3] == ["WORKLOAD", "MEMBER", "REPLICAS"]
    assert " since " in table


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
