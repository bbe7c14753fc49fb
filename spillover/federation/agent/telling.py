"""Events on the hub's workload when its pods have been unschedulable in this member for long.

At most one Event in `after` seconds for each workload, whatever the reasons do.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from math import inf

from spillover.federation.agent.hub import HubView, Source
from spillover.federation.agent.reporting import States
from spillover.federation.member import WorkloadState
from spillover.kube.events import Event, Regarding, Told, write_event
from spillover.kube.session import ApiSession

_LOOK_SECONDS = 0.5
_REPEAT_SECONDS = 3600.0
"""The API server deletes Events after an hour."""


class Teller:
    """Writes an Event when a workload has had unschedulable pods for `after` seconds, and again
    when the reasons change."""

    def __init__(
        self,
        session: ApiSession,
        member: str,
        hub: HubView,
        states: States,
        may_write: Callable[[], bool],
        after: float,
        clock: Callable[[], float],
    ) -> None:
        self._session = session
        self._member = member
        self._hub = hub
        self._states = states
        self._may_write = may_write
        self._after = after
        self._clock = clock
        self._since: dict[str, float] = {}
        """Since when each workload has unschedulable pods, by our own clock."""
        self._told: dict[str, tuple[tuple[str, ...], float]] = {}

    async def run(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._may_write() and not self._states.trouble:
                for key, state in list(self._states.states.items()):
                    await self._look(key, state)
            for key in [each for each in self._since if each not in self._states.states]:
                self._forget(key)

    async def _look(self, key: str, state: WorkloadState) -> None:
        source = self._hub.sources.get(key)
        if not state.unschedulable or source is None:
            self._forget(key)
            return
        now = self._clock()
        lasts = now - self._since.setdefault(key, now)
        reasons, told = self._told.get(key, ((), -inf))
        pause = _REPEAT_SECONDS if reasons == state.reasons else self._after
        if lasts < self._after or now - told < pause:
            return
        event = _event(self._member, source, state, lasts)
        if await write_event(self._session, event, datetime.now(UTC)) is not Told.LATER:
            self._told[key] = (state.reasons, now)

    def _forget(self, key: str) -> None:
        self._since.pop(key, None)
        self._told.pop(key, None)


def _event(member: str, source: Source, state: WorkloadState, lasts: float) -> Event:
    stamp = datetime.now(UTC).strftime("%Y%m%d%H%M%S%f")
    count = state.unschedulable
    pods = "1 pod is unschedulable" if count == 1 else f"{count} pods are unschedulable"
    return Event(
        name=f"{source.name[:100]}.{member[:100]}.{stamp}",
        regarding=Regarding("apps/v1", "Deployment", source.namespace, source.name, source.uid),
        reason="UnschedulableInMember",
        action="Scheduling",
        note=f"{member}: {pods} for {_duration(lasts)}: {'; '.join(state.reasons)}",
        is_warning=True,
    )


def _duration(seconds: float) -> str:
    minutes, left = divmod(int(seconds), 60)
    if not minutes:
        return f"{left}s"
    return f"{minutes}m{left}s" if left else f"{minutes}m"
