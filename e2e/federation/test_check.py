"""`spillover federation check` on a real hub and real members."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest
import yaml

from federation.fleet import (
    ACK1,
    MEMBERS,
    NAMESPACE,
    VKE1,
    WORKLOAD,
    Fleet,
    Running,
    override,
    propagation,
    workload,
)
from federation.states import until
from harness.client import Object
from harness.containers import extender
from harness.explaining import spillover
from harness.scenes import pod
from harness.watch import Watch, scheduled_condition

FOUND = 3


def check(fleet: Fleet, *arguments: str, members: tuple[str, ...] = MEMBERS) -> list[str]:
    """The names of the traps that are found."""
    named = [f"--member={name}={fleet.members[name].kubeconfig}" for name in members]
    command = ("federation", "check", "-o", "json", *named, *arguments)
    try:
        text = spillover(fleet.hub, *command, code=FOUND)
    except AssertionError:
        text = spillover(fleet.hub, *command)
    return [finding["trap"] for finding in json.loads(text)]


@pytest.fixture
def healthy(members_and_hub: Fleet, pods: dict[str, Watch]) -> Iterator[Fleet]:
    fleet = members_and_hub
    fleet.set_virtual_max(2, *MEMBERS)
    fleet.hub.apply(propagation("checked", threshold="2m"), override("annotations"))
    fleet.hub.apply(workload(10, "checked", "annotations"))
    with Running(fleet):
        until(pods, "2/2/0 2/2/0 2/0/0", 30, "10 replicas")
        yield fleet


@pytest.mark.timeout(600)
def test_each_trap_is_found_and_nothing_on_a_healthy_fleet(
    healthy: Fleet, pods: dict[str, Watch], tmp_path: Path
) -> None:
    fleet = healthy
    assert check(fleet) == []
    told = spillover(fleet.hub, "federation", "check")
    assert told == "no trap was found\n"
    short = propagation("checked", threshold="10s")
    with applied(fleet, short):
        assert check(fleet) == ["threshold-below-node-boot"]
        assert check(fleet, "--node-boot-seconds=5") == []
    flapping = propagation("checked", threshold="2m")
    flapping["spec"]["autoMigration"]["keepUnschedulableReplicas"] = False
    flapping["spec"]["reschedulePolicy"]["replicaRescheduling"]["avoidDisruption"] = True
    with applied(fleet, flapping):
        assert check(fleet) == ["replicas-flap"]
    with applied(fleet, propagation("checked", threshold="2m", packs=True)):
        assert check(fleet) == ["binpack-freezes"]
    few = propagation("checked", threshold="2m")
    for each in few["spec"]["placement"]:
        each["preferences"]["maxReplicas"] = 3
    with applied(fleet, few):
        assert check(fleet) == ["placements-below-replicas"]
    fleet.declare_size(VKE1, "*=2")
    try:
        assert check(fleet) == ["fixed-capacity-without-maximum"]
        text = spillover(
            fleet.hub, "federation", "check",
            f"--member={VKE1}={fleet.members[VKE1].kubeconfig}", code=FOUND,
        )  # fmt: skip
        assert f"{VKE1} can hold 6 replicas of {NAMESPACE}/{WORKLOAD}" in text
        assert "maxReplicas: 6" in text
    finally:
        fleet.declare_size(VKE1, None)
    assert check(fleet, f"--member=hub={fleet.hub.kubeconfig}") == ["member-without-spillover"]
    old = tmp_path / "hpa.yaml"
    old.write_text(yaml.safe_dump(autoscaler("autoscaling/v2beta2")))
    assert check(fleet, f"--filename={old}") == ["old-autoscaling-version"]
    old.write_text(yaml.safe_dump(autoscaler("autoscaling/v2")))
    assert check(fleet, f"--filename={old}") == []
    with stopped(fleet, pods):
        assert check(fleet, members=(ACK1,)) == ["member-does-not-place"]


@pytest.mark.timeout(300)
def test_nothing_is_propagated_without_the_parent_and_the_change_cures_it(
    members_and_hub: Fleet, pods: dict[str, Watch]
) -> None:
    fleet = members_and_hub
    fleet.hub.apply(propagation("checked", threshold="2m"), override("annotations"))
    broken = workload(10, "checked", "annotations")
    broken["spec"]["template"]["metadata"]["annotations"] = {}
    fleet.hub.apply(broken)
    with Running(fleet):
        assert check(fleet) == ["override-without-parent"]
        text = spillover(fleet.hub, "federation", "check", "-o", "json", code=FOUND)
        (finding,) = json.loads(text)
        assert not any(watch.objects for watch in pods.values())
        fleet.hub.kubectl(
            "patch", "deployment", WORKLOAD, "--type=merge", "-p",
            json.dumps(yaml.safe_load(finding["change"])),
        )  # fmt: skip
        until(pods, "2/2/0 2/2/0 2/0/0", 30, "10 replicas after the change")


@contextmanager
def applied(fleet: Fleet, policy: Object) -> Iterator[None]:
    fleet.hub.apply(policy)
    try:
        yield
    finally:
        fleet.hub.apply(propagation("checked", threshold="2m"))


@contextmanager
def stopped(fleet: Fleet, pods: dict[str, Watch]) -> Iterator[None]:
    """The extender of one member does not answer, and a pod waits for it."""
    cluster = fleet.members[ACK1]
    container = extender(cluster)
    container.send(SIGSTOP)
    try:
        cluster.create(pod(NAMESPACE, "waits", "spillover-scheduler", gpus=0))
        pods[ACK1].wait_for(
            lambda found: any(
                scheduled_condition(each).get("reason") == "SchedulerError" for each in found
            ),
            60,
            "a pod that the scheduler fails to place",
        )
        yield
    finally:
        container.send(SIGCONT)
        cluster.kubectl("delete", "pod", "waits", "-n", NAMESPACE, "--force", "--grace-period=0")
        container.wait_ready()


def autoscaler(version: str) -> Object:
    return {
        "apiVersion": version,
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "hpa", "namespace": NAMESPACE},
        "spec": {"maxReplicas": 20},
    }
