"""Faults around agents that limit: no replica vanishes, and the annotation is always valid."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest

from federation import objects
from federation.agents import DEAD_SECONDS, hub_kubeconfig
from federation.fleet import (
    MEMBERS,
    NAMESPACE,
    VKE1,
    VKE2,
    WORKLOAD,
    Fleet,
    Running,
    override,
    propagation,
    workload,
)
from federation.states import until
from harness.client import Object
from harness.cluster import Cluster
from harness.containers import Container
from harness.explaining import spillover
from harness.watch import Watch
from spillover.federation.kubeadmiral import is_valid, limits_of

LIMITS = {VKE1: 6, VKE2: 6}
FIRST = 10
FULL = "2/2/2 2/2/2 2/2/4"
BY_HAND = '{"replicasMigrations":[{"cluster":"vke-poc1","limitedCapacity":3}]}'
INVALID = (
    "{",
    BY_HAND.replace("]", ',{"cluster":"vke-poc1","limitedCapacity":6}]'),
    '{"replicasMigrations":[{"cluster":"vke-poc2","limitedCapacity":-1}]}',
)


@pytest.fixture
def sources(
    members_and_hub: Fleet, limiting: dict[str, Container], pods: dict[str, Watch]
) -> Iterator[Watch]:
    """The hub's Deployment, with 20 replicas that have settled."""
    fleet = members_and_hub
    assert set(limiting) == set(MEMBERS)
    fleet.set_virtual_max(2, *MEMBERS)
    fleet.hub.apply(propagation("faults", threshold="2m"), override("annotations"))
    fleet.hub.apply(workload(FIRST, "faults", "annotations"))
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
    with Running(fleet), Watch(fleet.hub, path) as found:
        until(pods, "2/2/0 2/2/0 2/0/0", 30, "10 replicas")
        found.wait_for(has_limits, 15, "limits")
        fleet.scale(20)
        until(pods, FULL, 15, "20 replicas")
        yield found
        check(found)
        until(pods, FULL, 30, "20 replicas at the end")


def has_limits(found: list[Object]) -> bool:
    """The limits are in force, and the engine has taken them over."""
    return any(
        limits_of(objects.annotations(each).get(objects.MIGRATION)) == LIMITS
        and applied(each) == LIMITS
        for each in found
    )


def applied(source: Object) -> dict[str, int]:
    text = objects.annotations(source).get(objects.APPLIED_MIGRATION, "{}")
    found: dict[str, int] = json.loads(text).get("limitedCapacity", {})
    return found


def check(sources: Watch) -> None:
    """At every instant the annotation is valid, and no replica vanishes: the engine's placement has
    the replicas that are wanted, or those that were wanted before."""
    wanted = [FIRST]  # the watch may begin with the object as it is
    for kind, source in sources.events:
        text = objects.annotations(source).get(objects.MIGRATION)
        if kind == "DELETED":
            continue
        replicas = source["spec"]["replicas"]
        wanted = wanted if wanted[-1:] == [replicas] else [*wanted, replicas]
        placement = json.loads(objects.annotations(source).get(objects.SCHEDULING, "{}"))
        if placed := placement.get("placement"):
            assert sum(placed.values()) in wanted[-2:], (placed, wanted)
        if text not in INVALID:
            assert is_valid(text), text
            limits = limits_of(text)
            assert set(limits) != set(MEMBERS) or sum(limits.values()) >= replicas, text


def writes(sources: Watch, begun: int) -> int:
    """How often the limits have changed since event number `begun`."""
    texts = [
        objects.annotations(source).get(objects.MIGRATION) for _, source in sources.events[begun:]
    ]
    return sum(one != other for one, other in pairwise(texts))


@contextmanager
def away(cluster: Cluster) -> Iterator[None]:
    """The API server does not answer while the block runs."""
    servers = cluster.processes_of("kube-apiserver")
    for server in servers:
        os.kill(server, SIGSTOP)
    try:
        yield
    finally:
        for server in servers:
            os.kill(server, SIGCONT)


