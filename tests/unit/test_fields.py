"""Every field of both dialects, alone and with every other: what `decide` makes of it.

Outcomes are written by hand: `0` is the first unit, `1` the second, `outside` a node of no unit;
anything else is (the beginning of) the reason that the first offered node gets.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import pytest

from builders import ack_policy, leading, node, pod, virtual, vke_policy
from spillover.core.cache.cluster import ClusterCache
from spillover.core.decision.outcomes import Placement, Rejected
from spillover.core.decision.wait_annotation import written
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.pods import POLICY_ANNOTATION, UNIT_ANNOTATION, WAITING_ANNOTATION, Pod
from spillover.core.model.policy import Policy
from spillover.core.model.workloads import Workload
from spillover.core.scheduler import Scheduler

MARKER = "k8s.aliyun.com/resource-policy-wait-for-ecs-scaling"
NOW = 1_767_268_800.0  # 2026-01-01T12:00:00Z
BEFORE, AFTER = "2025-12-31T00:00:00Z", "2026-01-01T06:00:00Z"
"""The policy was created at the beginning of 2026."""

ALL = ("pre-1", "vk")
Spec = Mapping[str, Any]


def ours(unit: int = 0, **fields: Any) -> dict[str, Any]:
    """A pod that we have bound to a unit."""
    return {"unit": unit, "since": AFTER, **fields}


def theirs(on: str = "pre-1", **fields: Any) -> dict[str, Any]:
    """A pod that somebody else has bound."""
    return {"node": on, "since": AFTER, **fields}


LEAVING: dict[str, Any] = {"terminating": True}
A: dict[str, Any] = {"labels": {"app": "app", "hash": "a"}}
B: dict[str, Any] = {"labels": {"app": "app", "hash": "b"}}


def cpu(cores: int) -> dict[str, Any]:
    return {"requests": (("cpu", cores * 1000),)}


def began(seconds_ago: float) -> dict[str, Any]:
    """The pod's wait in the first unit has begun so long ago."""
    return {"waits_since": NOW - seconds_ago}


@dataclass(frozen=True)
class Case:
    """`first` and `second` are fields of the two units, `policy` those of the policy."""

    outcome: str
    first: Spec = field(default_factory=dict)
    second: Spec = field(default_factory=dict)
    policy: Spec = field(default_factory=dict)
    bound: Sequence[Mapping[str, Any]] = ()
    who: Mapping[str, Any] = field(default_factory=dict)
    offered: Sequence[str] = ALL
    replicas: int = 0
    """What the owner of all pods wants."""


def timed(seconds: int = 60) -> Spec:
    return {"whenTryNextUnits": {"policy": "TimeoutOrExceedMax", "timeout": f"{seconds}s"}}


def advance(policy: str) -> Spec:
    return {"whenTryNextUnits": {"policy": policy}}


MARKED: Spec = {"podLabels": {MARKER: "true"}}
BY_HASH: Spec = {"matchLabelKeys": ["hash"]}
EAGER: Spec = {"preemptPolicy": "BeforeNextUnit"}
COUNT_LEAVING: Spec = {"ignoreTerminatingPod": False}
IGNORE_OLD: Spec = {"ignorePreviousPod": True}
TIER: Spec = {"podLabels": {"tier": "base"}}
NOTE: Spec = {"podAnnotations": {"note": "x"}}
OF_TIER: dict[str, Any] = {"labels": {"app": "app", "tier": "base"}}
OF_NOTE: dict[str, Any] = {"annotations": {"note": "x"}}
URGENT: dict[str, Any] = {"priority": 10}
SPILLED = ("vk",)  # nothing of the first unit was offered

