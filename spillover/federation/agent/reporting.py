"""Looks at the member's workloads when something has changed, and writes its MemberReport."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from math import inf
from random import Random
from typing import Any

from spillover.federation.agent.view import MemberView
from spillover.federation.member import WorkloadState
from spillover.federation.memberreport import GROUP, KIND, PATH, VERSION, MemberReport, as_wire
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
_SHOWN_SECONDS = 10.0
_MISSING, _CONFLICT = 404, 409

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
        self.changes = 0
        """Grows with every change of the states or the trouble."""
        self.looked = -inf
        """When the newest states were looked at, by the clock."""
        self.view = view
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
            while not self.view.take_changes() and self._clock() - begun < _IDLE_SECONDS:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(_POLL_SECONDS)

    async def _look(self) -> None:
        # Without the seconds, which change all the time.
        trouble = (self._ready.obstacle() or "").partition(" for ")[0]
        found = self.states
        if not trouble and not self._ready.is_current():
            return  # a watch begins anew: for a moment some of the objects may be older than others
        looked = self._clock()
        if not trouble:
            found = {}
            for index, state in enumerate(self.view.states()):
                found[state.key] = state
                if index % _SLICE == _SLICE - 1:
                    await asyncio.sleep(0)
        if not trouble:
            self.looked = looked
        if (found, trouble) != (self.states, self.trouble):
            self.states, self.trouble = found, trouble
            self.changes += 1
            self._news.notify()


class Reporter:
    """Writes the MemberReport when the states have changed, and when the hub has another one.
    `reports` are those that the hub has, by member. `may_write` says whether this agent is the
    member's only one."""

    def __init__(
        self,
        session: ApiSession,
        member: str,
        states: States,
        reports: Mapping[str, MemberReport],
        may_write: Callable[[], bool],
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._session = session
        self._member = member
        self._states = states
        self._reports = reports
        self._may_write = may_write
        self._clock = clock
        self._backoff = Backoff(0.5, 10.0, random)
        self._written = -1
        """The number of changes that the last report has."""
        self._wrote = -inf

    async def run(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(_DEBOUNCE_SECONDS)
            if not (self._may_write() and self._is_due()):
                continue
            changes = self._states.changes
            states, trouble = list(self._states.states.values()), self._states.trouble
            try:
                await self._write(as_wire(states, trouble))
            except (ApiError, NoAnswerError) as error:
                _log.warning("report not written", extra={"reason": str(error)})
                await asyncio.sleep(self._backoff.next())
            else:
                self._written, self._wrote = changes, self._clock()
                self._backoff.reset()

    def _is_due(self) -> bool:
        if self._written != self._states.changes:
            return True
        if self._clock() - self._wrote < _SHOWN_SECONDS:
            return False  # the watch may not have shown the last write yet
        there = self._reports.get(self._member)
        return there is None or there.trouble != self._states.trouble

    async def _write(self, status: dict[str, Any]) -> None:
        path = f"{PATH}/{self._member}/status"
        body = {"status": status}
        try:
            await self._patch(path, body)
        except ApiError as error:
            if error.status != _MISSING:
                raise
            await self._create()
            await self._patch(path, body)

    async def _patch(self, path: str, body: dict[str, Any]) -> None:
        await self._session.request(
            "PATCH", path, body=body, content_type=MERGE_PATCH, seconds=_WRITE_SECONDS
        )

    async def _create(self) -> None:
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": self._member},
        }
        try:
            await self._session.request("POST", PATH, body=body, seconds=_WRITE_SECONDS)
        except ApiError as error:
            if error.status != _CONFLICT:
                raise
