"""Looks at the member's workloads when something has changed, and writes its MemberReport."""

import asyncio
import logging
from collections.abc import Callable
from random import Random
from typing import Any

from spillover.federation.agent.view import MemberView
from spillover.federation.member import WorkloadState
from spillover.federation.memberreport import GROUP, KIND, PATH, VERSION, as_wire
from spillover.kube.backoff import Backoff
from spillover.kube.readiness import Readiness
from spillover.kube.session import MERGE_PATCH, ApiError, ApiSession, NoAnswerError
from spillover.kube.signals import Signal

_DEBOUNCE_SECONDS = 0.3
_POLL_SECONDS = 0.1
_IDLE_SECONDS = 5.0
"""Without a change: a wait may have ended, or the watches may have fallen silent."""
_SHARE = 0.1
"""The largest share of all time that looks take."""
_SLICE = 20
_WRITE_SECONDS = 5.0

_log = logging.getLogger(__name__)


class States:
    """The newest states of the member's workloads. `news` is notified when they have changed."""

    def __init__(
        self, view: MemberView, ready: Readiness, news: Signal, clock: Callable[[], float]
    ) -> None:
        self.states: dict[str, WorkloadState] = {}
        """By namespace/name. Empty until the first look."""
        self.trouble = "the agent has not read its cluster yet"
        """Why the states may be old, or ""."""
        self._view = view
        self._ready = ready
        self._news = news
        self._clock = clock

    async def run(self) -> None:
        """Looks again and again. Never returns."""
        while True:
            begun = self._clock()
            await self._look()
            took = self._clock() - begun
            await asyncio.sleep(max(_DEBOUNCE_SECONDS, took / _SHARE - took))
            while not self._view.take_changes() and self._clock() - begun < _IDLE_SECONDS:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(_POLL_SECONDS)

    async def _look(self) -> None:
        trouble = self._ready.obstacle() or ""
        found = self.states
        if not trouble:
            found = {}
            for index, state in enumerate(self._view.states()):
                found[state.key] = state
                if index % _SLICE == _SLICE - 1:
                    await asyncio.sleep(0)
        if (found, trouble) != (self.states, self.trouble):
            self.states, self.trouble = found, trouble
            self._news.notify()


class Reporter:
    """Writes the MemberReport when the states have changed. `may_write` says whether this agent is
    the member's only one."""

    def __init__(
        self,
        session: ApiSession,
        member: str,
        states: States,
        news: Signal,
        may_write: Callable[[], bool],
        random: Random,
    ) -> None:
        self._session = session
        self._member = member
        self._states = states
        self._news = news
        self._may_write = may_write
        self._backoff = Backoff(0.5, 10.0, random)
        self._written: dict[str, Any] | None = None

    async def run(self) -> None:
        """Never returns."""
        while True:
            await self._news.until(self._is_due, _IDLE_SECONDS)
            if not self._is_due():
                continue
            status = self._status()
            try:
                await self._write(status)
                self._written = status
                self._backoff.reset()
                await asyncio.sleep(_DEBOUNCE_SECONDS)
            except (ApiError, NoAnswerError) as error:
                _log.warning("report not written", extra={"reason": str(error)})
                self._written = None
                await asyncio.sleep(self._backoff.next())

    def _is_due(self) -> bool:
        return self._may_write() and self._status() != self._written

    def _status(self) -> dict[str, Any]:
        return as_wire(list(self._states.states.values()), self._states.trouble)

    async def _write(self, status: dict[str, Any]) -> None:
        path = f"{PATH}/{self._member}"
        for _ in range(2):
            try:
                await self._session.request(
                    "PATCH",
                    f"{path}/status",
                    body={"status": status},
                    content_type=MERGE_PATCH,
                    seconds=_WRITE_SECONDS,
                )
            except ApiError as error:
                if error.status != 404:
                    raise
                await self._create()
            else:
                return

    async def _create(self) -> None:
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": self._member},
        }
        try:
            await self._session.request("POST", PATH, body=body, seconds=_WRITE_SECONDS)
        except ApiError as error:
            if error.status != 409:
                raise