@pytest.mark.timeout(900)
def test_an_api_server_is_away(
    members_and_hub: Fleet, sources: Watch, pods: dict[str, Watch], *, full: bool
) -> None:
    begun = len(sources.events)
    with away(members_and_hub.members[VKE1]):
        time.sleep(60 if full else 10)
    until(pods, FULL, 30, "20 replicas, one member was away")
    with away(members_and_hub.hub):
        # Longer than a Lease: each agent sees no renewal of the others.
        time.sleep(300 if full else 25)
    # Longer than a Lease once more: nobody takes another for dead.
    members_and_hub.hub.wait("renewals", lambda: renewed_lately(members_and_hub), 30)
    sources.wait_quiet(20, 60)
    assert writes(sources, begun) == 0


def migration(sources: Watch) -> str:
    """The annotation as it is."""
    (source,) = sources.objects.values()
    return objects.annotations(source)[objects.MIGRATION]


def renewed_lately(fleet: Fleet) -> bool:
    leases = fleet.hub.items("leases", "-n", "spillover-agents")
    return all(each["spec"]["holderIdentity"] for each in leases) and len(leases) == len(MEMBERS)


@pytest.mark.timeout(900)
def test_an_agent_is_killed_at_any_time(
    members_and_hub: Fleet,
    limiting: dict[str, Container],
    sources: Watch,
    pods: dict[str, Watch],
    *,
    full: bool,
) -> None:
    chance = Random(1)
    for _ in range(20 if full else 4):
        member = chance.choice(MEMBERS)
        begun = len(sources.events)
        limiting[member].restart(SIGKILL)
        members_and_hub.scale(10)
        limiting[chance.choice(MEMBERS)].restart(SIGKILL)
        until(pods, "2/2/0 2/2/0 2/0/0", 30, f"10 replicas, {member} was killed")
        members_and_hub.scale(20)
        until(pods, FULL, 30, f"20 replicas, {member} was killed")
        assert writes(sources, begun) == 0, "a restart is no reason to change a limit"


@pytest.mark.timeout(600)
def test_a_second_agent_with_the_name_of_a_member_is_refused(
    members_and_hub: Fleet, sources: Watch, tmp_path: Path
) -> None:
    begun = len(sources.events)
    file = tmp_path / "hub.kubeconfig"
    file.write_text(hub_kubeconfig(members_and_hub, VKE1))
    ended = subprocess.run(
        [
            sys.executable, "-m", "spillover.cli", "federation", "agent", f"--member={VKE1}",
            "--mode=limit", f"--hub-kubeconfig={file}", "--health-port=0",
            f"--kubeconfig={members_and_hub.members[VKE1].kubeconfig}",
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert f"another agent runs with the name {VKE1}" in ended.stdout + ended.stderr
    assert writes(sources, begun) == 0


@pytest.mark.timeout(600)
def test_what_somebody_writes_by_hand_is_mended(
    members_and_hub: Fleet, sources: Watch, pods: dict[str, Watch]
) -> None:
    for text in (BY_HAND, *INVALID):
        members_and_hub.hub.kubectl(
            "annotate", "deployment", WORKLOAD, "--overwrite", f"{objects.MIGRATION}={text}"
        )
        sources.wait_for(has_limits, 15, f"limits after {text}")
    until(pods, FULL, 30, "20 replicas")


@pytest.mark.timeout(600)
def test_the_limit_of_a_dead_agent_is_removed(
    members_and_hub: Fleet, limiting: dict[str, Container], sources: Watch
) -> None:
    with limiting[VKE2].held_down():
        sources.wait_for(
            lambda found: any(
                limits_of(objects.annotations(each).get(objects.MIGRATION)) == {VKE1: 6}
                for each in found
            ),
            DEAD_SECONDS + 30,
            "the dead agent's limit is gone",
        )
    sources.wait_for(has_limits, 60, "the limits are back")
    with limiting[VKE2].held_down():
        own = json.dumps({**json.loads(migration(sources)), "workloadMigrations": []})
        members_and_hub.hub.kubectl(
            "annotate", "deployment", WORKLOAD, "--overwrite", f"{objects.MIGRATION}={own}"
        )
        told = spillover(members_and_hub.hub, "federation", "gc", f"--member={VKE2}")
        assert told == f"Deployment {NAMESPACE}/{WORKLOAD}: {VKE2}\n"
        sources.wait_for(lambda _: '"workloadMigrations":[]' in migration(sources), 10, "the rest")
        assert limits_of(migration(sources)) == {VKE1: 6}
    sources.wait_for(has_limits, 60, "the limits are back")
