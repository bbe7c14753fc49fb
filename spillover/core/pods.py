"""What Spillover knows of a pod."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from spillover.api.kubernetes import PodObject, PodSpec, Toleration, parse_version
from spillover.api.partial import Identity
from spillover.core.instants import AFTER_ALL
from spillover.core.resources import Requests, pod_requests
from spillover.core.workloads import owner_of

POLICY_ANNOTATION = "spillover.dev/policy"
"""`<group>/<name>` of the policy that placed the pod."""

UNIT_ANNOTATION = "spillover.dev/unit"
"""Identity of the unit that the pod was placed in. It decides where the pod counts."""

WAITING_ANNOTATION = "spillover.dev/waiting"
"""Since when the pod waits for nodes of a unit: see `spillover.core.waits`."""

_FINISHED = frozenset({"Succeeded", "Failed"})


EPOCH_ANNOTATION = "spillover.dev/epoch"
"""The term of the extender that last swept the pod while it was unbound: see `term`."""


_LONGEST_VERSION = 20  # digits of 64 bits


@dataclass(frozen=True, slots=True)
class Pod:
    """`version` is the resourceVersion, which grows with every write. `node` is "" while unbound.

    `refusal` is reason and message of PodScheduled=False as the scheduler last wrote it.
    `slow_to_bind`: PreBind may take minutes, for volumes or resource claims. `created` is RFC 3339
    in UTC as the API server writes it, so it sorts. `scheduler` is the name of the pod's scheduler.
    `since` is when the condition PodScheduled last changed, in the same form, "" if it never did.
    `owner` is the uid of the workload with replicas that controls the pod, or "". `nominated` is
    the node that the scheduler, or somebody else, means it for while it waits. `started`: its
    phase is not Pending any more. `ready` is its condition Ready.
    """

    uid: str
    namespace: str
    name: str
    version: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    node: str
    finished: bool
    terminating: bool
    tolerations: tuple[Toleration, ...]
    refusal: str
    slow_to_bind: bool
    priority: int
    created: str
    scheduler: str
    since: str
    requests: Requests
    owner: str
    nominated: str
    may_preempt: bool
    started: bool
    ready: bool
    unreadable: str = ""
    """Why the newest version does not decode; empty if it does. Such a pod keeps its slot and is
    not placed."""

    @property
    def epoch(self) -> int:
        """0 for a pod that was never swept, or whose user has written what is no version."""
        text = self.annotations.get(EPOCH_ANNOTATION, "")
        is_version = text.isascii() and text.isdigit() and len(text) <= _LONGEST_VERSION
        return int(text) if is_version else 0

    @property
    def is_refused(self) -> bool:
        """Waiting, and found unschedulable when last tried."""
        waits = not (self.node or self.terminating or self.finished)
        return waits and self.refusal.startswith("Unschedulable:")


def pod_from_wire(wire: PodObject) -> Pod:
    """Raises ValueError, naming the field, for what no API server writes."""
    metadata, spec, status = wire.metadata, wire.spec, wire.status
    scheduled = next((c for c in status.conditions or () if c.type == "PodScheduled"), None)
    for field in ("uid", "namespace", "name"):
        if not getattr(metadata, field):
            raise ValueError(f"metadata.{field} is missing")
    return Pod(
        uid=metadata.uid,
        namespace=metadata.namespace,
        name=metadata.name,
        version=parse_version(metadata.resource_version),
        labels=metadata.labels or {},
        annotations=metadata.annotations or {},
        node=spec.node_name,
        finished=status.phase in _FINISHED,
        terminating=metadata.deletion_timestamp is not None,
        tolerations=tuple(spec.tolerations or ()),
        refusal=(
            f"{scheduled.reason}: {scheduled.message}"
            if scheduled is not None and scheduled.status == "False"
            else ""
        ),
        slow_to_bind=_slow_to_bind(spec),
        priority=spec.priority or 0,
        created=metadata.creation_timestamp or "",
        scheduler=spec.scheduler_name,
        since=(scheduled.last_transition_time or "") if scheduled is not None else "",
        requests=pod_requests(wire),
        owner=owner_of(metadata),
        nominated=status.nominated_node_name,
        may_preempt=spec.preemption_policy != "Never",
        started=status.phase not in ("", "Pending"),
        ready=any(c.type == "Ready" and c.status == "True" for c in status.conditions or ()),
    )


def unreadable_pod(found: Identity, reason: str, before: Pod | None) -> Pod:
    """What stands for a pod whose newest version does not decode. `before` is the pod as it was
    last read: whatever cannot be known now stays."""
    if before is None:
        before = Pod(
            uid=found.uid,
            namespace=found.namespace,
            name=found.name,
            version=found.version,
            labels=found.labels,
            annotations=found.annotations,
            node=found.node,
            finished=found.finished,
            terminating=found.terminating,
            tolerations=(),
            refusal="",
            slow_to_bind=True,
            priority=0,
            created=AFTER_ALL,  # after every policy: it counts
            scheduler="",
            since=AFTER_ALL,
            requests=(),
            owner="",
            nominated="",
            may_preempt=False,
            started=False,
            ready=False,
        )
    return replace(
        before,
        version=found.version,
        labels=found.labels,
        annotations=found.annotations,
        node=found.node or before.node,
        finished=found.finished or before.finished,
        terminating=found.terminating,
        refusal="",
        unreadable=reason,
    )


def _slow_to_bind(spec: PodSpec) -> bool:
    return bool(spec.resource_claims) or any(
        volume.persistent_volume_claim is not None or volume.ephemeral is not None
        for volume in spec.volumes or ()
    )
