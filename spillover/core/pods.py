"""What Spillover knows of a pod."""

from collections.abc import Mapping
from dataclasses import dataclass

from spillover.api.kubernetes import PodObject, PodSpec, Toleration

POLICY_ANNOTATION = "spillover.dev/policy"
"""`<group>/<name>` of the policy that placed the pod."""

UNIT_ANNOTATION = "spillover.dev/unit"
"""Identity of the unit that the pod was placed in. It decides where the pod counts."""

_FINISHED = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Pod:
    """`version` is the resourceVersion, which grows with every write. `node` is "" while unbound.

    `refusal` is reason and message of PodScheduled=False as the scheduler last wrote it.
    `slow_to_bind`: PreBind may take minutes, for volumes or resource claims.
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


def pod_from_wire(wire: PodObject) -> Pod:
    """Raises ValueError when the resourceVersion is not a number, as no API server writes it."""
    metadata, spec, status = wire.metadata, wire.spec, wire.status
    return Pod(
        uid=metadata.uid,
        namespace=metadata.namespace,
        name=metadata.name,
        version=int(metadata.resource_version),
        labels=metadata.labels or {},
        annotations=metadata.annotations or {},
        node=spec.node_name,
        finished=status.phase in _FINISHED,
        terminating=metadata.deletion_timestamp is not None,
        tolerations=tuple(spec.tolerations or ()),
        refusal=next(
            (
                f"{condition.reason}: {condition.message}"
                for condition in status.conditions or ()
                if condition.type == "PodScheduled" and condition.status == "False"
            ),
            "",
        ),
        slow_to_bind=_slow_to_bind(spec),
    )


def _slow_to_bind(spec: PodSpec) -> bool:
    return bool(spec.resource_claims) or any(
        volume.persistent_volume_claim is not None or volume.ephemeral is not None
        for volume in spec.volumes or ()
    )
