"""Reads what is scaled, and scales it: a workload by its scale, an HPA by its minReplicas."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from spillover.ahpa.workloads import (
    HOLDER_ANNOTATION,
    MINIMUM_ANNOTATION,
    SET_ANNOTATION,
    Hpa,
)
from spillover.api.kubernetes import ObjectMeta
from spillover.core.autoscaling.autoscaler import Target
from spillover.kube.session import MERGE_PATCH, ApiError, ApiSession, NoAnswerError

_SECONDS = 10.0
_KNOWN = {
    ("apps", "Deployment"): "deployments",
    ("apps", "StatefulSet"): "statefulsets",
    ("apps", "ReplicaSet"): "replicasets",
}


class TargetError(Exception):
    """The target cannot be scaled. The message says why."""


class _ScaleSpec(msgspec.Struct, frozen=True):
    replicas: int = 0


class _ScaleStatus(msgspec.Struct, frozen=True):
    replicas: int = 0


class _Scale(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    spec: _ScaleSpec = _ScaleSpec()
    status: _ScaleStatus = _ScaleStatus()


class _ApiResource(msgspec.Struct):
    name: str
    kind: str = ""


class _ApiResources(msgspec.Struct):
    resources: list[_ApiResource] = []


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale of a workload."""

    path: str
    uid: str
    """The workload's."""
    version: str
    wanted: int
    """spec.replicas."""
    present: int
    """status.replicas."""


class Scaler:
    """Reads and writes scales. Raises TargetError, ApiError and NoAnswerError."""

    def __init__(self, session: ApiSession) -> None:
        self._session = session
        self._resources: dict[tuple[str, str, str], str] = {}  # one for each kind of the cluster

    async def read(self, namespace: str, target: Target) -> Scale:
        resource = await self._resource(target)
        base = f"/apis/{target.group}" if target.group else "/api"
        path = f"{base}/{target.version}/namespaces/{namespace}/{resource}/{target.name}/scale"
        try:
            content = await self._session.request("GET", path, seconds=_SECONDS)
        except ApiError as error:
            if error.status == 404:
                raise TargetError(f"{target.kind} {target.name} does not exist") from error
            raise
        try:
            found = msgspec.json.decode(content, type=_Scale)
        except msgspec.MsgspecError as error:
            raise NoAnswerError(f"{path}: {error}") from error
        return Scale(
            path,
            found.metadata.uid,
            found.metadata.resource_version,
            found.spec.replicas,
            found.status.replicas,
        )

    async def write(self, namespace: str, target: Target, scale: Scale, replicas: int) -> bool:
        """Sets the number of replicas. Returns False if somebody else has changed the workload
        since it was read."""
        body = {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {
                "name": target.name,
                "namespace": namespace,
                "uid": scale.uid,
                "resourceVersion": scale.version,
            },
            "spec": {"replicas": replicas},
        }
        return await _unless_conflict(
            self._session.request("PUT", scale.path, body=body, seconds=_SECONDS)
        )

    async def set_minimum(self, hpa: Hpa, holder: str, replicas: int) -> bool:
        """Sets minReplicas of an HPA, and notes what its user had set. Returns as `write`."""
        return await self._patch(
            hpa,
            replicas,
            {
                HOLDER_ANNOTATION: holder,
                MINIMUM_ANNOTATION: str(own_minimum(hpa)),
                SET_ANNOTATION: str(replicas),
            },
        )

    async def restore(self, hpa: Hpa) -> bool:
        """Gives an HPA the minReplicas that its user has set. Returns as `write`."""
        nothing = dict.fromkeys((HOLDER_ANNOTATION, MINIMUM_ANNOTATION, SET_ANNOTATION))
        return await self._patch(hpa, own_minimum(hpa), nothing)

    async def _patch(self, hpa: Hpa, least: int, annotations: dict[str, Any]) -> bool:
        namespace, name = hpa.key
        path = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers/{name}"
        metadata = {
            "uid": hpa.metadata.uid,
            "resourceVersion": hpa.metadata.resource_version,
            "annotations": annotations,
        }
        body = {"metadata": metadata, "spec": {"minReplicas": least}}
        return await _unless_conflict(
            self._session.request(
                "PATCH", path, body=body, content_type=MERGE_PATCH, seconds=_SECONDS
            )
        )

    async def _resource(self, target: Target) -> str:
        """The plural of the target's kind."""
        if resource := _KNOWN.get((target.group, target.kind)):
            return resource
        key = (target.group, target.version, target.kind)
        if key not in self._resources:
            self._resources[key] = _scalable(await self._discover(target), target.kind)
        return self._resources[key]

    async def _discover(self, target: Target) -> Sequence[_ApiResource]:
        base = f"/apis/{target.group}" if target.group else "/api"
        path = f"{base}/{target.version}"
        try:
            content = await self._session.request("GET", path, seconds=_SECONDS)
            return msgspec.json.decode(content, type=_ApiResources).resources
        except ApiError as error:
            if error.status == 404:
                raise TargetError(f"{target.group}/{target.version} is not served") from error
            raise
        except msgspec.MsgspecError as error:
            raise NoAnswerError(f"{path}: {error}") from error


def _scalable(resources: Sequence[_ApiResource], kind: str) -> str:
    """The plural of a kind that has a scale. Raises TargetError."""
    names = {each.name for each in resources}
    for each in resources:
        if each.kind == kind and f"{each.name}/scale" in names:
            return each.name
    raise TargetError(f"{kind} has no scale")


async def _unless_conflict(request: Any) -> bool:  # noqa: ANN401 - any awaitable of bytes
    try:
        await request
    except ApiError as error:
        if error.status == 409:
            return False
        raise
    return True


def own_minimum(hpa: Hpa) -> int:
    """The minReplicas that the HPA's user has set. It is in the annotation, unless somebody has
    changed the field since Spillover set it."""
    annotations = hpa.metadata.annotations or {}
    if annotations.get(SET_ANNOTATION) != str(hpa.least):
        return hpa.least
    text = annotations.get(MINIMUM_ANNOTATION, "")
    is_number = text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER
    return int(text) if is_number else hpa.least


_LONGEST_NUMBER = 9
