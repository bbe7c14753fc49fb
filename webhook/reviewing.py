"""Policies and workloads that are being stored: errors, doubts and consequences."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from spillover.api.admission import AdmissionRequest, AdmissionResponse, AdmissionStatus
from spillover.core.dialects import load
from spillover.core.matching import PolicyIndex
from spillover.core.nodes import NodeIndex
from spillover.core.pods import Pod
from spillover.core.policy import InvalidPolicy
from spillover.core.review import consequences, doubts, keys_set_by
from spillover.core.selectors import includes
from spillover.kube.binding_keys import PolicyJudge
from spillover.kube.listing import list_all
from spillover.kube.reading import pod_of
from spillover.kube.session import ApiError, ApiSession, NoAnswerError

_LOOKS_AT_ONCE = 2
_LOOK_SECONDS = 2.0
"""For the pods that an edit touches: the API server waits for us, and its user for it."""

_log = logging.getLogger(__name__)


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
    def __init__(
        self, policies: PolicyIndex, nodes: NodeIndex, session: ApiSession, judge: PolicyJudge
    ) -> None:
        self._policies = policies
        self._judge = judge
        self._nodes = nodes
        self._session = session
        self._looks = asyncio.Semaphore(_LOOKS_AT_ONCE)

    async def policy(self, request: AdmissionRequest) -> AdmissionResponse:
        """Refuses what contradicts itself, with every error; warns of what is doubtful. Raises one
        of UNDECODABLE for what is no object."""
        raw, before = _read(request.object) or {}, _read(request.old_object)
        if before is not None and _is_leaving_or_untouched(raw, before):
            return AdmissionResponse(request.uid, allowed=True)
        loaded = self._judge.keys.judged(load(_placed(raw, request), request.kind.group))
        if isinstance(loaded, InvalidPolicy):
            message = "; ".join(map(str, loaded.errors))
            return AdmissionResponse(
                request.uid, allowed=False, status=AdmissionStatus(message, 422, "Invalid")
            )
        peers = self._policies.of_namespace(request.namespace)
        warnings = doubts(raw, loaded, peers, self._nodes)
        if before is not None:
            old = load(_placed(before, request), request.kind.group)
            warnings += consequences(old, loaded, await self._pods(request.namespace))
        return AdmissionResponse(request.uid, allowed=True, warnings=warnings or None)

    def workload(self, request: AdmissionRequest) -> AdmissionResponse:
        """Never refuses. A controller makes new pods for ever where its pods lose its selector."""
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

    async def _pods(self, namespace: str) -> list[Pod]:
        """Those of the namespace; none where they cannot be had in time: an edit is not refused for
        want of a warning."""
        path = f"/api/v1/namespaces/{namespace}/pods"
        try:
            async with asyncio.timeout(_LOOK_SECONDS), self._looks:
                return await list_all(self._session, path, pod_of)
        except (ApiError, NoAnswerError, TimeoutError) as error:
            _log.warning("consequences of an edit are not known", extra={"reason": str(error)})
            return []


def _read(raw: bytes | msgspec.Raw) -> dict[str, Any] | None:
    return _OBJECTS.decode(raw)


def _is_leaving_or_untouched(raw: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether only metadata changes, or the object is being deleted: its finalizers must go."""
    metadata = raw.get("metadata")
    leaving = isinstance(metadata, Mapping) and bool(metadata.get("deletionTimestamp"))
    return leaving or raw.get("spec") == before.get("spec")


def _placed(raw: Mapping[str, Any], request: AdmissionRequest) -> Mapping[str, Any]:
    """With the namespace and name that the API server knows."""
    metadata = raw.get("metadata")
    known = metadata if isinstance(metadata, Mapping) else {}
    name = {"name": request.name} if request.name else {}
    return {**raw, "metadata": {**known, "namespace": request.namespace, **name}}


def _keys(selector: _LabelSelector | None) -> list[str]:
    if selector is None:
        return []
    expressions = [str(each.get("key")) for each in selector.match_expressions or ()]
    return sorted({*(selector.match_labels or {}), *expressions})
