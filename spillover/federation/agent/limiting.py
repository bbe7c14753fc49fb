"""Keeps the member's limit in the hub's annotation (mode `limit`). `limits.py` decides it.

Only the own member's entry is changed, and the entries of members whose agent is dead. Each write
names the version of the Deployment that the decision was made for, so that no other write is lost.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from spillover.federation.agent.hub import HubView, Source
from spillover.federation.agent.presence import Presence
from spillover.federation.agent.reporting import States
from spillover.federation.kubeadmiral import MIGRATION, with_limits
from spillover.federation.limits import Wish, wish
from spillover.kube.backoff import Backoff
from spillover.kube.listing import list_all
from spillover.kube.reading import pod_of
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


@dataclass(slots=True)
class _Rest:
    """A pause after a write that was refused."""

    backoff: Backoff
    until: float = 0.0


class Limiter:
    """`session` is for the hub, `own` for the member. `is_hub_read`: all objects of the hub are
    known. `news` is notified when the hub or the member's states have changed. Nothing is written
    while `presence` does not hold the member's Lease. The limit of a member whose agent has not
    lived for `dead_after` seconds is removed."""

    def __init__(
        self,
        session: ApiSession,
        own: ApiSession,
        member: str,
        hub: HubView,
        is_hub_read: Callable[[], bool],
        states: States,
        news: Signal,
        presence: Presence,
        dead_after: float,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._session = session
        self._own = own
        self._is_hub_read = is_hub_read
        self._member = member
        self._hub = hub
        self._states = states
        self._news = news
        self._presence = presence
        self._dead_after = dead_after
        self._clock = clock
        self._random = random
        self._resting: dict[str, _Rest] = {}
        """Deployments whose last write was refused."""
        self._lowering: dict[str, _Lowering] = {}
        self._acknowledged: dict[str, tuple[int | None, float]] = {}
        """The own limit of each Deployment that the engine has acknowledged, and since when."""
        self._written: dict[str, str] = {}
        """The version of each Deployment that the last write was for."""

    async def run(self) -> None:
        """Never returns."""
        while True:
            mark = self._news.mark()
            if self._presence.holds() and not self._states.trouble and self._is_hub_read():
                for source in list(self._hub.sources.values()):
                    await self._reconcile(source)
                self._forget_gone()
            else:
                self._lowering.clear()  # what was wanted before the gap is old
            await self._news.after(mark, _LOOK_SECONDS)

    def _forget_gone(self) -> None:
        for found in (self._lowering, self._acknowledged, self._written, self._resting):
            for key in found.keys() - self._hub.sources.keys():
                del found[key]

    async def _reconcile(self, source: Source) -> None:
        rest = self._resting.get(source.key)
        if self._written.get(source.key) == source.version or (rest and rest.until > self._clock()):
            return  # the watch has not shown the last write yet, or the last write was refused
        after = dict(source.limits)
        for member in self._hub.leases.dead(self._clock(), self._dead_after) - {self._member}:
            after.pop(member, None)
        wanted = self._wish(source)
        try:
            await self._apply(source, after, wanted)
            if (after == source.limits and source.is_valid) or not self._presence.holds():
                return
            await self._write(source, after, wanted)
        except (ApiError, NoAnswerError) as error:
            rest = self._resting.setdefault(source.key, _Rest(Backoff(1.0, 60.0, self._random)))
            rest.until = self._clock() + rest.backoff.next()
            _log.warning("limit not written", extra={"workload": source.key, "reason": str(error)})
        else:
            self._resting.pop(source.key, None)

    def _wish(self, source: Source) -> Wish | None:
        """None if nothing is known of the workload's placement or of the workload here: nothing is
        changed then."""
        now = self._clock()
        fleet = self._hub.fleet(source, self._hub.leases.alive(now), now)
        own = self._states.states.get(source.key)
        if fleet is None or own is None:
            return None
        if self._member not in fleet.order:
            return Wish(None, "the member is not in the placement")
        fleet = replace(fleet, states={**fleet.states, self._member: own})
        return wish(self._member, fleet, settled=self._is_settled(source, now))

    def _is_settled(self, source: Source, now: float) -> bool:
        """Whether the engine has acknowledged the limits and has had the time to follow them, and
        the states are newer than that."""
        if source.applied != source.limits:
            self._acknowledged.pop(source.key, None)
            return False
        limit = source.limits.get(self._member)
        known, since = self._acknowledged.get(source.key, (limit, now))
        if known != limit:
            since = now
        self._acknowledged[source.key] = (limit, since)
        return min(now, self._states.looked) - since >= _SETTLE_SECONDS

    async def _apply(self, source: Source, limits: dict[str, int], wanted: Wish | None) -> None:
        """Sets the member's own limit. A lower one must be wanted for a while, and is never below
        what the API server says is bound at this moment."""
        now = limits.get(self._member)
        if wanted is None or wanted.limit is None or (now is not None and wanted.limit >= now):
            self._lowering.pop(source.key, None)
            if wanted is not None and wanted.limit is None:
                limits.pop(self._member, None)
            elif wanted is not None and wanted.limit is not None:
                limits[self._member] = wanted.limit
            return
        if now is None:
            limits[self._member] = max(wanted.limit, await self._bound(source))
            return
        lowering = self._lowering.setdefault(source.key, _Lowering(wanted.limit, self._clock()))
        lowering.limit = max(lowering.limit, wanted.limit)
        if self._clock() - lowering.since >= _LOWER_SECONDS:
            limits[self._member] = min(now, max(lowering.limit, await self._bound(source)))
            del self._lowering[source.key]

    async def _bound(self, source: Source) -> int:
        """The workload's bound pods, read from the API server: a watch may be slow."""
        deployed = self._states.view.deployed(source.key)
        if deployed is None:
            return 0
        selector = ",".join(f"{key}={value}" for key, value in sorted(deployed.selector.items()))
        path = f"/api/v1/namespaces/{source.namespace}/pods"
        pods = await list_all(self._own, path, pod_of, {"labelSelector": selector})
        return sum(bool(pod.node and not pod.terminating and not pod.finished) for pod in pods)

    async def _write(self, source: Source, limits: dict[str, int], wanted: Wish | None) -> None:
        body = {
            "metadata": {
                "resourceVersion": source.version,
                "annotations": {MIGRATION: with_limits(limits, source.migration)},
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