ACK_CASES = {
    # --- one field ---
    "first": Case("0"),
    "no node": Case("1", offered=SPILLED),
    "strategy": Case("0", policy={"strategy": "prefer"}),
    "max, room": Case("0", {"max": 2}, bound=[ours()]),
    "max, full": Case("1", {"max": 1}, bound=[ours()]),
    "max, both": Case("ecs is at its max of 1", {"max": 1}, {"max": 0}, bound=[ours()]),
    "resources, fit": Case("0", {"maxResources": {"cpu": "4"}}, bound=[ours(**cpu(3))], who=cpu(1)),
    "resources, full": Case("1", {"maxResources": {"cpu": 4}}, bound=[ours(**cpu(3))], who=cpu(2)),
    "resources, not asked for": Case(
        "0", {"maxResources": {"cpu": 4}}, bound=[ours(**cpu(4))], who={"requests": ()}
    ),
    "resources, reason": Case(
        "ecs has no room for 2 cpu within its max of 4",
        {"maxResources": {"cpu": "4"}},
        {"max": 0},
        bound=[ours(**cpu(3))],
        who=cpu(2),
    ),
    "hash, other group": Case("0", {"max": 1}, policy=BY_HASH, bound=[ours(**A)], who=B),
    "hash, same group": Case("1", {"max": 1}, policy=BY_HASH, bound=[ours(**A)], who=A),
    "hash, no label": Case("the pod lacks the label hash", policy=BY_HASH),
    "leaving, ignored": Case("0", {"max": 1}, bound=[ours(**LEAVING)]),
    "leaving, counted": Case("1", {"max": 1}, policy=COUNT_LEAVING, bound=[ours(**LEAVING)]),
    "previous, counted": Case("1", {"max": 1}, bound=[ours(since=BEFORE)]),
    "previous, ignored": Case("0", {"max": 1}, policy=IGNORE_OLD, bound=[ours(since=BEFORE)]),
    "previous, bound since": Case("1", {"max": 1}, policy=IGNORE_OLD, bound=[ours()]),
    "stranger": Case("1", {"max": 1}, bound=[theirs()]),
    "stranger elsewhere": Case("0", {"max": 1}, bound=[theirs("vk")]),
    "labels, stranger without": Case("0", {"max": 1, **TIER}, bound=[theirs()]),
    "labels, stranger with": Case("1", {"max": 1, **TIER}, bound=[theirs(**OF_TIER)]),
    "labels, ours without": Case("1", {"max": 1, **TIER}, bound=[ours()]),
    "annotations, stranger without": Case("0", {"max": 1, **NOTE}, bound=[theirs()]),
    "annotations, stranger with": Case("1", {"max": 1, **NOTE}, bound=[theirs(**OF_NOTE)]),
    "marker is no label to count by": Case("1", {"max": 1, **MARKED}, bound=[theirs()]),
    # --- when the next unit is tried ---
    "ExceedMax, room": Case(
        "waits for nodes of ecs", {"max": 1}, policy=advance("ExceedMax"), offered=SPILLED
    ),
    "ExceedMax, no max": Case("1", policy=advance("ExceedMax"), offered=SPILLED),
    "ExceedMax, full": Case("1", {"max": 0}, policy=advance("ExceedMax"), offered=SPILLED),
    "ExceedMax, resources": Case(
        "waits for nodes of ecs",
        {"maxResources": {"cpu": 9}},
        policy=advance("ExceedMax"),
        offered=SPILLED,
        who=cpu(1),
    ),
    "Lack, room": Case("1", {"max": 1}, policy=advance("LackResourceOrExceedMax"), offered=SPILLED),
    "NoTerminating, nobody leaves": Case(
        "1", {"max": 1}, policy=advance("LackResourceAndNoTerminating"), offered=SPILLED
    ),
    "NoTerminating, one leaves": Case(
        "waits for terminating pods of ecs",
        policy=advance("LackResourceAndNoTerminating"),
        offered=SPILLED,
        bound=[ours(**LEAVING)],
    ),
    "NoTerminating, at max": Case(
        "waits for terminating pods of ecs",
        {"max": 1},
        policy=advance("LackResourceAndNoTerminating"),
        offered=SPILLED,
        bound=[ours(), ours(**LEAVING)],
    ),
    "NoTerminating, leaving elsewhere": Case(
        "1",
        policy=advance("LackResourceAndNoTerminating"),
        offered=SPILLED,
        bound=[ours(1, **LEAVING)],
    ),
    "Timeout, not over": Case(
        "waits for ecs until 2026-01-01T12:01:00Z", {"max": 1}, policy=timed(60), offered=SPILLED
    ),
    "Timeout, begun before": Case(
        "waits for ecs until 2026-01-01T12:00:20Z",
        {"max": 1},
        policy=timed(60),
        offered=SPILLED,
        who=began(40),
    ),
    "Timeout, over": Case("1", {"max": 1}, policy=timed(60), offered=SPILLED, who=began(60)),
    "Timeout, full": Case("1", {"max": 0}, policy=timed(60), offered=SPILLED),
    "Timeout, no max": Case("1", policy=timed(60), offered=SPILLED),
    "Timeout, node there": Case("0", {"max": 1}, policy=timed(60)),
    "default timeout": Case(
        "waits for ecs until 2026-01-01T12:15:00Z",
        {"max": 1},
        policy=advance("TimeoutOrExceedMax"),
        offered=SPILLED,
    ),
    "marker": Case("waits for ecs until 2026-01-01T12:15:00Z", MARKED, offered=SPILLED),
    "marker, over": Case("1", MARKED, offered=SPILLED, who=began(900)),
    # --- preemption ---
    "eager": Case(
        "may preempt pods of lower priority in ecs",
        policy=EAGER,
        offered=SPILLED,
        bound=[ours()],
        who=URGENT,
    ),
    "eager, nobody below": Case(
        "1", policy=EAGER, offered=SPILLED, bound=[ours(priority=10)], who=URGENT
    ),
    "eager, never": Case(
        "1", policy=EAGER, offered=SPILLED, bound=[ours()], who={**URGENT, "may_preempt": False}
    ),
    "patient": Case(
        "1", policy={"preemptPolicy": "AfterAllUnits"}, offered=SPILLED, bound=[ours()], who=URGENT
    ),
    # --- two fields, both of which matter ---
    "max+resources, count": Case(
        "1", {"max": 1, "maxResources": {"cpu": 9}}, bound=[ours(**cpu(1))], who=cpu(1)
    ),
    "max+resources, cpu": Case(
        "1", {"max": 9, "maxResources": {"cpu": 1}}, bound=[ours(**cpu(1))], who=cpu(1)
    ),
    "resources+hash": Case(
        "0",
        {"maxResources": {"cpu": 2}},
        policy=BY_HASH,
        bound=[ours(**cpu(2), **A)],
        who={**cpu(2), **B},
    ),
    "resources+hash, same": Case(
        "1",
        {"maxResources": {"cpu": 2}},
        policy=BY_HASH,
        bound=[ours(**cpu(2), **A)],
        who={**cpu(2), **A},
    ),
    "resources+leaving": Case(
        "1",
        {"maxResources": {"cpu": 2}},
        policy=COUNT_LEAVING,
        bound=[ours(**cpu(2), **LEAVING)],
        who=cpu(1),
    ),
    "resources+leaving, ignored": Case(
        "0",
        {"maxResources": {"cpu": 2}},
        policy={"ignoreTerminatingPod": True},
        bound=[ours(**cpu(2), **LEAVING)],
        who=cpu(1),
    ),
    "resources+previous": Case(
        "0",
        {"maxResources": {"cpu": 2}},
        policy=IGNORE_OLD,
        bound=[ours(**{**cpu(2), "since": BEFORE})],
        who=cpu(1),
    ),
    "resources+labels": Case(
        "1", {"maxResources": {"cpu": 2}, **TIER}, bound=[theirs(**cpu(2), **OF_TIER)], who=cpu(1)
    ),
    "resources+annotations": Case(
        "0", {"maxResources": {"cpu": 2}, **NOTE}, bound=[theirs(**cpu(2))], who=cpu(1)
    ),
    "resources+marker": Case(
        "1",
        {"maxResources": {"cpu": 2}, **MARKED},
        bound=[ours(**cpu(2))],
        who=cpu(1),
        offered=SPILLED,
    ),
    "resources+eager, full": Case(
        "1",
        {"maxResources": {"cpu": 2}},
        policy=EAGER,
        bound=[ours(**cpu(2))],
        who={**cpu(1), **URGENT},
        offered=SPILLED,
    ),
    "resources+strategy": Case(
        "1", {"maxResources": {"cpu": 0}}, policy={"strategy": "prefer"}, who=cpu(1)
    ),
    "hash+leaving": Case(
        "0", {"max": 1}, policy={**BY_HASH, **COUNT_LEAVING}, bound=[ours(**A, **LEAVING)], who=B
    ),
    "hash+leaving, same": Case(
        "1", {"max": 1}, policy={**BY_HASH, **COUNT_LEAVING}, bound=[ours(**A, **LEAVING)], who=A
    ),
    "hash+previous": Case(
        "0",
        {"max": 1},
        policy={**BY_HASH, **IGNORE_OLD},
        bound=[ours(**{**A, "since": BEFORE}), ours(**B)],
        who=A,
    ),
    "hash+timeout": Case(
        "waits for ecs until 2026-01-01T12:01:00Z",
        {"max": 1},
        policy={**BY_HASH, **timed(60)},
        bound=[ours(**A)],
        who=B,
        offered=SPILLED,
    ),
    "hash+terminating of another group": Case(
        "waits for terminating pods of ecs",
        policy={**BY_HASH, **advance("LackResourceAndNoTerminating")},
        bound=[ours(**A, **LEAVING)],
        who=B,
        offered=SPILLED,
    ),
    "hash+eager": Case(
        "may preempt",
        {"max": 1},
        policy={**BY_HASH, **EAGER},
        bound=[ours(**A)],
        who={**B, **URGENT},
        offered=SPILLED,
    ),
    "hash+labels": Case(
        "1",
        {"max": 1, **TIER},
        policy=BY_HASH,
        bound=[theirs(labels={"app": "app", "hash": "a", "tier": "base"})],
        who=A,
    ),
    "hash+annotations": Case(
        "0", {"max": 1, **NOTE}, policy=BY_HASH, bound=[theirs(**B, **OF_NOTE)], who=A
    ),
    "hash+marker": Case("waits for ecs until", MARKED, policy=BY_HASH, who=A, offered=SPILLED),
    "hash+strategy": Case("the pod lacks the label hash", policy={**BY_HASH, "strategy": "prefer"}),
    "leaving+previous": Case(
        "0",
        {"max": 1},
        policy={**COUNT_LEAVING, **IGNORE_OLD},
        bound=[ours(**LEAVING, since=BEFORE)],
    ),
    "leaving+previous, since": Case(
        "1", {"max": 1}, policy={**COUNT_LEAVING, **IGNORE_OLD}, bound=[ours(**LEAVING)]
    ),
    "leaving+timeout": Case(
        "1",
        {"max": 1},
        policy={**COUNT_LEAVING, **timed()},
        bound=[ours(**LEAVING)],
        offered=SPILLED,
    ),
    "leaving ignored+timeout": Case(
        "waits for ecs until",
        {"max": 1},
        policy={"ignoreTerminatingPod": True, **timed()},
        bound=[ours(**LEAVING)],
        offered=SPILLED,
    ),
    "leaving+no terminating": Case(
        "waits for terminating pods",
        {"max": 1},
        policy={**COUNT_LEAVING, **advance("LackResourceAndNoTerminating")},
        bound=[ours(**LEAVING)],
        offered=SPILLED,
    ),
    "leaving+labels": Case(
        "1", {"max": 1, **TIER}, policy=COUNT_LEAVING, bound=[theirs(**OF_TIER, **LEAVING)]
    ),
    "leaving+annotations": Case(
        "0", {"max": 1, **NOTE}, policy=COUNT_LEAVING, bound=[theirs(**LEAVING)]
    ),
    "leaving+marker": Case(
        "1", {"max": 1, **MARKED}, policy=COUNT_LEAVING, bound=[ours(**LEAVING)], offered=SPILLED
    ),
    "leaving+eager": Case(
        "1",
        {"max": 1},
        policy={**COUNT_LEAVING, **EAGER},
        bound=[ours(**LEAVING)],
        who=URGENT,
        offered=SPILLED,
    ),
    "leaving+strategy": Case(
        "1", {"max": 1}, policy={**COUNT_LEAVING, "strategy": "prefer"}, bound=[ours(**LEAVING)]
    ),
    "previous+timeout": Case(
        "waits for ecs until",
        {"max": 1},
        policy={**IGNORE_OLD, **timed()},
        bound=[ours(since=BEFORE)],
        offered=SPILLED,
    ),
    "previous+labels": Case(
        "0", {"max": 1, **TIER}, policy=IGNORE_OLD, bound=[theirs(**{**OF_TIER, "since": BEFORE})]
    ),
    "previous+annotations": Case(
        "1", {"max": 1, **NOTE}, policy=IGNORE_OLD, bound=[theirs(**OF_NOTE)]
    ),
    "previous+marker": Case(
        "waits for ecs until",
        {"max": 1, **MARKED},
        policy=IGNORE_OLD,
        bound=[ours(since=BEFORE)],
        offered=SPILLED,
    ),
    "previous+eager": Case(
        "may preempt",
        {"max": 1},
        policy={**IGNORE_OLD, **EAGER},
        bound=[ours(since=BEFORE)],
        who=URGENT,
        offered=SPILLED,
    ),
    "previous+strategy": Case(
        "0", {"max": 1}, policy={**IGNORE_OLD, "strategy": "prefer"}, bound=[ours(since=BEFORE)]
    ),
    "timeout+eager, still waiting": Case(
        "waits for ecs until",
        {"max": 2},
        policy={**timed(60), **EAGER},
        bound=[ours()],
        who=URGENT,
        offered=SPILLED,
    ),
    "timeout+eager, over": Case(
        "may preempt",
        {"max": 2},
        policy={**timed(60), **EAGER},
        bound=[ours()],
        who={**URGENT, **began(60)},
        offered=SPILLED,
    ),
    "ExceedMax+eager": Case(
        "may preempt",
        {"max": 2},
        policy={**advance("ExceedMax"), **EAGER},
        bound=[ours()],
        who=URGENT,
        offered=SPILLED,
    ),
    "timeout+labels": Case(
        "waits for ecs until", {"max": 1, **TIER}, policy=timed(), bound=[theirs()], offered=SPILLED
    ),
    "timeout+annotations": Case(
        "1", {"max": 1, **NOTE}, policy=timed(), bound=[theirs(**OF_NOTE)], offered=SPILLED
    ),
    "timeout+marker": Case(
        "waits for ecs until 2026-01-01T12:01:00Z", MARKED, policy=timed(60), offered=SPILLED
    ),
    "ExceedMax+marker": Case(
        "waits for ecs until 2026-01-01T12:15:00Z",
        {"max": 1, **MARKED},
        policy=advance("ExceedMax"),
        offered=SPILLED,
    ),
    "timeout+strategy": Case(
        "waits for ecs until", {"max": 1}, policy={**timed(), "strategy": "prefer"}, offered=SPILLED
    ),
    "marker+eager": Case(
        "waits for ecs until", MARKED, policy=EAGER, bound=[ours()], who=URGENT, offered=SPILLED
    ),
    "marker+labels": Case(
        "1",
        {"max": 1, "podLabels": {MARKER: "true", "tier": "base"}},
        bound=[theirs(**OF_TIER)],
        offered=SPILLED,
    ),
    "marker+annotations": Case(
        "waits for ecs until", {"max": 1, **MARKED, **NOTE}, bound=[theirs()], offered=SPILLED
    ),
    "marker+strategy": Case(
        "waits for ecs until", MARKED, policy={"strategy": "prefer"}, offered=SPILLED
    ),
    "labels+annotations, one of them": Case(
        "0", {"max": 1, **TIER, **NOTE}, bound=[theirs(**OF_TIER)]
    ),
    "labels+annotations, both": Case(
        "1", {"max": 1, **TIER, **NOTE}, bound=[theirs(**OF_TIER, **OF_NOTE)]
    ),
    "labels+eager": Case(
        "1",
        {"max": 1, **TIER},
        policy=EAGER,
        bound=[theirs(**OF_TIER)],
        who=URGENT,
        offered=SPILLED,
    ),
    "annotations+eager": Case(
        "may preempt",
        {"max": 1, **NOTE},
        policy=EAGER,
        bound=[theirs()],
        who=URGENT,
        offered=SPILLED,
    ),
    "labels+strategy": Case("0", TIER, policy={"strategy": "prefer"}),
    "annotations+strategy": Case("0", NOTE, policy={"strategy": "prefer"}),
    "eager+strategy": Case(
        "may preempt",
        policy={**EAGER, "strategy": "prefer"},
        bound=[ours()],
        who=URGENT,
        offered=SPILLED,
    ),
}

