"""Pods that are being created: their scheduler and their labels."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import msgspec

from spillover.api.admission import AdmissionRequest, AdmissionResponse
from spillover.api.kubernetes import PodObject
from spillover.core.admission import AdmissionDefaults, AdmittedPod, admit, json_patch
from spillover.core.matching import PolicyIndex
from spillover.core.resources import pod_requests
from webhook.namespaces import Namespaces


class _Selecting(msgspec.Struct, frozen=True, rename="camel"):
    node_selector: dict[str, str] | None = None


class _Selected(msgspec.Struct, frozen=True):
    spec: _Selecting = _Selecting()


class Admitting:
    def __init__(
        self,
        policies: PolicyIndex,
        namespaces: Namespaces,
        defaults: AdmissionDefaults,
        excluded: Collection[str],
    ) -> None:
        self._policies = policies
        self._namespaces = namespaces
        self._defaults = defaults
        self._excluded = excluded

    def admit(self, request: AdmissionRequest) -> AdmissionResponse:
        """Never refuses: what cannot be read is left to the API server."""
        plain = AdmissionResponse(request.uid, allowed=True)
        if request.namespace in self._excluded or request.operation != "CREATE":
            return plain
        try:
            pod, raw_labels = _read(request.object or {})
        except (msgspec.ValidationError, ValueError):
            return plain
        policy = self._policies.for_pod(request.namespace, pod.labels)
        namespace = self._namespaces.get(request.namespace)
        changes = admit(pod, policy, namespace, self._defaults)
        after = self._policies.for_pod(request.namespace, {**pod.labels, **changes.labels})
        if after is not policy:
            # With these labels it would be another policy's. They come with the binding.
            changes = replace(changes, labels={})
        patch = json_patch(changes, has_labels=raw_labels is not None)
        if not patch:
            return plain
        return AdmissionResponse(
            request.uid, allowed=True, patch=msgspec.json.encode(patch), patch_type="JSONPatch"
        )


def _read(raw: dict[str, Any]) -> tuple[AdmittedPod, dict[str, str] | None]:
    """Raises ValidationError or ValueError for what is no pod."""
    wire = msgspec.convert(raw, PodObject)
    selecting = msgspec.convert(raw, _Selected).spec
    metadata = wire.metadata
    pod = AdmittedPod(
        labels=metadata.labels or {},
        annotations=metadata.annotations or {},
        scheduler=wire.spec.scheduler_name,
        requests=pod_requests(wire),
        node_selector=selecting.node_selector or {},
    )
    return pod, metadata.labels
