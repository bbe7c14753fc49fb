"""Each trap of a KubeAdmiral fleet is found, and a healthy fleet has none."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml

from federation.fleet import override, propagation, workload
from spillover.federation import kubeadmiral
from spillover.federation.traps import Finding, Hub, Member, findings, seconds_of

Object = dict[str, Any]
BOOT = 60.0
MEMBERS = tuple(Member(name, installed=True) for name in ("vke-poc1", "vke-poc2", "ack-poc"))


def policy(**spec: Any) -> kubeadmiral.Propagation:
    found = propagation("by-weight", threshold="2m")
    found["spec"].update(spec)
    return kubeadmiral.propagation(json.dumps(found).encode())


def healthy() -> Hub:
    return Hub(
        workloads=[workload(10, "by-weight", "annotations")],
        policies=[policy()],
        overrides=[override("annotations")],
    )


def found(hub: Hub, *members: Member) -> list[Finding]:
    return findings(hub, members or MEMBERS, BOOT)


def test_a_healthy_fleet_has_no_trap() -> None:
    assert found(healthy()) == []


def placements(**most: int) -> list[Object]:
    return [
        {"cluster": each.name, "preferences": {"maxReplicas": most[each.name.replace("-", "_")]}}
        for each in MEMBERS
    ]


def without_annotations(hub: Hub) -> Hub:
    broken = json.loads(json.dumps(hub.workloads[0]))
    del broken["spec"]["template"]["metadata"]["annotations"]
    return replace(hub, workloads=[broken])


TRAPS: dict[str, Callable[[Hub], Hub]] = {
    "override-without-parent": without_annotations,
    "old-autoscaling-version": lambda hub: replace(
        hub,
        autoscalers=[
            {
                "apiVersion": "autoscaling/v2beta2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "hpa", "namespace": "default"},
            }
        ],
    ),
    "threshold-below-node-boot": lambda hub: replace(
        hub, policies=[policy(autoMigration=migration("15s", keeps=True))]
    ),
    "replicas-flap": lambda hub: replace(
        hub,
        policies=[
            policy(
                autoMigration=migration("2m", keeps=False),
                reschedulePolicy={"replicaRescheduling": {"avoidDisruption": True}},
            )
        ],
    ),
    "binpack-freezes": lambda hub: replace(hub, policies=[policy(replicasStrategy="Binpack")]),
    "placements-below-replicas": lambda hub: replace(
        hub, policies=[policy(placement=placements(vke_poc1=2, vke_poc2=3, ack_poc=4))]
    ),
}


def migration(threshold: str, *, keeps: bool) -> Object:
    return {"keepUnschedulableReplicas": keeps, "when": {"podUnschedulableFor": threshold}}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_of_the_hub_is_found(trap: str) -> None:
    (finding,) = found(TRAPS[trap](healthy()))
    assert finding.trap == trap
    assert finding.happens
    yaml.safe_load(finding.change)


@pytest.mark.parametrize(
    ("trap", "member"),
    [
        ("member-without-spillover", Member("vke-poc1", installed=False)),
        ("member-does-not-place", Member("vke-poc1", installed=True, trouble="No leader")),
        (
            "fixed-capacity-without-maximum",
            Member("vke-poc1", installed=True, capacities={"default/gpu-demo": 6}),
        ),
        ("threshold-below-node-boot", Member("vke-poc1", installed=True, boot_seconds=300.0)),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_trap_of_a_member_is_found(trap: str, member: Member) -> None:
    (finding,) = found(healthy(), member)
    assert finding.trap == trap


def test_the_change_of_a_template_gives_the_parent_a_placeholder() -> None:
    (finding,) = found(without_annotations(healthy()))
    assert yaml.safe_load(finding.change) == {
        "spec": {"template": {"metadata": {"annotations": {"placeholder": "1"}}}}
    }


def test_the_change_for_a_fixed_capacity_names_its_number() -> None:
    (finding,) = found(healthy(), Member("vke-poc1", True, "", {"default/gpu-demo": 6}))
    (placement,) = yaml.safe_load(finding.change)["spec"]["placement"]
    assert placement == {"cluster": "vke-poc1", "preferences": {"maxReplicas": 6}}


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [("2m0s", 120.0), ("15s", 15.0), ("1h", 3600.0), ("15", None), ("", None)],
)
def test_durations(duration: str, seconds: float | None) -> None:
    assert seconds_of(duration) == seconds
