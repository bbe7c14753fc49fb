"""Changing annotations of pods."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from enum import Enum

from spillover.core.pods import Pod
from spillover.kube.reading import pod_in
from spillover.kube.session import MERGE_PATCH, ApiError, ApiSession, NoAnswerError

_WRITE_SECONDS = 5.0
_WRITES_AT_ONCE = 8
_CONFLICT = 409
_GONE = (404, _CONFLICT, 422)
"""There is no such pod, or one of the same name with another uid."""

_log = logging.getLogger(__name__)


class Outcome(Enum):
    WRITTEN = "written"
    FAILED = "failed"
    GONE = "gone"
    NEEDLESS = "needless"
    CHANGED = "changed"


_EXPECTED = {404: Outcome.GONE, _CONFLICT: Outcome.CHANGED}
"""Of a pod that others write to and delete, which the watch may not have shown yet."""


class PodWriter:
    """`at_once` writes at the same time. `report` hears of each whether it was written or
    failed."""

    def __init__(
        self, session: ApiSession, report: Callable[[str], None], at_once: int = _WRITES_AT_ONCE
    ) -> None:
        self._session = session
        self._report = report
        self._room = asyncio.Semaphore(at_once)

    async def annotate(
        self, pod: Pod, key: str, value: str, is_wanted: Callable[[], bool] = lambda: True
    ) -> Outcome:
        """`is_wanted` is asked when the write's turn has come."""
        try:
            async with self._room:
                if not is_wanted():
                    return Outcome.NEEDLESS
                await self._patch(pod, {"uid": pod.uid, "annotations": {key: value}})
        except (ApiError, NoAnswerError) as error:
            return self._failed(pod, error)
        self._report("written")
        return Outcome.WRITTEN

    async def replace(
        self,
        pod: Pod,
        annotations: Mapping[str, str | None],
        learn: Callable[[Pod], None],
    ) -> Outcome:
        """Sets annotations, and removes those that are None, unless the pod has changed since it
        was as `pod` shows it: its user may have set one. `learn` is told what it is now."""
        precondition = {"uid": pod.uid, "resourceVersion": str(pod.version)}
        try:
            async with self._room:
                answer = await self._patch(pod, {**precondition, "annotations": annotations})
        except ApiError as error:
            return _EXPECTED.get(error.status) or self._failed(pod, error)
        except NoAnswerError as error:
            return self._failed(pod, error)
        self._report("written")
        try:
            now = pod_in(answer)
        except NoAnswerError:
            return Outcome.WRITTEN  # the watch tells
        learn(now)
        return Outcome.WRITTEN

    async def _patch(self, pod: Pod, metadata: Mapping[str, object]) -> bytes:
        return await self._session.request(
            "PATCH",
            f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}",
            body={"metadata": metadata},
            content_type=MERGE_PATCH,
            seconds=_WRITE_SECONDS,
        )

    def _failed(self, pod: Pod, error: ApiError | NoAnswerError) -> Outcome:
        self._report("failed")
        where = {"namespace": pod.namespace, "pod": pod.name, "reason": str(error)}
        _log.warning("annotation not written", extra=where)
        gone = isinstance(error, ApiError) and error.status in _GONE
        return Outcome.GONE if gone else Outcome.FAILED
