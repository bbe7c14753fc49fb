"""What the agent knows about the hub."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

import msgspec

from spillover.api.kubernetes import ObjectMeta
from spillover.federation.agent.leases import Leases
from spillover.federation.kubeadmiral import (
    APPLIED_MIGRATION,
    MIGRATION,
    POLICY_LABEL,
    Propagation,
    applied_of,
    is_valid,
    limits_of,
)
from spillover.federation.limits import Fleet
from spillover.federation.memberreport import MemberReport


@dataclass(frozen=True, slots=True)
class Source:
    """A Deployment of the hub."""

    uid: str
    namespace: str
    name: str
    version: str
    """The resourceVersion."""
    replicas: int
    policy: str
    """The name of its PropagationPolicy."""
    limits: Mapping[str, int]
    """The limits in the annotation, by member."""
    is_valid: bool
    """Whether the engine takes the annotation over."""
    applied: Mapping[str, int]
    """The limits that the engine has acknowledged."""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


class _Spec(msgspec.Struct, frozen=True):
    replicas: int | None = None


class _Deployment(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    spec: _Spec = _Spec()


_DEPLOYMENTS = msgspec.json.Decoder(_Deployment)


def source(raw: bytes | msgspec.Raw) -> Source:
    """From the JSON of a Deployment. Raises msgspec.MsgspecError."""
    found = _DEPLOYMENTS.decode(raw)
    metadata = found.metadata
    notes = metadata.annotations or {}
    return Source(
        uid=metadata.uid,
        namespace=metadata.namespace,
        name=metadata.name,
        version=metadata.resource_version,
        replicas=found.spec.replicas if found.spec.replicas is not None else 1,
        policy=(metadata.labels or {}).get(POLICY_LABEL, ""),
        limits=limits_of(notes.get(MIGRATION)),
        is_valid=is_valid(notes.get(MIGRATION)),
        applied=applied_of(notes.get(APPLIED_MIGRATION)),
    )


class HubView:
    """The objects of the hub, by their keys. `member` is our own."""

    def __init__(self, member: str) -> None:
        self.sources: dict[str, Source] = {}
        self.policies: dict[str, Propagation] = {}
        self.reports: dict[str, MemberReport] = {}
        self.clusters: dict[str, bool] = {}
        """Whether the engine places pods in each cluster now."""
        self.leases = Leases(member)

    def fleet(self, found: Source, alive: Set[str]) -> Fleet | None:
        """What is known about the workload. None if its policy is not known, or does not divide the
        replicas. Only members in `alive` whose report is not old have a state."""
        policy = self.policies.get(f"{found.namespace}/{found.policy}")
        if policy is None or not policy.divides:
            return None
        states = {
            member: state
            for member in policy.order
            if member in alive
            and (report := self.reports.get(member)) is not None
            and not report.trouble
            and (state := report.states.get(found.key)) is not None
        }
        away = {member for member in policy.order if not self.clusters.get(member, False)}
        return Fleet(policy.order, states, found.limits, policy.capped | away)


class _Taint(msgspec.Struct, frozen=True):
    effect: str = ""


class _Condition(msgspec.Struct, frozen=True):
    type: str
    status: str


class _ClusterSpec(msgspec.Struct, frozen=True):
    taints: list[_Taint] = []


class _ClusterStatus(msgspec.Struct, frozen=True):
    conditions: list[_Condition] = []


class _Cluster(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    spec: _ClusterSpec = _ClusterSpec()
    status: _ClusterStatus = _ClusterStatus()


_CLUSTERS = msgspec.json.Decoder(_Cluster)


def is_placed_in(raw: bytes | msgspec.Raw) -> tuple[str, bool]:
    """The name of a FederatedCluster, and whether the engine places new pods there: it is ready and
    has no taint. Raises msgspec.MsgspecError."""
    found = _CLUSTERS.decode(raw)
    conditions = {each.type: each.status for each in found.status.conditions}
    is_well = conditions.get("Ready") == "True" and conditions.get("Offline") != "True"
    return found.metadata.name, is_well and not found.spec.taints
