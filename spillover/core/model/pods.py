"""What Spillover knows about a pod."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from spillover.api.kubernetes import PodObject, PodSpec, Toleration, parse_version
from spillover.api.partial import Identity
from spillover.core.model.resources import Requests, pod_requests
from spillover.core.model.sharing import one_mapping, one_text
from spillover.core.model.timestamps import AFTER_ALL
from spillover.core.model.workloads import controller_of, has_given_node, owner_of

POLICY_ANNOTATION = "spillover.dev/policy"
"""`<group>/<name>` of the policy that placed the pod."""

UNIT_ANNOTATION = "spillover.dev/unit"
"""Identity of the unit that the pod was placed in. This annotation decides where the pod counts."""

ATTRIBUTION = (POLICY_ANNOTATION, UNIT_ANNOTATION)

WAITING_ANNOTATION = "spillover.dev/waiting"
"""Since when the pod waits for nodes of a unit: see `spillover.core.decision.wait_annotation`."""

CROWD_GATE = "spillover.dev/crowd"
"""The scheduling gate of pods that were created in a crowded namespace: see
`spillover.core.cache.crowds`."""

_LOOKED_AT_NODES = re.compile(
    r"Unschedulable: (0/[0-9]+ nodes are available: [0-9]+ |no nodes available)"
)
"""kube-scheduler's message counts the nodes for each reason that it found at nodes. It gives no
number if a PreFilter plugin has refused the pod. Source: k8s.io/kubernetes, framework.FitError."""

_FINISHED = frozenset({"Succeeded", "Failed"})


TOLERATED_ANNOTATION = "spillover.dev/tolerations"
"""Keys of the tolerations that Spillover gave the pod, separated by commas: see
`spillover.controller.spread_tolerations`. Decisions do not count these tolerations as the pod's."""

EPOCH_ANNOTATION = "spillover.dev/epoch"
"""Epoch of the term in which an extender last swept the pod while the pod was unbound: see
`spillover.core.cache.term`."""


_LONGEST_KEYS = 4096
"""Longest annotation of tolerations that is read, in characters."""
_LONGEST_VERSION = 20  # digits of 64 bits


@dataclass(frozen=True, slots=True)
class Pod:
    """The fields of a pod that Spillover uses."""

    uid: str
    namespace: str
    name: str
    version: int
    """The resourceVersion, which grows with every write."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    node: str
    """Empty while the pod is unbound."""
    finished: bool
    terminating: bool
    tolerations: tuple[Toleration, ...]
    """Without those that Spillover gave the pod."""
    refusal: str
    """Reason and message of PodScheduled=False, as the scheduler last wrote them."""
    slow_to_bind: bool
    """PreBind may take minutes, because of volumes or resource claims."""
    priority: int
    created: str
    """RFC 3339 in UTC as the API server writes it, so it sorts."""
    scheduler: str
    """Name of the pod's scheduler."""
    since: str
    """When the condition PodScheduled last changed, in the form of `created`. "" if it never
    changed."""
    requests: Requests
    owner: str
    """Uid of the workload with replicas that controls the pod, or ""."""
    nominated: str
    """The waiting pod's nominatedNodeName. The scheduler or another client sets it."""
    may_preempt: bool
    started: bool
    """The pod's phase is no longer Pending."""
    ready: bool
    """The pod's condition Ready is True."""
    controller: str = ""
    """Uid of the pod's controller, of any kind, or ""."""
    spreads_by_taints: bool = False
    """A hard topology spread constraint of the pod leaves out the nodes whose taints the pod does
    not tolerate."""
    given_tolerations: frozenset[str] = frozenset()
    """Keys of the taints that the pod tolerates because Spillover gave it the toleration."""
    has_given_node: bool = False
    """A DaemonSet or a kubelet made the pod for one node. It is under no policy."""
    has_crowd_gate: bool = False
    has_other_gates: bool = False
    is_moved: bool = False
    """Somebody changed the annotations that decide where the bound pod counts. `annotations` keeps
    their earlier values."""
    unreadable: str = ""
    """Why the pod's newest version does not decode, or "". An unreadable pod keeps its slot and is
    not placed."""

    @property
    def epoch(self) -> int:
        """0 if the pod was never swept, or if a user wrote an annotation that is not a version."""
        text = self.annotations.get(EPOCH_ANNOTATION, "")
        is_version = text.isascii() and text.isdigit() and len(text) <= _LONGEST_VERSION
        return int(text) if is_version else 0

    @property
    def is_waiting(self) -> bool:
        return not (self.node or self.terminating or self.finished)

    @property
    def is_refused(self) -> bool:
        """The pod waits, and the scheduler's last attempt found it unschedulable."""
        return self.is_waiting and self.refusal.startswith("Unschedulable:")

    @property
    def is_refused_by_nodes(self) -> bool:
        """The scheduler's last attempt looked for a node and found none. If the pod itself cannot
        be scheduled for now, for example because a volume claim is missing, the scheduler does not
        look at nodes."""
        return self.is_refused and _LOOKED_AT_NODES.match(self.refusal) is not None

    @property
    def is_gated(self) -> bool:
        """The pod waits, and only our gate keeps the scheduler from trying it."""
        return self.is_waiting and self.has_crowd_gate and not self.has_other_gates


