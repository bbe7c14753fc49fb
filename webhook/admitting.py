"""Changes pods at their creation: the scheduler, labels and the scheduling gate."""

from collections.abc import Collection
from dataclasses import replace

import msgspec

from spillover.api.admission import AdmissionRequest, AdmissionResponse, AdmittedObject
from spillover.core.admission.mutate import (
    AdmissionDefaults,
    AdmittedPod,
    admit,
    asked_by_namespace,
    json_patch,
)
from spillover.core.cache.policy_index import PolicyIndex
from spillover.core.model.resources import pod_requests
from spillover.core.model.workloads import has_given_node
from webhook.crowded import CrowdedNamespaces
from webhook.namespaces import Namespaces

_PODS = msgspec.json.Decoder(AdmittedObject)


class Admitting:
    def __init__(
        self,
        policies: PolicyIndex,
        namespaces: Namespaces,
        crowded: CrowdedNamespaces,
        defaults: AdmissionDefaults,
        excluded: Collection[str],
    ) -> None:
        self._policies = policies
        self._namespaces = namespaces
        self._crowded = crowded
        self._defaults = defaults
        self._excluded = excluded

    def admit(self, request: AdmissionRequest) -> AdmissionResponse:
        """Never refuses a pod. A pod that cannot be read is left to the API server."""
        plain = AdmissionResponse(request.uid, allowed=True)
        if request.namespace in self._excluded or request.operation != "CREATE":
            return plain
        try:
            wire = _PODS.decode(request.object)
            pod = _admitted(wire)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return plain
        namespace = self._namespaces.get(request.namespace)
        policy = self._policies.for_pod(request.namespace, pod.labels)
        asked: dict[str, str] = {}
        if policy is None and (asked := asked_by_namespace(pod, namespace, self._defaults)):
            pod = replace(pod, labels={**pod.labels, **asked})
            policy = self._policies.for_pod(request.namespace, pod.labels)
        changes = admit(
            pod,
            policy,
            namespace,
            self._defaults,
            is_crowded=request.namespace in self._crowded,
        )
        if changes.labels:
            after = self._policies.for_pod(request.namespace, {**pod.labels, **changes.labels})
            if after is not policy:
                # With these labels another policy would select the pod. The binding sets them.
                changes = replace(changes, labels={})
        changes = replace(changes, labels={**asked, **changes.labels})
        patch = json_patch(
            changes, has_labels=wire.metadata.labels is not None, has_gates=bool(pod.gates)
        )
        if not patch:
            return plain
        return AdmissionResponse(
            request.uid, allowed=True, patch=msgspec.json.encode(patch), patch_type="JSONPatch"
        )


def _admitted(wire: AdmittedObject) -> AdmittedPod:
    """Raises ValueError for resource requests that are not quantities."""
    return AdmittedPod(
        labels=wire.metadata.labels or {},
        annotations=wire.metadata.annotations or {},
        scheduler=wire.spec.scheduler_name,
        requests=pod_requests(wire),
        node_selector=wire.spec.node_selector or {},
        node=wire.spec.node_name,
        has_given_node=has_given_node(wire.metadata),
        gates=tuple(gate.name for gate in wire.spec.scheduling_gates or ()),
    )
