"""The epoch object: a ConfigMap that says who binds. The version of the write with which a process
takes over is its epoch: unique, and greater than every one before."""

import uuid
from dataclasses import dataclass
from typing import Any

import msgspec

from spillover.api.kubernetes import ObjectMeta, parse_version
from spillover.core.tenure import EpochRecord
from spillover.kube.session import ApiError, ApiSession, NoAnswerError

NAME = "spillover-epoch"


class _ConfigMap(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    data: dict[str, str] | None = None


_CONFIG_MAPS = msgspec.json.Decoder(_ConfigMap)


class OutpacedError(Exception):
    """Somebody else has written the object since it was read."""


@dataclass(frozen=True, slots=True)
class Written:
    """The object as it was read or written, with its version."""

    record: EpochRecord
    version: int


class Epochs:
    """Methods raise ApiError and NoAnswerError; after the latter a write may yet be executed, which
    whoever reads the object next finds out."""

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
        """In place of what was read at `version`; None: where there was nothing. Raises
        OutpacedError."""
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
                "holder": record.turn[0] if record.turn is not None else "",
                "acquired": repr(record.turn[1]) if record.turn is not None else "",
                "state": record.state,
                # Without it, writing the same again would leave the version as it is.
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
    """What was changed by hand so that it cannot be read counts as sweeping: nothing is known."""
    try:
        found = _CONFIG_MAPS.decode(content)
        version = parse_version(found.metadata.resource_version)
    except (msgspec.MsgspecError, ValueError) as error:
        raise NoAnswerError(f"{NAME}: {error}") from error
    data = found.data or {}
    try:
        turn = (data["holder"], float(data["acquired"])) if data.get("holder") else None
    except (KeyError, ValueError):
        turn = None
    record = EpochRecord(data.get("host", ""), data.get("process", ""), turn, data.get("state", ""))
    return Written(record, version)
