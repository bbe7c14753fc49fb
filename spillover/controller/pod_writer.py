"""Changing an annotation of a waiting pod."""

import asyncio
import logging
from collections.abc import Callable
from enum import Enum

from spillover.core.pods import Pod
from spillover.kube.session import MERGE_PATCH, ApiError, ApiSession, NoAnswerError

_WRITE_SECONDS = 5.0
_WRITES_AT_ONCE = 8
_GONE = (404, 409, 422)
"""There is no such pod, or one of the same name with another uid."""

_log = logging.getLogger(__name__)


class Outcome(Enum):
    WRITTEN = "written"
    FAILED = "failed"
    GONE = "gone"
    NEEDLESS = "needless"


class PodWriter:
    """A few writes at once. `report` hears of each whether it was written or failed."""

    def __init__(self, session: ApiSession, report: Callable[[str], None]) -> None:
        self._session = session
        self._report = report
        self._room = asyncio.Semaphore(_WRITES_AT_ONCE)

    async def annotate(
        self, pod: Pod, key: str, value: str, is_wanted: Callable[[], bool] = lambda: True
    ) -> Outcome:
        """`is_wanted` is asked when the write's turn has come."""
        try:
            async with self._room:
                if not is_wanted():
                    return Outcome.NEEDLESS
                await self._session.request(
                    "PATCH",
                    f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}",
                    body={"metadata": {"uid": pod.uid, "annotations": {key: value}}},
                    content_type=MERGE_PATCH,
                    seconds=_WRITE_SECONDS,
                )
        except (ApiError, NoAnswerError) as error:
            self._report("failed")
            _log.warning(
                "annotation not written",
                extra={
                    "namespace": pod.namespace,
                    "pod": pod.name,
                    "annotation": key,
                    "reason": str(error),
                },
            )
            gone = isinstance(error, ApiError) and error.status in _GONE
            return Outcome.GONE if gone else Outcome.FAILED
        self._report("written")
        return Outcome.WRITTEN
