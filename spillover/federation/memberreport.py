"""MemberReport: what one member tells the hub, on the wire.

One small object per member, of the cluster's scope, with the member's name. Only its status is
written. Counts of pods exclude those that are being deleted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from spillover.core.model.timestamps import instant_of, seconds_of
from spillover.federation.member import UnitState, WorkloadState

GROUP, VERSION = "federation.spillover.dev", "v1alpha1"
PATH = f"/apis/{GROUP}/{VERSION}/memberreports"
KIND = "MemberReport"
MOST_WORKLOADS = 2000
"""In one report: an object may have 1.5 MB."""
_LARGEST = 1_000_000
"""Bytes of all workloads."""
_MOST_REASONS = 3
_LONGEST_REASON = 500


class _Unit(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    name: str
    bound: int
    room: int | None = None


class _Workload(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    namespace: str
    name: str
    replicas: int
    bound: int
    waiting: int
    unschedulable: int
    room: int
    bounded: bool
    policy: str = ""
    waits_until: str = ""
    unschedulable_since: str = ""
    failing: bool = False
    on_trial: bool = False
    reasons: list[str] = []
    units: list[_Unit] = []


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    trouble: str = ""
    left_out: int = 0
    workloads: list[_Workload] = []


class _Meta(msgspec.Struct, frozen=True):
    name: str


class _Report(msgspec.Struct, frozen=True):
    metadata: _Meta
    status: _Status = _Status()


_REPORTS = msgspec.json.Decoder(_Report)


class MemberReport(msgspec.Struct, frozen=True):
    """One member's report."""

    member: str
    states: Mapping[str, WorkloadState]
    """By namespace/name."""
    trouble: str = ""
    """Why the states may be old, or ""."""


def as_wire(states: Sequence[WorkloadState], trouble: str) -> dict[str, Any]:
    """The status of the object. Workloads that do not fit in the object are left out and
    counted."""
    found: list[_Workload] = []
    size = 0
    for state in states[:MOST_WORKLOADS]:
        workload = _workload(state)
        size += len(msgspec.json.encode(workload))
        if size > _LARGEST:
            break
        found.append(workload)
    status: dict[str, Any] = msgspec.to_builtins(_Status(trouble, len(states) - len(found), found))
    return status


def from_wire(raw: bytes | msgspec.Raw) -> MemberReport:
    """From the JSON of the object. Raises msgspec.MsgspecError."""
    found = _REPORTS.decode(raw)
    states = {state.key: state for state in map(_state, found.status.workloads)}
    return MemberReport(found.metadata.name, states, found.status.trouble)


def crd() -> dict[str, Any]:
    """The CustomResourceDefinition for the hub."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"memberreports.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {"kind": KIND, "plural": "memberreports", "singular": "memberreport"},
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": "Trouble", "type": "string", "jsonPath": ".status.trouble"},
                        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                    ],
                    "schema": {"openAPIV3Schema": _SCHEMA},
                }
            ],
        },
    }


def _integers(**fields: str) -> dict[str, Any]:
    return {name: {"type": "integer", "description": text} for name, text in fields.items()}


def _texts(**fields: str) -> dict[str, Any]:
    return {name: {"type": "string", "description": text} for name, text in fields.items()}


_UNIT_SCHEMA = {
    "type": "object",
    "required": ["name", "bound"],
    "properties": {
        **_texts(name="The unit's name."),
        **_integers(
            bound="The workload's pods in the unit.",
            room="More pods of the workload that the unit can hold; absent without a limit.",
        ),
    },
}
_WORKLOAD_SCHEMA = {
    "type": "object",
    "required": [
        "namespace",
        "name",
        "replicas",
        "bound",
        "waiting",
        "unschedulable",
        "room",
        "bounded",
    ],
    "properties": {
        **_texts(
            namespace="Namespace of the Deployment.",
            name="Name of the Deployment.",
            policy="The member's ResourcePolicy, as group/name.",
            waitsUntil="When the first timed wait of a pod ends.",
            unschedulableSince="When the oldest unschedulable pod became unschedulable.",
        ),
        **_integers(
            replicas="Replicas that the member's Deployment wants.",
            bound="Pods with a node.",
            waiting="Pods without a node.",
            unschedulable="Pods without a node that the scheduler has refused.",
            room="More pods than the bound ones that the member has nodes for.",
        ),
        "bounded": {
            "type": "boolean",
            "description": "Whether the number of additional pods is limited.",
        },
        "failing": {"type": "boolean", "description": "Whether the scheduler does not decide."},
        "onTrial": {
            "type": "boolean",
            "description": "Whether the scheduler did not decide lately, and nothing shows that it"
            " does now.",
        },
        "reasons": {
            "type": "array",
            "maxItems": _MOST_REASONS,
            "items": {"type": "string", "maxLength": _LONGEST_REASON},
            "description": "Why units do not take another pod.",
        },
        "units": {"type": "array", "maxItems": 100, "items": _UNIT_SCHEMA},
    },
}
_SCHEMA = {
    "type": "object",
    "description": "What one member cluster tells about its workloads. Agents write it.",
    "properties": {
        "status": {
            "type": "object",
            "properties": {
                **_texts(trouble="Why the counts may be old; empty if they are not."),
                **_integers(leftOut="Workloads that do not fit in this object."),
                "workloads": {
                    "type": "array",
                    "maxItems": MOST_WORKLOADS,
                    "items": _WORKLOAD_SCHEMA,
                },
            },
        }
    },
}


def _workload(state: WorkloadState) -> _Workload:
    return _Workload(
        namespace=state.namespace,
        name=state.name,
        policy=state.policy,
        replicas=state.replicas,
        bound=state.bound,
        waiting=state.waiting,
        waits_until=instant_of(state.waits_until) if state.waits_until is not None else "",
        unschedulable=state.unschedulable,
        unschedulable_since=state.unschedulable_since,
        room=state.room,
        bounded=state.bounded,
        failing=state.failing,
        on_trial=state.on_trial,
        reasons=[each[:_LONGEST_REASON] for each in state.reasons[:_MOST_REASONS]],
        units=[_Unit(each.name, each.bound, each.room) for each in state.units],
    )


def _state(found: _Workload) -> WorkloadState:
    return WorkloadState(
        namespace=found.namespace,
        name=found.name,
        policy=found.policy,
        replicas=found.replicas,
        bound=found.bound,
        waiting=found.waiting,
        unschedulable=found.unschedulable,
        room=found.room,
        bounded=found.bounded,
        failing=found.failing,
        on_trial=found.on_trial,
        waits_until=seconds_of(found.waits_until) if found.waits_until else None,
        unschedulable_since=found.unschedulable_since,
        reasons=tuple(found.reasons),
        units=tuple(UnitState(each.name, each.bound, each.room) for each in found.units),
    )