def pod_from_wire(wire: PodObject) -> Pod:
    """Raises ValueError, which names the field, for an object that no API server writes."""
    metadata, spec, status = wire.metadata, wire.spec, wire.status
    scheduled = next((c for c in status.conditions or () if c.type == "PodScheduled"), None)
    for field in ("uid", "namespace", "name"):
        if not getattr(metadata, field):
            raise ValueError(f"metadata.{field} is missing")
    own, given = _tolerations(wire)
    return Pod(
        uid=metadata.uid,
        namespace=one_text(metadata.namespace),
        name=metadata.name,
        version=parse_version(metadata.resource_version),
        labels=one_mapping(metadata.labels),
        annotations=one_mapping(metadata.annotations),
        node=one_text(spec.node_name),
        finished=status.phase in _FINISHED,
        terminating=metadata.deletion_timestamp is not None,
        tolerations=own,
        refusal=(
            f"{scheduled.reason}: {scheduled.message}"
            if scheduled is not None and scheduled.status == "False"
            else ""
        ),
        slow_to_bind=_slow_to_bind(spec),
        priority=spec.priority or 0,
        created=one_text(metadata.creation_timestamp or ""),
        scheduler=one_text(spec.scheduler_name),
        since=one_text(scheduled.last_transition_time or "") if scheduled is not None else "",
        requests=pod_requests(wire),
        owner=one_text(owner_of(metadata)),
        nominated=status.nominated_node_name,
        may_preempt=spec.preemption_policy != "Never",
        started=status.phase not in ("", "Pending"),
        ready=any(c.type == "Ready" and c.status == "True" for c in status.conditions or ()),
        controller=one_text(controller_of(metadata)),
        spreads_by_taints=any(
            each.when_unsatisfiable == "DoNotSchedule" and each.node_taints_policy == "Honor"
            for each in spec.topology_spread_constraints or ()
        ),
        given_tolerations=given,
        has_given_node=has_given_node(metadata),
        has_crowd_gate=any(gate.name == CROWD_GATE for gate in spec.scheduling_gates or ()),
        has_other_gates=any(gate.name != CROWD_GATE for gate in spec.scheduling_gates or ()),
    )


_NO_KEYS: frozenset[str] = frozenset()


def _tolerations(wire: PodObject) -> tuple[tuple[Toleration, ...], frozenset[str]]:
    """The pod's own tolerations, and the keys of those that Spillover gave it."""
    every = wire.spec.tolerations or ()
    text = (wire.metadata.annotations or {}).get(TOLERATED_ANNOTATION, "")
    if not text or len(text) > _LONGEST_KEYS:
        return tuple(every), _NO_KEYS
    keys = frozenset(text.split(","))
    given = [each for each in every if each == Toleration(each.key, "Exists") and each.key in keys]
    return (
        tuple(each for each in every if each not in given),
        frozenset(each.key for each in given),
    )


def attributed(pod: Pod, known: Pod | None) -> Pod:
    """The pod, with the attribution that it had when Spillover first saw it on its node (`known`).
    A bound pod keeps counting there, even if its annotations change: only the Binding may write
    them."""
    if known is None or not known.node or known.node != pod.node:
        return pod
    if all(pod.annotations.get(key) == known.annotations.get(key) for key in ATTRIBUTION):
        return pod
    kept = {key: known.annotations[key] for key in ATTRIBUTION if key in known.annotations}
    others = {key: value for key, value in pod.annotations.items() if key not in ATTRIBUTION}
    return replace(pod, annotations={**others, **kept}, is_moved=True)


def unreadable_pod(found: Identity, reason: str, before: Pod | None) -> Pod:
    """Stands for a pod whose newest version does not decode. `before` is the last version that was
    read: fields that cannot be read now keep its values."""
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
            created=AFTER_ALL,  # later than every policy, so ignorePreviousPod never excludes it
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
