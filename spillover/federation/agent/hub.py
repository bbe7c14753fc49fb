"""What the agent knows about the hub."""

from collections.abc import Set
from dataclasses import dataclass

import msgspec

from spillover.api.kubernetes import ObjectMeta
from spillover.federation.agent.leases import Leases
from spillover.federation.kubeadmiral import (
    APPLIED_MIGRATION,
    MIGRATION,
    POLICY_LABEL,
    Propagation,
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
    applied: str | None
    """The limits that the engine has acknowledged, as it writes them."""

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
        applied=notes.get(APPLIED_MIGRATION),
    )


class HubView:
    """The objects of the hub, by their keys."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}
        self.policies: dict[str, Propagation] = {}
        self.reports: dict[str, MemberReport] = {}
        self.leases = Leases()

    def fleet(self, found: Source, alive: Set[str]) -> Fleet | None:
        """What is known about the workload. None if its policy is not known. Only the members in
        `alive` have a state."""
        policy = self.policies.get(f"{found.namespace}/{found.policy}")
        if policy is None:
            return None
        states = {
            member: state
            for member in policy.order
            if member in alive and member in self.reports
            for state in self.reports[member].states
            if state.key == found.key
        }
        return Fleet(policy.order, states, limits_of(found.migration))
