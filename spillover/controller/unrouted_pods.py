"""Tells the users of a policy about its unrouted pods: pods that it selects and that another
scheduler places. They existed before the policy, their users named a scheduler, or another webhook
did."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from cachetools import LRUCache

from spillover.controller.objects import of_policy
from spillover.core.cache.cluster import ClusterCache
from spillover.core.model.policy import LoadedPolicy
from spillover.core.reporting.status import foreign_note, foreign_pods
from spillover.kube.events import Event, Told, write_event
from spillover.kube.session import ApiSession

REASON = "PodsNotRouted"
_LOOK_SECONDS = 1.0
_MOST_AT_ONCE = 10
_MOST_POLICIES = 10_000


class UnroutedPods:
    """Writes one Event for each policy that has unrouted pods. The condition `PodsNotRouted` of the
    policy's status follows their number.

    The name of the Event contains the uid of the policy, so that the next leader writes the same
    Event and not a second one. `now` returns the time of the wall clock."""

    def __init__(
        self,
        state: ClusterCache,
        session: ApiSession,
        now: Callable[[], datetime],
    ) -> None:
        self._state = state
        self._session = session
        self._now = now
        self._told: LRUCache[str, bool] = LRUCache(_MOST_POLICIES)

    async def run(self) -> None:
        """Looks for policies with unrouted pods. Never returns."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            found = map(self._state.policies.get, self._state.counts.with_foreign())
            untold = [each for each in found if each is not None and each.uid not in self._told]
            for policy in untold[:_MOST_AT_ONCE]:
                if await self._tell(policy):
                    self._told[policy.uid] = True

    async def _tell(self, policy: LoadedPolicy) -> bool:
        """Returns whether the Event is settled: written, or refused for good."""
        foreign = foreign_pods(self._state, policy.key)
        if not foreign.pods:
            return False  # they have ended since
        event = Event(
            name=f"spillover-{policy.uid}",
            regarding=of_policy(policy),
            reason=REASON,
            action="Selecting",
            note=foreign_note(foreign),
            is_warning=True,
        )
        return await write_event(self._session, event, self._now()) is not Told.LATER
