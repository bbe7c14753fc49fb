"""Agents in the mode limit: replicas go where there is room at once, and come home in steps."""

import json
from collections.abc import Callable, Iterator
from signal import SIGCONT, SIGSTOP

import pytest

from federation import objects
from federation.agents import REST_SECONDS
from federation.fleet import (
    ACK1,
    MEMBERS,
    NAMESPACE,
    VKE1,
    VKE2,
    Fleet,
    Running,
    override,
    propagation,
    workload,
)
from federation.states import until
from harness.cluster import AGENTS
from harness.containers import Container, extender
from harness.scenes import node
from harness.watch import Watch, is_live, node_of

SECONDS = 5.0
FULL = "2/2/2 2/2/2 2/2/4"


@pytest.fixture
def scene(
    members_and_hub: Fleet, limiting: dict[str, Container], pods: dict[str, Watch]
) -> Iterator[Callable[..., None]]:
    """Starts the workload with 10 replicas, and returns when the limits are in force."""
    fleet = members_and_hub
    assert set(limiting) == set(MEMBERS)
    fleet.set_virtual_max(2, *MEMBERS)
    with Running(fleet):

        def start(*, packs: bool = False, state: str = "2/2/0 2/2/0 2/0/0") -> None:
            fleet.hub.apply(
                propagation("limited", threshold="2m", packs=packs), override("annotations")
            )
            fleet.hub.apply(workload(10, "limited", "annotations"))
            until(pods, state, 30, "10 replicas")
            limits(fleet, {VKE1: 6, VKE2: 6})

        yield start


def limits(fleet: Fleet, wanted: dict[str, int], seconds: float = 15) -> None:
    """Waits until the engine has taken these limits over."""

    def applied() -> bool:
        found = fleet.hub.items("deployments", "-n", NAMESPACE)
        return any(objects.limits_of(each) == wanted and acknowledged(each) for each in found)

    def acknowledged(source: objects.Object) -> bool:
        text = objects.annotations(source).get(objects.APPLIED_MIGRATION, "{}")
        return bool(json.loads(text).get("limitedCapacity", {}) == wanted)

    fleet.hub.wait(f"limits {wanted}", applied, seconds)


@pytest.mark.timeout(600)
def test_replicas_go_where_there_is_room_at_once(
    members_and_hub: Fleet, pods: dict[str, Watch], scene: Callable[..., None]
) -> None:
    scene()
    begun = {name: len(watch.events) for name, watch in pods.items()}
    members_and_hub.scale(20)
    until(pods, FULL, SECONDS, "20 replicas")
    for (name, watch), most in zip(pods.items(), (6, 6, 8), strict=True):
        assert most_live(watch, begun[name]) <= most, name


@pytest.mark.timeout(600)
def test_with_priorities_too(
    members_and_hub: Fleet, pods: dict[str, Watch], scene: Callable[..., None]
) -> None:
    scene(packs=True, state="2/2/2 2/0/0 2/0/0")
    members_and_hub.scale(14)
    until(pods, "2/2/2 2/2/2 2/0/0", SECONDS, "14 replicas")
    members_and_hub.scale(20)
    until(pods, FULL, SECONDS, "20 replicas")


@pytest.mark.timeout(600)
def test_running_pods_come_home_one_at_a_time(
    members_and_hub: Fleet, pods: dict[str, Watch], scene: Callable[..., None]
) -> None:
    scene()
    members_and_hub.scale(20)
    until(pods, FULL, SECONDS, "20 replicas")
    begun = {name: len(watch.events) for name, watch in pods.items()}
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
    with Watch(members_and_hub.hub, path) as sources:
        members_and_hub.set_virtual_max(4, VKE1, VKE2)
        until(pods, "2/4/2 2/4/2 2/2/0", 30, "the maximum is 4")
    for name in (VKE1, VKE2):
        assert most_unbound(pods[name], begun[name]) <= 1, name
    placements = [
        json.loads(text)["placement"]
        for _, each in sources.events
        if (text := objects.annotations(each).get(objects.SCHEDULING))
    ]
    assert {sum(placement.values()) for placement in placements} == {20}


@pytest.mark.timeout(600)
def test_a_cluster_whose_extender_does_not_answer_is_left(
    members_and_hub: Fleet, pods: dict[str, Watch], scene: Callable[..., None]
) -> None:
    scene()
    stopped = extender(members_and_hub.members[VKE1])
    stopped.send(SIGSTOP)
    try:
        members_and_hub.scale(15)
        until(pods, "2/2/0 2/2/2 2/2/1", 60, "the extender is stopped")
        for watch in pods.values():
            watch.wait_quiet(REST_SECONDS / 2, REST_SECONDS)
    finally:
        stopped.send(SIGCONT)
    stopped.wait_ready()
    limits(members_and_hub, {VKE1: 6, VKE2: 6}, 2 * REST_SECONDS + 30)
    until(pods, "2/2/2 2/2/2 2/1/0", 60, "the extender is back")


@pytest.mark.timeout(600)
def test_nodes_on_their_way_are_waited_for(
    members_and_hub: Fleet, pods: dict[str, Watch], scene: Callable[..., None], *, full: bool
) -> None:
    fleet, seconds = members_and_hub, 40 if full else 12
    slow = fleet.members[VKE1]
    names = ("postpaid-0", "postpaid-1")
    slow.kubectl("delete", "nodes", *names)
    try:
        scene()
        fleet.scale(15)
        until(pods, "2/2/0+2 2/2/2 2/1/0", 15, "15 replicas, nodes are on their way")
        pods[ACK1].wait_quiet(seconds, seconds + 20)
    finally:
        slow.add_nodes(*(node(name, labels={"pool": "postpaid"}) for name in names))
    until(pods, "2/2/2 2/2/2 2/1/0", 30, "the nodes are there")


@pytest.mark.timeout(600)
def test_an_idle_agent_writes_nothing_but_its_lease(
    members_and_hub: Fleet, scene: Callable[..., None]
) -> None:
    scene()
    fleet = members_and_hub
    begun = len(writes_of_agents(fleet))
    # What is on its way is written by then: two renewals of each agent, and then three more.
    fleet.hub.wait("renewals", lambda: len(writes_of_agents(fleet)) >= begun + 6, 60)
    before = len(writes_of_agents(fleet))
    fleet.hub.wait("renewals", lambda: len(writes_of_agents(fleet)) >= before + 9, 60)
    assert set(writes_of_agents(fleet)[before:]) == {("update", "leases")}


def writes_of_agents(fleet: Fleet) -> list[tuple[str, str]]:
    group = f"system:serviceaccounts:{AGENTS}"
    return [
        (each["verb"], each["objectRef"]["resource"])
        for each in fleet.hub.requests()
        if group in each["user"]["groups"] and each["verb"] not in ("get", "list", "watch")
    ]


def most_live(watch: Watch, begun: int) -> int:
    """The largest number of live pods at one time, since event number `begun`."""
    return _most(watch, begun, is_live)


def most_unbound(watch: Watch, begun: int) -> int:
    """Likewise of live pods without a node."""
    return _most(watch, begun, lambda pod: is_live(pod) and not node_of(pod))


def _most(watch: Watch, begun: int, counts: Callable[[objects.Object], bool]) -> int:
    there: dict[str, objects.Object] = {}
    most = 0
    for index, (kind, pod) in enumerate(list(watch.events)):
        uid = pod["metadata"]["uid"]
        if kind == "DELETED":
            there.pop(uid, None)
        else:
            there[uid] = pod
        if index >= begun:
            most = max(most, sum(map(counts, there.values())))
    return most
