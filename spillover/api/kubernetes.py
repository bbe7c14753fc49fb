"""The fields of core Kubernetes objects that Spillover reads. All other fields are skipped.

Source: k8s.io/api/core/v1. `null` means absent in every field that Go writes with `omitempty`.
"""

import msgspec
from msgspec import Struct


class OwnerReference(Struct, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class ObjectMeta(Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None


class Toleration(Struct, frozen=True):
    """A toleration of a pod."""

    key: str = ""
    operator: str = ""
    """Equal (also when empty), Exists, Lt or Gt."""
    value: str = ""
    effect: str = ""
    """Empty means any effect."""


class Taint(Struct, frozen=True):
    key: str
    value: str = ""
    effect: str = ""


class Volume(Struct, frozen=True, rename="camel"):
    persistent_volume_claim: dict[str, object] | None = None
    ephemeral: dict[str, object] | None = None


class Resources(Struct, frozen=True):
    """The resources of a pod or container."""

    requests: dict[str, str] | None = None
    """As the API server writes them: the quantities are valid."""


class Container(Struct, frozen=True, rename="camel"):
    name: str = ""
    resources: Resources = Resources()
    restart_policy: str | None = None


class SchedulingGate(Struct, frozen=True):
    name: str


class TopologySpread(Struct, frozen=True, rename="camel"):
    """One of a pod's topologySpreadConstraints."""

    when_unsatisfiable: str = ""
    node_taints_policy: str | None = None
    """Honor: nodes with taints that the pod does not tolerate are no part of the domains. Ignore,
    also if absent: they are."""


class PodSpec(Struct, frozen=True, rename="camel"):
    node_name: str = ""
    scheduler_name: str = ""
    priority: int | None = None
    preemption_policy: str | None = None
    containers: list[Container] | None = None
    init_containers: list[Container] | None = None
    overhead: dict[str, str] | None = None
    resources: Resources | None = None
    tolerations: list[Toleration] | None = None
    volumes: list[Volume] | None = None
    resource_claims: list[dict[str, object]] | None = None
    scheduling_gates: list[SchedulingGate] | None = None
    topology_spread_constraints: list[TopologySpread] | None = None


class PodCondition(Struct, frozen=True, rename="camel"):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class ContainerStatus(Struct, frozen=True, rename="camel"):
    name: str = ""
    resources: Resources | None = None
    allocated_resources: dict[str, str] | None = None


class PodStatus(Struct, frozen=True, rename="camel"):
    phase: str = ""
    conditions: list[PodCondition] | None = None
    nominated_node_name: str = ""
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None
    resources: Resources | None = None
    allocated_resources: dict[str, str] | None = None


class PodObject(Struct, frozen=True):
    metadata: ObjectMeta
    spec: PodSpec
    status: PodStatus = PodStatus()


class NodeSpec(Struct, frozen=True):
    taints: list[Taint] | None = None


class NodeObject(Struct, frozen=True):
    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()


class NodeSelectorRequirement(Struct, frozen=True):
    key: str
    operator: str
    values: list[str] | None = None


class NodeSelectorTerm(Struct, frozen=True, rename="camel"):
    match_expressions: list[NodeSelectorRequirement] | None = None
    match_fields: list[NodeSelectorRequirement] | None = None


class NodeSelector(Struct, frozen=True, rename="camel"):
    node_selector_terms: list[NodeSelectorTerm] | None = None


class NodeAffinity(Struct, frozen=True):
    required: NodeSelector | None = msgspec.field(
        default=None, name="requiredDuringSchedulingIgnoredDuringExecution"
    )


class Affinity(Struct, frozen=True, rename="camel"):
    node_affinity: NodeAffinity | None = None


class ContainerPort(Struct, frozen=True, rename="camel"):
    host_port: int = 0
    host_ip: str = msgspec.field(default="", name="hostIP")
    protocol: str = "TCP"


class ConstrainedContainer(Struct, frozen=True, rename="camel"):
    ports: list[ContainerPort] | None = None
    restart_policy: str | None = None


class ConstrainedSpec(Struct, frozen=True, rename="camel"):
    containers: list[ConstrainedContainer] | None = None
    init_containers: list[ConstrainedContainer] | None = None
    scheduling_gates: list[SchedulingGate] | None = None
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None


class ConstrainedPod(Struct, frozen=True):
    """The fields of a pod that restrict its nodes, besides resources and tolerations."""

    spec: ConstrainedSpec


class CapacitySpec(Struct, frozen=True):
    unschedulable: bool = False


class CapacityStatus(Struct, frozen=True):
    allocatable: dict[str, str] | None = None


class NodeCapacity(Struct, frozen=True):
    """The capacity of a node."""

    spec: CapacitySpec = CapacitySpec()
    status: CapacityStatus = CapacityStatus()


class NamespaceObject(Struct, frozen=True):
    metadata: ObjectMeta


class LabelSelector(Struct, frozen=True, rename="camel"):
    match_labels: dict[str, str] | None = None
    match_expressions: list[NodeSelectorRequirement] | None = None


class WorkloadSpec(Struct, frozen=True):
    replicas: int | None = None
    selector: LabelSelector | None = None


class WorkloadObject(Struct, frozen=True):
    """What Deployments, ReplicaSets and StatefulSets have in common (k8s.io/api/apps/v1)."""

    metadata: ObjectMeta
    spec: WorkloadSpec = WorkloadSpec()


class TemplateMeta(Struct, frozen=True):
    labels: dict[str, str] | None = None


class PodTemplate(Struct, frozen=True):
    metadata: TemplateMeta = TemplateMeta()


class TemplatedSpec(Struct, frozen=True):
    selector: LabelSelector | None = None
    template: PodTemplate = PodTemplate()


class TemplatedWorkload(Struct, frozen=True):
    """A workload that makes pods from a template and selects them by label."""

    metadata: ObjectMeta = ObjectMeta()
    spec: TemplatedSpec = TemplatedSpec()


def parse_version(text: str) -> int:
    """Parses a resourceVersion, which grows with every write. Raises ValueError for text that no
    API server writes."""
    if not (text.isascii() and text.isdigit() and int(text) < 2**64):
        raise ValueError(f"metadata.resourceVersion: {text[:40]!r} is not a version")
    return int(text)
