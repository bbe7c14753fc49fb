"""Telling a policy's user of pods that were there before it and that another scheduler places: they
stay where they are."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from cachetools import LRUCache

from spillover.controller.objects import of_policy
from spillover.core.instants import seconds_of
from spillover.core.pods import Pod
from spillover.core.policy import LoadedPolicy
from spillover.core.selectors import includes
from spillover.core.state import ClusterState
from spillover.kube.events import Event, write_event
from spillover.kube.session import ApiSession

REASON = "PodsNotRouted"
_LOOK_SECONDS = 1.0
_MOST_NAMES = 10
_SLICE = 1000
_LATE_SECONDS = 30.0
"""For which pods may still become known, or be made by who does not know the policy yet."""
_MOST_POLICIES = 10_000


class EarlierPods:
    """One event for each policy that is created while this runs, if it has such pods. The event's
    name is the policy's, so that the next leader writes the same one. `now` is the wall clock."""

    def __init__(
        self,
        state: ClusterState,
        session: ApiSession,
        now: Callable[[], datetime],
    ) -> None:
        self._state = state
        self._session = session
        self._now = now
        self._seen: LRUCache[str, bool] = LRUCache(_MOST_POLICIES)

    async def run(self) -> None:
        """Never returns."""
        # Those of a moment ago may not have been told by who led then.
        begun = (self._now() - timedelta(seconds=_LATE_SECONDS)).strftime("%Y-%m-%dT%H:%M:%SZ")
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for policy in self._state.policies.all():
                if policy.uid in self._seen or policy.created < begun:
                    continue
                pods = []
                there = self._state.pods_of(policy.key.namespace)
                for first in range(0, len(there), _SLICE):
                    pods += earlier(policy, there[first : first + _SLICE])
                    await asyncio.sleep(0)
                pods.sort(key=lambda pod: pod.name)
                if (pods and await self._tell(policy, pods)) or (
                    not pods and (seconds_of(policy.created) or 0) + _LATE_SECONDS < self._time()
                ):
                    self._seen[policy.uid] = True

    def _time(self) -> float:
        return self._now().timestamp()

    async def _tell(self, policy: LoadedPolicy, pods: list[Pod]) -> bool:
        """Whether it is told, or never will be."""
        event = Event(
            name=f"spillover-{policy.uid}",
            regarding=of_policy(policy),
            reason=REASON,
            action="Selecting",
            note=note(pods),
            is_warning=True,
        )
        return await write_event(self._session, event, self._now())


def earlier(policy: LoadedPolicy, pods: Iterable[Pod]) -> list[Pod]:
    """Live pods that the policy selects, that name no scheduler, and that the webhook has not
    routed: they were made before it knew the policy."""
    return [
        pod
        for pod in pods
        if includes(pod.labels, policy.selector)
        and pod.scheduler in ("", "default-scheduler")
        and not (pod.finished or pod.terminating)
    ]


def note(pods: list[Pod]) -> str:
    names = ", ".join(pod.name for pod in pods[:_MOST_NAMES])
    more = f" and {len(pods) - _MOST_NAMES} more" if len(pods) > _MOST_NAMES else ""
    return (
        f"{len(pods)} pods were created before this policy and are another scheduler's:"
        f" {names}{more}. They stay where they are; pods that replace them will be placed by it."
    )
