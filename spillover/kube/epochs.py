"""The epoch object: a ConfigMap that names the process that binds.

A process takes over by a write of this object. The version of that write is the epoch of the
process: it is unique, and greater than every earlier epoch.
"""

import uuid
from dataclasses import dataclass
from typing import Any

import msgspec

from spillover.api.kubernetes import ObjectMeta, parse_version
from spillover.core.takeover import EpochRecord
from spillover.kube.session import ApiError, ApiSession, NoAnswerError

NAME = "spillover-epoch"


class _ConfigMap(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    data: dict[str, str] | None = None


_CONFIG_MAPS = msgspec.json.Decoder(_ConfigMap)


class OutpacedError(Exception):
    """Another process has written the object since it was read."""


@dataclass(frozen=True, slots=True)
class Written:
    """The object as it was read or written, with its version."""

    record: EpochRecord
    version: int


class Epochs:
    """Reads and writes the epoch object. Methods raise ApiError and NoAnswerError. After a
    NoAnswerError the write may still be executed; the next read of the object shows it."""

    def __init__(self, session: ApiSession, namespace: str) -> None:
        self._session = session
        self._namespace = namespace
        self._collection = f"/api/v1/namespaces/{namespace}/configmaps"

    async def read(self) -> Written | None:
        try:
            content = await self._session.request("GET", f"{self._collection}/{NAME}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return _written(content)

    async def write(self, record: EpochRecord, version: int | None) -> Written:
        """Replaces the object at `version`, or creates it if `version` is None. Raises
        OutpacedError if the object has another version."""
        metadata: dict[str, Any] = {"name": NAME, "namespace": self._namespace}
        if version is not None:
            metadata["resourceVersion"] = str(version)
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {
                "host": record.host,
                "process": record.process,
                "holder": record.acquisition[0] if record.acquisition is not None else "",
                "acquired": repr(record.acquisition[1]) if record.acquisition is not None else "",
                "state": record.state,
                # Without this, a write of the same content would not change the version.
                "write": uuid.uuid4().hex,
            },
        }
        try:
            if version is None:
                content = await self._session.request("POST", self._collection, body=body)
            else:
                path = f"{self._collection}/{NAME}"
                content = await self._session.request("PUT", path, body=body)
        except ApiError as error:
            if error.status == 409 or (error.status == 404 and version is not None):
                raise OutpacedError from error
            raise
        return _written(content)


def _written(content: bytes) -> Written:
    """The object in an answer. If a user has changed its data so that they cannot be read, the
    record counts as sweeping, because nothing is known about earlier leaders."""
    try:
        found = _CONFIG_MAPS.decode(content)
        version = parse_version(found.metadata.resource_version)
    except (msgspec.MsgspecError, ValueError) as error:
        raise NoAnswerError(f"{NAME}: {error}") from error
    data = found.data or {}
    try:
        acquisition = (data["holder"], float(data["acquired"])) if data.get("holder") else None
    except (KeyError, ValueError):
        acquisition = None
    record = EpochRecord(
        data.get("host", ""), data.get("process", ""), acquisition, data.get("state", "")
    )
    return Written(record, version)