HALF: Spec = {"maxReplicasRatio": "0.5"}
STAY: Spec = {"whenNotReachMax": "DoNotSchedule"}
ANYWAY: Spec = {"whenNotReachMax": "ScheduleAnyWay"}
REQUIRE: Spec = {"strategy": "require"}
PREFER: Spec = {"strategy": "prefer"}
ELSEWHERE = ("post-1",)

VKE_CASES = {
    "first": Case("0"),
    "no node": Case("1", offered=SPILLED),
    "max": Case("1", {"maxReplicas": 1}, bound=[ours()]),
    "ratio, room": Case("0", HALF, replicas=4, bound=[ours()]),
    "ratio, full": Case("1", HALF, replicas=4, bound=[ours(), ours()]),
    "ratio, rounded down": Case("1", HALF, replicas=3, bound=[ours()]),
    "ratio of live pods without an owner": Case(
        "0", HALF, bound=[ours(), ours(1), ours(1)], who={"owner": ""}
    ),
    "ratio of live pods, full": Case("1", HALF, bound=[ours()], who={"owner": ""}),
    "stay": Case("waits for nodes of a", STAY, offered=SPILLED),
    "stay, full": Case("1", {"maxReplicas": 0, **STAY}, offered=SPILLED),
    "anyway": Case("1", ANYWAY, offered=SPILLED),
    "prefer": Case("outside", policy=PREFER, offered=ELSEWHERE),
    "default strategy": Case("outside", offered=ELSEWHERE),
    "require": Case("node(s) belong to no unit", policy=REQUIRE, offered=ELSEWHERE),
    "max+ratio, max": Case("1", {"maxReplicas": 1, **HALF}, replicas=4, bound=[ours()]),
    "max+ratio, ratio": Case("1", {"maxReplicas": 9, **HALF}, replicas=2, bound=[ours()]),
    "ratio, reason": Case(
        "a is at its max of 0.5 of the replicas",
        HALF,
        {"maxReplicas": 0},
        policy=REQUIRE,
        replicas=2,
        bound=[ours()],
    ),
    "max+stay": Case(
        "waits for nodes of a", {"maxReplicas": 2, **STAY}, bound=[ours()], offered=SPILLED
    ),
    "max+prefer": Case(
        "outside",
        {"maxReplicas": 0},
        {"maxReplicas": 0},
        policy=PREFER,
        offered=("pre-1", "post-1"),
    ),
    "max+require": Case(
        "a is at its max of 0", {"maxReplicas": 0}, {"maxReplicas": 0}, policy=REQUIRE
    ),
    "ratio+stay": Case(
        "waits for nodes of a", {**HALF, **STAY}, replicas=4, bound=[ours()], offered=SPILLED
    ),
    "ratio+stay, full": Case("1", {**HALF, **STAY}, replicas=2, bound=[ours()], offered=SPILLED),
    "ratio+prefer": Case("outside", HALF, policy=PREFER, replicas=1, offered=("pre-1", "post-1")),
    "stay+prefer": Case("waits for nodes of a", STAY, policy=PREFER, offered=ELSEWHERE),
    "stay+require": Case("node(s) belong to no unit", STAY, policy=REQUIRE, offered=ELSEWHERE),
}


