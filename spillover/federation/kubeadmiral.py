"""The annotations and policies of KubeAdmiral that Spillover reads and writes.

Source: github.com/kubewharf/kubeadmiral, pkg/apis/core/v1alpha1 and pkg/controllers/common.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

GROUP = "core.kubeadmiral.io"
POLICY_LABEL = "kubeadmiral.io/propagation-policy-name"
OVERRIDE_LABEL = "kubeadmiral.io/override-policy-name"
MANAGED_LABEL = "kubeadmiral.io/managed"
"""On the objects that the engine has made in a member."""
OWN_RULES = frozenset(
    f"kubeadmiral.io/{name}"
    for name in (
        "affinity",
        "clusterSelector",
        "maxClusters",
        "placements",
        "scheduling-mode",
        "sticky-cluster",
        "tolerations",
    )
)
"""Annotations of a workload that change what its PropagationPolicy says."""
MIGRATION = "kubeadmiral.io/migration-configuration"
_MOST = 2**31 - 1
"""The largest limit: a Deployment has no more replicas."""
APPLIED_MIGRATION = "kubeadmiral.io/applied-migration-configuration"


@dataclass(frozen=True, slots=True)
class Placement:
    """What a PropagationPolicy says of one member."""

    cluster: str
    min_replicas: int = 0
    max_replicas: int | None = None
    weight: int = 0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Propagation:
    """A PropagationPolicy, as far as Spillover reads it."""

    namespace: str
    name: str
    packs: bool
    """The strategy Binpack: by priority. Otherwise Spread: by weight."""
    placements: tuple[Placement, ...]
    selects: bool = False
    """The engine chooses among the members of the placement: by labels, or a number of them."""
    divides: bool = True
    """The mode Divide. In the mode Duplicate each member gets all replicas."""
    threshold: str = ""
    """`podUnschedulableFor` as written, or "": no migration."""
    keeps_unschedulable: bool = False
    avoids_disruption: bool = False

    @property
    def order(self) -> tuple[str, ...]:
        """The members, the most preferred first."""
        found = sorted(
            self.placements,
            key=lambda each: (-(each.priority if self.packs else each.weight), each.cluster),
        )
        return tuple(each.cluster for each in found)

    @property
    def capped(self) -> frozenset[str]:
        """The members that get no more than a fixed number: they have a maximum or, with Spread, no
        weight."""
        return frozenset(
            each.cluster
            for each in self.placements
            if each.max_replicas is not None or not (self.packs or each.weight > 0)
        )


class _Preferences(msgspec.Struct, frozen=True, rename="camel"):
    min_replicas: int = 0
    max_replicas: int | None = None
    weight: int | None = None
    priority: int | None = None


class _Placement(msgspec.Struct, frozen=True):
    cluster: str
    preferences: _Preferences = _Preferences()


class _When(msgspec.Struct, frozen=True, rename="camel"):
    pod_unschedulable_for: str = ""


class _Migration(msgspec.Struct, frozen=True, rename="camel"):
    when: _When = _When()
    keep_unschedulable_replicas: bool = False


class _ReplicaRescheduling(msgspec.Struct, frozen=True, rename="camel"):
    avoid_disruption: bool = False


class _Rescheduling(msgspec.Struct, frozen=True, rename="camel"):
    replica_rescheduling: _ReplicaRescheduling | None = None


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    scheduling_mode: str = ""
    cluster_selector: dict[str, str] | None = None
    cluster_affinity: list[Any] | None = None
    max_clusters: int | None = None
    scheduling_profile: str = ""
    replicas_strategy: str | None = None
    placement: list[_Placement] = []
    auto_migration: _Migration | None = None
    reschedule_policy: _Rescheduling | None = None


class _Meta(msgspec.Struct, frozen=True):
    name: str
    namespace: str = ""


class _Policy(msgspec.Struct, frozen=True):
    metadata: _Meta
    spec: _Spec = _Spec()


_POLICIES = msgspec.json.Decoder(_Policy)


def propagation(raw: bytes | msgspec.Raw) -> Propagation:
    """From the JSON of the object. Raises msgspec.MsgspecError."""
    found = _POLICIES.decode(raw)
    spec, migration = found.spec, found.spec.auto_migration
    rescheduling = spec.reschedule_policy.replica_rescheduling if spec.reschedule_policy else None
    return Propagation(
        namespace=found.metadata.namespace,
        name=found.metadata.name,
        packs=spec.replicas_strategy == "Binpack",
        placements=tuple(
            Placement(
                each.cluster,
                each.preferences.min_replicas,
                each.preferences.max_replicas,
                each.preferences.weight or 0,
                each.preferences.priority or 0,
            )
            for each in spec.placement
        ),
        selects=bool(
            spec.cluster_selector
            or spec.cluster_affinity
            or spec.max_clusters is not None
            or spec.scheduling_profile
        ),
        divides=spec.scheduling_mode == "Divide",
        threshold=migration.when.pod_unschedulable_for if migration is not None else "",
        keeps_unschedulable=migration is not None and migration.keep_unschedulable_replicas,
        avoids_disruption=rescheduling is not None and rescheduling.avoid_disruption,
    )


def limits_of(annotation: str | None) -> dict[str, int]:
    """The limits by cluster in a migration configuration. Entries that the engine would refuse are
    left out: of those with one cluster the last counts."""
    entries = _configuration(annotation).get("replicasMigrations")
    found: dict[str, int] = {}
    for entry in entries if isinstance(entries, list) else ():
        cluster, limit = _entry(entry)
        if cluster and limit is not None:
            found[cluster] = limit
    return found


def is_valid(annotation: str | None) -> bool:
    """Whether the engine takes the limits over. It keeps the earlier limits otherwise."""
    if annotation is None:
        return True
    entries = _configuration(annotation).get("replicasMigrations", [])
    is_read = bool(_configuration(annotation)) or annotation.strip() == "{}"
    return is_read and isinstance(entries, list) and len(limits_of(annotation)) == len(entries)


def _configuration(annotation: str | None) -> dict[str, Any]:
    try:
        found = json.loads(annotation or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def applied_of(annotation: str | None) -> dict[str, int]:
    """The limits by cluster that the engine has acknowledged."""
    try:
        found = json.loads(annotation or "{}")["limitedCapacity"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return dict(found) if isinstance(found, dict) else {}


def _entry(entry: object) -> tuple[str, int | None]:
    if not isinstance(entry, dict):
        return "", None
    cluster, limit = entry.get("cluster"), entry.get("limitedCapacity")
    is_count = isinstance(limit, int) and not isinstance(limit, bool) and 0 <= limit <= _MOST
    return (cluster if isinstance(cluster, str) else ""), (limit if is_count else None)


def with_limits(limits: Mapping[str, int], before: str | None = None) -> str | None:
    """The annotation for these limits. What else the annotation had before stays, such as the
    user's workloadMigrations. None: no annotation."""
    found = {
        name: value
        for name, value in _configuration(before).items()
        if name != "replicasMigrations"
    }
    if limits:
        found["replicasMigrations"] = [
            {"cluster": cluster, "limitedCapacity": limits[cluster]} for cluster in sorted(limits)
        ]
    return json.dumps(found, separators=(",", ":")) if found else None
