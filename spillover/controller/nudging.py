"""Nudging: having the scheduler try a waiting pod again, by a change of an annotation.

Which pods, and when, is decided in `spillover.core.waiting`.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from spillover.core.cache import SchedulingCache
from spillover.core.pods import Pod
from spillover.kube.session import MERGE_PATCH, ApiError, ApiSession, NoAnswerError

NUDGE_ANNOTATION = "spillover.dev/nudge"
"""When the pod was nudged last, in RFC 3339. Only the change counts, not the value."""

_LOOK_SECONDS = 0.25
"""Also the time that a retry by the scheduler itself has to make the nudge needless."""

_WRITE_SECONDS = 5.0
_WRITES_AT_ONCE = 8
_GONE = (404, 409, 422)
"""There is no such pod, or one of the same name with another uid."""

_log = logging.getLogger(__name__)


class Nudger:
    """`now` is the wall clock; `report` hears of each nudge whether it was written or failed."""

    def __init__(
        self,
        cache: SchedulingCache,
        session: ApiSession,
        now: Callable[[], datetime],
        report: Callable[[str], None],
    ) -> None:
        self._cache = cache
        self._session = session
        self._now = now
        self._report = report
        self._room = asyncio.Semaphore(_WRITES_AT_ONCE)

    async def run(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            async with asyncio.TaskGroup() as writes:
                for pod in self._cache.due_nudges():
                    writes.create_task(self._nudge(pod))

    async def _nudge(self, pod: Pod) -> None:
        where = {"namespace": pod.namespace, "pod": pod.name}
        mark = {NUDGE_ANNOTATION: self._now().isoformat()}
        try:
            async with self._room:
                if not self._cache.waiting.holds(pod.uid):
                    return  # it came too late to be of use
                await self._session.request(
                    "PATCH",
                    f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}",
                    body={"metadata": {"uid": pod.uid, "annotations": mark}},
                    content_type=MERGE_PATCH,
                    seconds=_WRITE_SECONDS,
                )
        except (ApiError, NoAnswerError) as error:
            self._report("failed")
            if isinstance(error, ApiError) and error.status in _GONE:
                self._cache.waiting.forget(pod.uid)
            else:
                self._cache.waiting.not_nudged(pod.uid)
            _log.warning("nudge failed", extra={**where, "reason": str(error)})
        else:
            self._report("written")
            _log.debug("nudged", extra=where)