def ack_of(case: Case) -> Policy:
    return ack_policy(
        {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}, **case.first},
        {"resource": "eci", **case.second},
        **case.policy,
    )


def vke_of(case: Case) -> Policy:
    term = {"key": "pool", "operator": "In", "values": ["prepaid"]}
    return vke_policy(
        {"name": "a", "type": "ecs", "nodeSelectorTerm": [term], **case.first},
        {"name": "b", "type": "vci", **case.second},
        **case.policy,
    )


def outcome(case: Case, policy: Policy) -> str:
    scheduler = leading(
        Scheduler(ClusterCache(NodeConventions(), lambda: 0.0, lambda: NOW, lambda: 0.5))
    )
    for each in (node("pre-1", pool="prepaid"), virtual("vk"), node("post-1", pool="postpaid")):
        scheduler.cluster.put_node(each)
    scheduler.cluster.put_policy(policy)
    if case.replicas:
        scheduler.cluster.put_workload(Workload("deployments", "owner", "ns", case.replicas, ""))
    for number, fields in enumerate(case.bound):
        owner = "owner" if case.replicas else ""
        scheduler.cluster.put_pod(bound(f"bound-{number}", policy, **{"owner": owner, **fields}))
    fields = {"owner": "owner" if case.replicas else "", **case.who}
    if (since := fields.pop("waits_since", None)) is not None:
        waits = written([(policy.units[0].identity, since)])
        fields["annotations"] = {WAITING_ANNOTATION: waits}
    who = pod("pod", version=9, **fields)
    scheduler.cluster.put_pod(who)
    decision = scheduler.place(who, case.offered)
    match decision:
        case Placement(unit=None):
            return "outside"
        case Placement(unit=unit):
            return str(policy.units.index(unit)) if unit is not None else ""
        case Rejected():
            return decision.reasons[case.offered[0]]


