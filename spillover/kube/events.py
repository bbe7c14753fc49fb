"""Writes Events (events.k8s.io/v1) for users."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from spillover.kube.session import ApiError, ApiSession, NoAnswerError

CONTROLLER = "spillover.dev/extender"
LONGEST_NOTE = 1000
"""In bytes. The API server accepts 1,024."""

_LONGEST_NAME = 253
_WRITE_SECONDS = 5.0
_BUSY = 429

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Regarding:
    """The object that an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str

    def as_wire(self) -> Mapping[str, str]:
        return {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
        }


@dataclass(frozen=True, slots=True)
class Event:
    """The content of an Event."""

    name: str
    """The name is unique in the namespace: two writes with the same name make one Event."""
    regarding: Regarding
    reason: str
    action: str
    note: str
    is_warning: bool
    controller: str = CONTROLLER
    """Who writes it."""


class Told(Enum):
    """The result of a write of an Event."""

    WRITTEN = "written"
    LATER = "later"
    """The write failed, and a later try may succeed."""
    NEVER = "never"
    """The API server refused the Event, and would refuse it again."""


async def write_event(session: ApiSession, event: Event, now: datetime) -> Told:
    body = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": event.name[:_LONGEST_NAME],
            "namespace": event.regarding.namespace,
        },
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": "Warning" if event.is_warning else "Normal",
        "reason": event.reason,
        "action": event.action,
        "note": _cut(event.note),
        "reportingController": event.controller,
        "reportingInstance": event.controller.replace(".dev/", "-"),
        "regarding": event.regarding.as_wire(),
    }
    path = f"/apis/events.k8s.io/v1/namespaces/{event.regarding.namespace}/events"
    try:
        await session.request("POST", path, body=body, seconds=_WRITE_SECONDS)
    except ApiError as error:
        # 404: the namespace is gone. 409: this or another replica has written the Event before.
        if error.status in (404, 409):
            return Told.WRITTEN
        _log.warning("event not written", extra={"reason": str(error)})
        return Told.LATER if error.status >= 500 or error.status == _BUSY else Told.NEVER
    except NoAnswerError as error:
        _log.warning("event not written", extra={"reason": str(error)})
        return Told.LATER
    return Told.WRITTEN


def _cut(note: str) -> str:
    return note.encode()[:LONGEST_NOTE].decode(errors="ignore")
