"""The status of each policy: as the API server has it, and as it should be."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from spillover.api.kubernetes import parse_version
from spillover.api.partial import decoded
from spillover.controller.objects import api_version, path_of
from spillover.core.policy import LoadedPolicy, PolicyKey
from spillover.core.status import PolicyReport, as_wire
from spillover.kube.session import APPLY_PATCH, ApiError, ApiSession, NoAnswerError

FIELD_MANAGER = "spillover"
_WRITE_SECONDS = 5.0

_log = logging.getLogger(__name__)


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Answer(msgspec.Struct):
    metadata: _Metadata
    status: dict[str, Any] = {}


_ANSWERS = msgspec.json.Decoder(_Answer)


class Statuses:
    """Those of all policies. `now` is the wall clock."""

    def __init__(self, session: ApiSession, now: Callable[[], datetime]) -> None:
        self._session = session
        self._now = now
        self._seen: dict[PolicyKey, tuple[int, Mapping[str, Any]]] = {}

    def see(self, key: PolicyKey, version: int, status: Mapping[str, Any]) -> bool:
        """What the object has, at this version of it. Returns whether that is news."""
        before, known = self._seen.get(key, (-1, None))
        if version <= before:
            return False
        self._seen[key] = (version, status)
        return status != known

    def forget(self, key: PolicyKey) -> None:
        """The policy is gone."""
        self._seen.pop(key, None)

    def wanted(self, report: PolicyReport) -> dict[str, Any] | None:
        """The status that the policy is to get, or None: it has it."""
        _, seen = self._seen.get(report.policy.key, (0, {}))
        status = as_wire(report, seen, self._now().strftime("%Y-%m-%dT%H:%M:%SZ"))
        return None if _is_said(status, seen) else status

    async def write(self, policy: LoadedPolicy, status: Mapping[str, Any]) -> bool:
        """Whether it is written."""
        key = policy.key
        body = {
            "apiVersion": api_version(key),
            "kind": "ResourcePolicy",
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": policy.uid},
            "status": status,
        }
        try:
            content = await self._session.request(
                "PATCH",
                f"{path_of(key)}/status",
                params={"fieldManager": FIELD_MANAGER, "force": "true"},
                body=body,
                content_type=APPLY_PATCH,
                seconds=_WRITE_SECONDS,
            )
            answer = decoded(content, _ANSWERS.decode)
            version = parse_version(answer.metadata.resource_version)
        except (ApiError, NoAnswerError, ValueError, msgspec.MsgspecError) as error:
            where = {"namespace": key.namespace, "policy": str(key), "reason": str(error)}
            _log.warning("status not written", extra=where)
            return False
        if key in self._seen:
            self.see(key, version, answer.status)
        return True


def _is_said(status: Mapping[str, Any], seen: Mapping[str, Any]) -> bool:
    """Whether the object says all this. It may say more: others' conditions."""
    known = seen.get("conditions")
    conditions = known if isinstance(known, list) else []
    return all(
        all(condition in conditions for condition in value)
        if name == "conditions"
        else seen.get(name) == value
        for name, value in status.items()
    )