def bound(name: str, policy: Policy, unit: int | None = None, **fields: Any) -> Pod:
    if unit is not None:
        fields["node"] = ("pre-1", "vk")[unit]
        fields["annotations"] = {
            POLICY_ANNOTATION: str(policy.key),
            UNIT_ANNOTATION: policy.units[unit].identity,
        }
    return pod(name, **fields)


@pytest.mark.parametrize("name", ACK_CASES)
def test_ack(name: str) -> None:
    case = ACK_CASES[name]
    assert outcome(case, ack_of(case)).startswith(case.outcome)


@pytest.mark.parametrize("name", VKE_CASES)
def test_vke(name: str) -> None:
    case = VKE_CASES[name]
    assert outcome(case, vke_of(case)).startswith(case.outcome)


def fields_of(case: Case) -> Iterator[str]:
    for spec in (case.first, case.second, case.policy):
        for key, value in spec.items():
            if key == "podLabels" and MARKER in value:
                yield "marker"
            if key != "podLabels" or set(value) != {MARKER}:
                yield key


@pytest.mark.parametrize(
    ("cases", "fields"),
    [
        (
            ACK_CASES,
            {"strategy", "max", "maxResources", "podLabels", "marker", "podAnnotations",
             "ignorePreviousPod", "ignoreTerminatingPod", "matchLabelKeys", "whenTryNextUnits",
             "preemptPolicy"},
        ),
        (VKE_CASES, {"strategy", "maxReplicas", "maxReplicasRatio", "whenNotReachMax"}),
    ],
)  # fmt: skip
def test_the_tables_have_every_field_and_every_pair(
    cases: Mapping[str, Case], fields: set[str]
) -> None:
    used = [set(fields_of(case)) for case in cases.values()]
    assert set().union(*used) == fields
    missing = [
        pair
        for pair in combinations(sorted(fields), 2)
        if not any(set(pair) <= each for each in used)
    ]
    assert missing == []


