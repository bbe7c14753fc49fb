"""The fields of core Kubernetes objects that Spillover reads; everything else is skipped unread.

Source: k8s.io/api/core/v1. `null` stands for absent in every field that Go writes with `omitempty`.
"""

from msgspec import Struct


class ObjectMeta(Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Toleration(Struct, frozen=True):
    """`operator` is Equal (also when empty), Exists, Lt or Gt; an empty `effect` means any."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""


class Taint(Struct, frozen=True):
    key: str
    value: str = ""
    effect: str = ""


class Volume(Struct, frozen=True, rename="camel"):
    persistent_volume_claim: dict[str, object] | None = None
    ephemeral: dict[str, object] | None = None


class PodSpec(Struct, frozen=True, rename="camel"):
    node_name: str = ""
    scheduler_name: str = ""
    priority: int | None = None
    tolerations: list[Toleration] | None = None
    volumes: list[Volume] | None = None
    resource_claims: list[dict[str, object]] | None = None


class PodCondition(Struct, frozen=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class PodStatus(Struct, frozen=True, rename="camel"):
    phase: str = ""
    conditions: list[PodCondition] | None = None


class PodObject(Struct, frozen=True):
    metadata: ObjectMeta
    spec: PodSpec
    status: PodStatus = PodStatus()


class NodeSpec(Struct, frozen=True):
    taints: list[Taint] | None = None


class NodeObject(Struct, frozen=True):
    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()


def parse_version(text: str) -> int:
    """A resourceVersion, which grows with every write. Raises ValueError for what no API server
    writes."""
    if not (text.isascii() and text.isdigit() and int(text) < 2**64):
        raise ValueError(f"metadata.resourceVersion: {text[:40]!r} is not a version")
    return int(text)
