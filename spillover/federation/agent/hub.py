"""What the agent knows about the hub."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from math import inf

import msgspec

from spillover.api.kubernetes import ObjectMeta
from spillover.federation.agent.leases import Leases
from spillover.federation.kubeadmiral import (
    APPLIED_MIGRATION,
    MIGRATION,
    OWN_RULES,
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
    migration: str | None
    """The annotation with the limits, as it is."""
    limits: Mapping[str, int]
    """The limits in the annotation, by member."""
    is_valid: bool
    """Whether the engine takes the annotation over."""
    applied: Mapping[str, int]
    """The limits that the engine has acknowledged."""
    has_own_rules: bool
    """Whether annotations of the workload change what its policy says."""

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
        migration=notes.get(MIGRATION),
        limits=limits_of(notes.get(MIGRATION)),
        is_valid=is_valid(notes.get(MIGRATION)),
        applied=applied_of(notes.get(APPLIED_MIGRATION)),
        has_own_rules=bool(OWN_RULES & notes.keys()),
    )


_AWAY_SECONDS = 60.0


class HubView:
    """The objects of the hub, by their keys. `member` is our own."""

    def __init__(self, member: str) -> None:
        self.sources: dict[str, Source] = {}
        self.policies: dict[str, Propagation] = {}
        self.reports: dict[str, MemberReport] = {}
        self.clusters: dict[str, tuple[bool, float]] = {}
        """Whether the engine places pods in each cluster, and since when, by the agent's clock."""
        self.leases = Leases(member)

    def fleet(self, found: Source, alive: Set[str], now: float) -> Fleet | None:
        """What is known about the workload. None if its policy is not known, or does not divide the
        replicas. Only members in `alive` whose report is not old have a state. Where the engine
        chooses among the members by other rules, no member is sure to take the rest."""
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
        if policy.selects or found.has_own_rules:
            return Fleet(policy.order, states, found.limits, frozenset(policy.order))
        away = {member for member in policy.order if self._is_away(member, now)}
        return Fleet(policy.order, states, found.limits, policy.capped | away)

    def _is_away(self, member: str, now: float) -> bool:
        """Whether the engine has placed nothing there for a while. It leaves a cluster that is not
        ready for a moment as it is."""
        is_placed, since = self.clusters.get(member, (False, -inf))
        return not is_placed and now - since >= _AWAY_SECONDS


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
