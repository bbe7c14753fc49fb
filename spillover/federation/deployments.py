"""Deployments of a member as they are read: how many replicas, and what their pods are like."""

from typing import Any

import msgspec

from spillover.api.kubernetes import ConstrainedPod, ObjectMeta, PodObject
from spillover.core.model.pods import pod_from_wire
from spillover.federation.member import Deployed
from spillover.federation.room import Shape


class _Template(msgspec.Struct, frozen=True):
    metadata: dict[str, Any] = {}
    spec: dict[str, Any] = {}


class _Selector(msgspec.Struct, frozen=True, rename="camel"):
    match_labels: dict[str, str] | None = None


class _Spec(msgspec.Struct, frozen=True):
    template: _Template
    selector: _Selector = _Selector()
    replicas: int | None = None


class _Deployment(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    spec: _Spec


_DEPLOYMENTS = msgspec.json.Decoder(_Deployment)


def deployed(raw: bytes | msgspec.Raw) -> Deployed:
    """From the JSON of a Deployment. Raises ValueError and msgspec.MsgspecError."""
    found = _DEPLOYMENTS.decode(raw)
    metadata = found.metadata
    return Deployed(
        uid=metadata.uid,
        namespace=metadata.namespace,
        name=metadata.name,
        replicas=found.spec.replicas if found.spec.replicas is not None else 1,
        shape=_shape(metadata, found.spec.template),
        selector=found.spec.selector.match_labels or {},
    )


_LONGEST_CONSTRAINTS = 16_384
"""In bytes, as JSON. Every node is compared with the constraints."""


def _shape(metadata: ObjectMeta, template: _Template) -> Shape:
    """A pod as the template makes it. It has no node, and no such pod exists."""
    spec = _with_requests(template.spec)
    made = {
        "metadata": {
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": f"a pod of {metadata.uid}",
            "resourceVersion": "0",
            "labels": template.metadata.get("labels"),
            "annotations": template.metadata.get("annotations"),
        },
        "spec": {name: value for name, value in spec.items() if name != "nodeName"},
    }
    constraints = msgspec.convert({"spec": spec}, ConstrainedPod)
    if len(msgspec.json.encode(constraints)) > _LONGEST_CONSTRAINTS:
        raise ValueError("spec.template.spec: affinity, node selector and ports are too long")
    return Shape(pod_from_wire(msgspec.convert(made, PodObject)), constraints)


def _with_requests(spec: dict[str, Any]) -> dict[str, Any]:
    """The API server gives a pod a request for each limit without one, but not a template."""
    kinds = {
        kind: [
            {**container, "resources": _requested(container.get("resources") or {})}
            for container in spec[kind]
        ]
        for kind in ("containers", "initContainers")
        if spec.get(kind)
    }
    return {**spec, **kinds}


def _requested(resources: dict[str, Any]) -> dict[str, Any]:
    return {
        **resources,
        "requests": {**resources.get("limits", {}), **resources.get("requests", {})},
    }
