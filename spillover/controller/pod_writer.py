"""Writes annotations of pods, and removes their scheduling gate."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from enum import Enum

from spillover.core.model.pods import CROWD_GATE, Pod
from spillover.kube.reading import pod_in
from spillover.kube.session import (
    MERGE_PATCH,
    STRATEGIC_MERGE_PATCH,
    ApiError,
    ApiSession,
    NoAnswerError,
)

_WRITE_SECONDS = 5.0
_WRITES_AT_ONCE = 8
_CONFLICT = 409
_NOT_FOUND = 404
_GONE = (_NOT_FOUND, _CONFLICT, 422)
"""Statuses of an answer that mean: there is no such pod, or a pod of this name has another uid."""

_log = logging.getLogger(__name__)


class Outcome(Enum):
    """The result of a write."""

    WRITTEN = "written"
    FAILED = "failed"
    GONE = "gone"
    """The pod does not exist any more."""
    NEEDLESS = "needless"
    """The write was not sent: it was not wanted any more when its turn came."""
    CHANGED = "changed"
    """The write was refused: the pod has another version or uid."""


_EXPECTED = {_NOT_FOUND: Outcome.GONE, _CONFLICT: Outcome.CHANGED}
"""Answers that are no failure: somebody else has deleted or changed the pod, and the watch may not
have shown it yet."""


class PodWriter:
    """Patches pods, at most `at_once` at the same time. `report` is called for each write with
    "written" or "failed"."""

    def __init__(
        self, session: ApiSession, report: Callable[[str], None], at_once: int = _WRITES_AT_ONCE
    ) -> None:
        self._session = session
        self._report = report
        self._room = asyncio.Semaphore(at_once)

    async def annotate(
        self, pod: Pod, key: str, value: str, is_wanted: Callable[[], bool] = lambda: True
    ) -> Outcome:
        """Sets one annotation. `is_wanted` is called when the turn of the write comes. If it
        returns False, the write is not sent."""
        body = {"metadata": {"uid": pod.uid, "annotations": {key: value}}}
        return await self._write(pod, body, MERGE_PATCH, is_wanted)

    async def take_gate(self, pod: Pod, is_wanted: Callable[[], bool] = lambda: True) -> Outcome:
        """Removes our gate from the pod. The scheduler then tries the pod, if it has no other gate.
        Only status 404 means GONE: an admission policy also answers with 422."""
        gates = [{"$patch": "delete", "name": CROWD_GATE}]
        body = {"metadata": {"uid": pod.uid}, "spec": {"schedulingGates": gates}}
        return await self._write(pod, body, STRATEGIC_MERGE_PATCH, is_wanted, gone=(_NOT_FOUND,))

    async def _write(
        self,
        pod: Pod,
        body: object,
        content_type: str,
        is_wanted: Callable[[], bool],
        gone: Collection[int] = _GONE,
    ) -> Outcome:
        try:
            async with self._room:
                if not is_wanted():
                    return Outcome.NEEDLESS
                await self._patch(pod, body, content_type)
        except (ApiError, NoAnswerError) as error:
            return self._failed(pod, error, gone)
        self._report("written")
        return Outcome.WRITTEN

    async def replace(
        self,
        pod: Pod,
        annotations: Mapping[str, str | None],
        learn: Callable[[Pod], None],
    ) -> Outcome:
        """Sets annotations; a value of None removes the annotation. Writes only to the version of
        `pod`: in a later version the user may have set an annotation. `learn` is called with the
        pod after the write."""
        precondition = {"uid": pod.uid, "resourceVersion": str(pod.version)}
        try:
            async with self._room:
                body = {"metadata": {**precondition, "annotations": annotations}}
                answer = await self._patch(pod, body, MERGE_PATCH)
        except ApiError as error:
            return _EXPECTED.get(error.status) or self._failed(pod, error)
        except NoAnswerError as error:
            return self._failed(pod, error)
        self._report("written")
        try:
            now = pod_in(answer)
        except NoAnswerError:
            return Outcome.WRITTEN  # the watch will show the new version
        learn(now)
        return Outcome.WRITTEN

    async def _patch(self, pod: Pod, body: object, content_type: str) -> bytes:
        return await self._session.request(
            "PATCH",
            f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}",
            body=body,
            content_type=content_type,
            seconds=_WRITE_SECONDS,
        )

    def _failed(
        self, pod: Pod, error: ApiError | NoAnswerError, gone: Collection[int] = _GONE
    ) -> Outcome:
        self._report("failed")
        where = {"namespace": pod.namespace, "pod": pod.name, "reason": str(error)}
        _log.warning("pod not patched", extra=where)
        is_gone = isinstance(error, ApiError) and error.status in gone
        return Outcome.GONE if is_gone else Outcome.FAILED
