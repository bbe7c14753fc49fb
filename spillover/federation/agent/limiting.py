"""Keeps the member's limit in the hub's annotation (mode `limit`). `limits.py` decides it.

Only the own member's entry is changed, and the entries of members whose agent is dead. Each write
names the version of the Deployment that the decision was made for, so that no other write is lost.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from random import Random

from spillover.federation.agent.hub import HubView, Source
from spillover.federation.agent.presence import Presence
from spillover.federation.agent.reporting import States
from spillover.federation.kubeadmiral import MIGRATION, is_valid, limits_of, with_limits
from spillover.federation.limits import Wish, wish
from spillover.kube.backoff import Backoff
from spillover.kube.session import MERGE_PATCH, ApiError, ApiSession, NoAnswerError
from spillover.kube.signals import Signal

_LOWER_SECONDS = 2.0
"""A lower limit must be wanted for this long: each write costs a write in every member."""
_SETTLE_SECONDS = 5.0
"""The engine follows a new limit within this time."""
_LOOK_SECONDS = 1.0
_WRITE_SECONDS = 5.0
_CONFLICT = 409

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Lowering:
    """A lower limit that is wanted since a time of the clock."""

    limit: int
    since: float


class Limiter:
    """`news` is notified when the hub or the member's states have changed. Nothing is written while
    `presence` does not hold the member's Lease. The limit of a member whose agent has not lived for
    `dead_after` seconds is removed."""

    def __init__(
        self,
        session: ApiSession,
        member: str,
        hub: HubView,
        states: States,
        news: Signal,
        presence: Presence,
        dead_after: float,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._session = session
        self._member = member
        self._hub = hub
        self._states = states
        self._news = news
        self._presence = presence
        self._dead_after = dead_after
        self._clock = clock
        self._backoff = Backoff(0.2, 10.0, random)
        self._lowering: dict[str, _Lowering] = {}
        self._limits: dict[str, tuple[int | None, float]] = {}
        """The own limit of each Deployment, and since when it is seen to be so."""
        self._written: dict[str, str] = {}
        """The version of each Deployment that the last write was for."""

    async def run(self) -> None:
        """Never returns."""
        while True:
            mark = self._news.mark()
            try:
                if self._presence.holds() and not self._states.trouble:
                    for source in list(self._hub.sources.values()):
                        await self._reconcile(source)
                    self._forget_gone()
                self._backoff.reset()
            except (ApiError, NoAnswerError) as error:
                _log.warning("limit not written", extra={"reason": str(error)})
                await asyncio.sleep(self._backoff.next())
            await self._news.after(mark, _LOOK_SECONDS)

    def _forget_gone(self) -> None:
        for found in (self._lowering, self._limits, self._written):
            for key in found.keys() - self._hub.sources.keys():
                del found[key]

    async def _reconcile(self, source: Source) -> None:
        if self._written.get(source.key) == source.version:
            return  # the watch has not shown the last write yet
        before = limits_of(source.migration)
        after = dict(before)
        touch = self._presence.in_touch_since
        dead = self._hub.leases.dead(self._clock(), touch, self._dead_after)
        for member in dead - {self._member}:
            after.pop(member, None)
        wanted = self._wish(source)
        self._apply(source.key, after, wanted)
        if after == before and is_valid(source.migration):
            return
        await self._write(source, after, wanted)

    def _wish(self, source: Source) -> Wish | None:
        """None if the workload is not this member's matter: nothing is changed then."""
        alive = self._hub.leases.alive(self._clock(), self._presence.in_touch_since)
        fleet = self._hub.fleet(source, alive)
        if fleet is None:
            return None
        own = self._states.states.get(source.key)
        if own is None or self._member not in fleet.order:
            return Wish(None, "no replicas are placed in this member")
        limit, now = fleet.limits.get(self._member), self._clock()
        seen, since = self._limits.get(source.key, (limit, -inf))
        if seen != limit:
            since = now
        self._limits[source.key] = (limit, since)
        fleet = replace(fleet, states={**fleet.states, self._member: own})
        return wish(self._member, fleet, settled=now - since >= _SETTLE_SECONDS)

    def _apply(self, key: str, limits: dict[str, int], wanted: Wish | None) -> None:
        """Sets the member's own limit, unless it is to be lowered and that is news."""
        now = limits.get(self._member)
        if wanted is None:
            return
        if wanted.limit is None:
            limits.pop(self._member, None)
            self._lowering.pop(key, None)
            return
        if now is None or wanted.limit >= now:
            limits[self._member] = wanted.limit
            self._lowering.pop(key, None)
            return
        lowering = self._lowering.setdefault(key, _Lowering(wanted.limit, self._clock()))
        # What was wanted all the time: never below what is bound now.
        lowering.limit = max(lowering.limit, wanted.limit)
        if self._clock() - lowering.since >= _LOWER_SECONDS and lowering.limit < now:
            limits[self._member] = lowering.limit
            del self._lowering[key]
        elif lowering.limit >= now:
            del self._lowering[key]

    async def _write(self, source: Source, limits: dict[str, int], wanted: Wish | None) -> None:
        body = {
            "metadata": {
                "resourceVersion": source.version,
                "annotations": {MIGRATION: with_limits(limits)},
            }
        }
        path = f"/apis/apps/v1/namespaces/{source.namespace}/deployments/{source.name}"
        try:
            await self._session.request(
                "PATCH", path, body=body, content_type=MERGE_PATCH, seconds=_WRITE_SECONDS
            )
        except ApiError as error:
            if error.status != _CONFLICT:
                raise
            return  # the watch shows the newer version soon
        self._written[source.key] = source.version
        _log.info(
            "limit written",
            extra={
                "workload": source.key,
                "limit": limits.get(self._member),
                "reason": wanted.reason if wanted is not None else "an agent is dead",
            },
        )
