"""Reviews policies and workloads before they are stored: errors, doubts and consequences."""

from collections.abc import Mapping
from typing import Any

import msgspec

from spillover.api.admission import AdmissionRequest, AdmissionResponse, AdmissionStatus
from spillover.core.admission.warnings import consequences, doubts, keys_set_by
from spillover.core.cache.policy_index import PolicyIndex
from spillover.core.dialects import load
from spillover.core.model.nodes import NodeIndex
from spillover.core.model.policy import InvalidPolicy
from spillover.core.model.selectors import includes
from spillover.kube.binding_keys import PolicyJudge


class _LabelSelector(msgspec.Struct, frozen=True, rename="camel"):
    match_labels: dict[str, str] | None = None
    match_expressions: list[dict[str, Any]] | None = None


class _Metadata(msgspec.Struct, frozen=True):
    labels: dict[str, str] | None = None


class _Template(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()


class _WorkloadSpec(msgspec.Struct, frozen=True):
    selector: _LabelSelector | None = None
    template: _Template = _Template()


class _Workload(msgspec.Struct, frozen=True):
    spec: _WorkloadSpec = _WorkloadSpec()


_WORKLOADS = msgspec.json.Decoder(_Workload)
_OBJECTS: msgspec.json.Decoder[dict[str, Any] | None] = msgspec.json.Decoder(dict[str, Any] | None)


class Reviewing:
    def __init__(self, policies: PolicyIndex, nodes: NodeIndex, judge: PolicyJudge) -> None:
        self._policies = policies
        self._judge = judge
        self._nodes = nodes

    def policy(self, request: AdmissionRequest, *, is_deep: bool) -> AdmissionResponse:
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
        return AdmissionResponse(request.uid, allowed=True, warnings=warnings or None)

    def workload(self, request: AdmissionRequest) -> AdmissionResponse:
        """Never refuses a workload. Warns if a policy sets a label that the workload's selector
        uses: when its pods stop matching the selector, a controller creates new pods without
        end."""
        try:
            spec = _WORKLOADS.decode(request.object).spec
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return AdmissionResponse(request.uid, allowed=True)
        template = spec.template.metadata.labels or {}
        selecting = [
            policy
            for policy in self._policies.of_namespace(request.namespace)
            if includes(template, policy.selector)
        ]
        given = keys_set_by(selecting)
        warnings = [
            f"spec.selector: ResourcePolicy {given[key]} sets the label {key} on pods: pods whose"
            " label it changes are no longer this workload's, which makes new ones for ever"
            for key in _keys(spec.selector)
            if key in given
        ]
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


def _keys(selector: _LabelSelector | None) -> list[str]:
    if selector is None:
        return []
    expressions = [str(each.get("key")) for each in selector.match_expressions or ()]
    return sorted({*(selector.match_labels or {}), *expressions})
