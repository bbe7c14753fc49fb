"""Reviews policies, workloads and autoscalers before they are stored: errors, doubts, effects."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from spillover.api.admission import AdmissionRequest, AdmissionResponse, AdmissionStatus
from spillover.api.kubernetes import TemplatedWorkload
from spillover.core.admission.warnings import MOST_WARNINGS, consequences, doubts
from spillover.core.admission.workload_labels import on_policy, on_workload, writes_labels
from spillover.core.autoscaling import autoscaler
from spillover.core.autoscaling.autoscaler import InvalidAutoscaler
from spillover.core.cache.policy_index import PolicyIndex
from spillover.core.dialects import load
from spillover.core.model.nodes import NodeIndex
from spillover.core.model.policy import InvalidPolicy
from spillover.kube.binding_keys import PolicyJudge

Workloads = Callable[[str], Awaitable[Sequence[TemplatedWorkload]]]
"""Reads the workloads of a namespace."""

_WORKLOADS = msgspec.json.Decoder(TemplatedWorkload)
_OBJECTS: msgspec.json.Decoder[dict[str, Any] | None] = msgspec.json.Decoder(dict[str, Any] | None)


class Reviewing:
    def __init__(
        self, policies: PolicyIndex, nodes: NodeIndex, judge: PolicyJudge, workloads: Workloads
    ) -> None:
        self._policies = policies
        self._judge = judge
        self._workloads = workloads
        self._nodes = nodes

    async def policy(self, request: AdmissionRequest, *, is_deep: bool) -> AdmissionResponse:
        """Refuses an invalid policy, with every error, and an object that an API server may not be
        able to read back (`is_deep`). Warns of doubtful settings and of the consequences of an
        edit. Raises one of UNDECODABLE if the request contains no object."""
        raw, before = _read(request.object) or {}, _read(request.old_object)
        if before is not None and _is_leaving_or_untouched(raw, before):
            return AdmissionResponse(request.uid, allowed=True)
        if is_deep:
            return _refused(request, "the object is nested too deep to be read")
        loaded = self._judge.keys.judged(load(_placed(raw, request), request.kind.group))
        if isinstance(loaded, InvalidPolicy):
            return _refused(request, "; ".join(map(str, loaded.errors)))
        peers = self._policies.of_namespace(request.namespace)
        warnings = doubts(raw, loaded, peers, self._nodes)
        if before is not None:
            old = load(_placed(before, request), request.kind.group)
            warnings += consequences(old, loaded, _status(before))
        if writes_labels(loaded):
            workloads = await self._workloads(request.namespace)
            warnings += islice(on_policy(loaded, workloads), MOST_WARNINGS)
        return AdmissionResponse(request.uid, allowed=True, warnings=warnings or None)

    def autoscaler(self, request: AdmissionRequest, *, is_deep: bool) -> AdmissionResponse:
        """Refuses an invalid AdvancedHorizontalPodAutoscaler, with every error. Raises one of
        UNDECODABLE if the request contains no object."""
        raw, before = _read(request.object) or {}, _read(request.old_object)
        if before is not None and _is_leaving_or_untouched(raw, before):
            return AdmissionResponse(request.uid, allowed=True)
        if is_deep:
            return _refused(request, "the object is nested too deep to be read")
        loaded = autoscaler.load(_placed(raw, request))
        if isinstance(loaded, InvalidAutoscaler):
            return _refused(request, "; ".join(map(str, loaded.errors)))
        warnings = list(autoscaler.warnings(loaded))
        return AdmissionResponse(request.uid, allowed=True, warnings=warnings or None)

    def workload(self, request: AdmissionRequest) -> AdmissionResponse:
        """Never refuses a workload. Warns if its selector and the labels of its pods' policy do not
        agree."""
        try:
            workload = _WORKLOADS.decode(request.object)
            template = workload.spec.template.metadata.labels or {}
            policy = self._policies.for_pod(request.namespace, template)
            warnings = on_workload(workload, policy)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return AdmissionResponse(request.uid, allowed=True)
        return AdmissionResponse(request.uid, allowed=True, warnings=warnings or None)


def _refused(request: AdmissionRequest, message: str) -> AdmissionResponse:
    return AdmissionResponse(
        request.uid, allowed=False, status=AdmissionStatus(message, 422, "Invalid")
    )


def _read(raw: bytes | msgspec.Raw) -> dict[str, Any] | None:
    return _OBJECTS.decode(raw)


def _status(raw: Mapping[str, Any]) -> Mapping[str, Any] | None:
    status = raw.get("status")
    return status if isinstance(status, Mapping) else None


def _is_leaving_or_untouched(raw: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether the spec does not change, or the object is being deleted. An invalid object must
    stay deletable: its finalizers are removed by updates."""
    metadata = raw.get("metadata")
    leaving = isinstance(metadata, Mapping) and bool(metadata.get("deletionTimestamp"))
    return leaving or raw.get("spec") == before.get("spec")


def _placed(raw: Mapping[str, Any], request: AdmissionRequest) -> Mapping[str, Any]:
    """Returns the object with the namespace and name that the API server sent in the request."""
    metadata = raw.get("metadata")
    known = metadata if isinstance(metadata, Mapping) else {}
    name = {"name": request.name} if request.name else {}
    return {**raw, "metadata": {**known, "namespace": request.namespace, **name}}
