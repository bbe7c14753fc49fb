"""Tells what was found of an object: its status, Events and metrics."""

import logging
from collections.abc import Callable, Set
from datetime import UTC, datetime

from cachetools import LRUCache

from spillover.ahpa.metrics import Metrics
from spillover.ahpa.status import Seen, invalid_status, status_of
from spillover.ahpa.workloads import Stored
from spillover.api import ahpa
from spillover.controller.recorder import NAMESPACE_BURST, NAMESPACE_PER_SECOND, Budget
from spillover.core.autoscaling.autoscaler import AutoscalerKey, InvalidAutoscaler
from spillover.kube.events import Event, Regarding, write_event
from spillover.kube.session import MERGE_PATCH, ApiError, ApiSession, NoAnswerError

_CONTROLLER = "spillover.dev/ahpa"
_SECONDS = 10.0
_MOST_NAMESPACES = 10_000
_MOST_TOLD = 10_000
_GONE = 404

_log = logging.getLogger(__name__)


class StatusTeller:
    """Writes to the API server. `now` returns seconds since 1970, `clock` seconds that never go
    back."""

    def __init__(
        self,
        session: ApiSession,
        metrics: Metrics,
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._session = session
        self._metrics = metrics
        self._now = now
        self._clock = clock
        self._budgets: LRUCache[str, Budget] = LRUCache(_MOST_NAMESPACES)
        self._told: LRUCache[AutoscalerKey, str] = LRUCache(_MOST_TOLD)

    async def found(self, stored: Stored, seen: Seen | None) -> None:
        """Writes the status, if it has changed, and an Event for a new problem. `seen` is None for
        an object with errors. Raises ApiError and NoAnswerError."""
        autoscaler = stored.loaded
        at = datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if isinstance(autoscaler, InvalidAutoscaler):
            self._metrics.drop(autoscaler.key)
            wanted = invalid_status(autoscaler, stored.status, at)
        elif seen is None:
            return
        else:
            self._metrics.show(autoscaler, seen)
            wanted = status_of(autoscaler, seen, stored.status, at)
            await self._tell_problem(stored, seen)
        changed = {key: value for key, value in wanted.items() if stored.status.get(key) != value}
        if changed:
            await self._patch(stored, changed)

    async def scaled(self, stored: Stored, before: int, after: int, why: str) -> None:
        note = f"New size: {after}, before: {before}; {why}"
        await self._write_event(stored, "SuccessfulRescale", note, is_warning=False)

    def keep(self, keys: Set[AutoscalerKey]) -> None:
        """Metrics of all other objects go."""
        self._metrics.keep(keys)

    async def _tell_problem(self, stored: Stored, seen: Seen) -> None:
        """One Event for each change of the problem."""
        key = stored.loaded.key
        problem = seen.problem
        reason = problem.obstacle if problem is not None else ""
        if self._told.get(key, "") == reason:
            return
        self._told[key] = reason
        if problem is not None:
            await self._write_event(stored, reason, problem.message, is_warning=True)

    async def _patch(self, stored: Stored, status: object) -> None:
        key = stored.loaded.key
        path = (
            f"/apis/{ahpa.GROUP}/{ahpa.VERSION}/namespaces/{key.namespace}/{ahpa.PLURAL}"
            f"/{key.name}/status"
        )
        body = {"metadata": {"uid": stored.loaded.uid}, "status": status}
        try:
            await self._session.request(
                "PATCH", path, body=body, content_type=MERGE_PATCH, seconds=_SECONDS
            )
        except ApiError as error:
            if error.status != _GONE:
                raise

    async def _write_event(
        self, stored: Stored, reason: str, note: str, *, is_warning: bool
    ) -> None:
        """Events that are too many, or that cannot be written, are left out."""
        key = stored.loaded.key
        budget = self._budgets.get(key.namespace)
        if budget is None:
            budget = Budget(NAMESPACE_BURST, NAMESPACE_PER_SECOND, self._clock)
            self._budgets[key.namespace] = budget
        if not budget.take():
            return
        now = self._now()
        event = Event(
            name=f"{key.name[:200].rstrip('-.')}.{int(now * 1e6):x}",
            regarding=Regarding(
                f"{ahpa.GROUP}/{ahpa.VERSION}",
                ahpa.KIND,
                key.namespace,
                key.name,
                stored.loaded.uid,
            ),
            reason=reason,
            action="Scaling",
            note=note,
            is_warning=is_warning,
            controller=_CONTROLLER,
        )
        try:
            await write_event(self._session, event, datetime.fromtimestamp(now, UTC))
        except (ApiError, NoAnswerError) as error:
            _log.warning("event not written", extra={"reason": str(error)})
