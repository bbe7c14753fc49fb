"""The status of each policy: the status that the API server has, and the status to write."""

import logging
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from spillover.api.kubernetes import parse_version
from spillover.api.partial import decoded
from spillover.controller.objects import api_version, path_of
from spillover.core.cache import crowds
from spillover.core.model.policy import LoadedPolicy, PolicyKey
from spillover.core.reporting.status import PolicyReport, as_wire
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
    """The statuses of all policies. `now` returns the time of the wall clock."""

    def __init__(self, session: ApiSession, now: Callable[[], datetime]) -> None:
        self._session = session
        self._now = now
        self._seen: dict[PolicyKey, tuple[int, Mapping[str, Any]]] = {}

    def see(self, key: PolicyKey, version: int, status: Mapping[str, Any]) -> bool:
        """Records the status of the object at this version. Returns whether the status has
        changed."""
        before, known = self._seen.get(key, (-1, None))
        if version <= before:
            return False
        self._seen[key] = (version, status)
        return status != known

    def forget(self, key: PolicyKey) -> None:
        """Forgets a policy that does not exist any more."""
        self._seen.pop(key, None)

    def says_crowded(self, key: PolicyKey) -> bool:
        """Returns whether the current status of the object has the condition Crowded."""
        _, seen = self._seen.get(key, (0, {}))
        return crowds.told_by(seen)

    def wanted(self, report: PolicyReport) -> dict[str, Any] | None:
        """The status to write, or None if the policy already has it."""
        _, seen = self._seen.get(report.policy.key, (0, {}))
        status = as_wire(report, seen, self._now().strftime("%Y-%m-%dT%H:%M:%SZ"))
        return None if _is_said(status, seen) else status

    async def write(self, policy: LoadedPolicy, status: Mapping[str, Any]) -> bool:
        """Writes the status. Returns whether the write succeeded."""
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
                body=msgspec.Raw(as_yaml(body)),
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


_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def as_yaml(body: object) -> bytes:
    """Encodes `body` as JSON that is also valid YAML. A tenant may use characters in a name that a
    YAML reader accepts only as an escape sequence."""
    text = msgspec.json.encode(body).decode()
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def _is_said(status: Mapping[str, Any], seen: Mapping[str, Any]) -> bool:
    """Returns whether the object has all of `status`. The object may have more: conditions of other
    controllers."""
    known = seen.get("conditions")
    conditions = known if isinstance(known, list) else []
    return all(
        all(condition in conditions for condition in value)
        if name == "conditions"
        else seen.get(name) == value
        for name, value in status.items()
    )