def test_the_annotation_tells_since_when_a_pod_waits() -> None:
    case = Case(
        "waits for ecs until 2026-01-01T12:00:30Z", {"max": 1}, policy=timed(60), offered=SPILLED
    )
    policy = ack_of(case)
    mark = json.dumps({policy.units[0].identity: "2026-01-01T11:59:30Z"})
    annotated = Case(
        case.outcome, case.first, policy=case.policy, offered=SPILLED,
        who={"annotations": {WAITING_ANNOTATION: mark}},
    )  # fmt: skip
    assert outcome(annotated, policy) == case.outcome


@pytest.mark.parametrize(
    "mark",
    [
        "",
        "x",
        "[]",
        "{",
        '{"ecs": 1}',
        '{"%s": "yesterday"}',
        '{"%s": "2026-01-01T11:00:00"}',
        '{"%s": "2025-01-01T00:00:00Z"}',
        "[" * 100_000,
    ],
)
def test_a_mark_that_nobody_of_us_wrote_is_ignored(mark: str) -> None:
    case = Case(
        "waits for ecs until 2026-01-01T12:01:00Z", {"max": 1}, policy=timed(60), offered=SPILLED
    )
    policy = ack_of(case)
    text = mark.replace("%s", policy.units[0].identity)
    who = {"annotations": {WAITING_ANNOTATION: text}, "created": "2026-01-01T11:30:00Z"}
    assert (
        outcome(Case("", case.first, policy=case.policy, offered=SPILLED, who=who), policy)
        == case.outcome
    )
