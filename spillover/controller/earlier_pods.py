"""Telling a policy's user of pods that were there before it and that another scheduler places: they
stay where they are."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from cachetools import LRUCache

from spillover.controller.objects import of_policy
from spillover.core.instants import seconds_of
from spillover.core.pods import Pod
from spillover.core.policy import LoadedPolicy, PolicyKey
from spillover.core.state import ClusterState
from spillover.kube.events import Event, Told, write_event
from spillover.kube.session import ApiSession

REASON = "PodsNotRouted"
_LOOK_SECONDS = 1.0
_MOST_NAMES = 10
_SLICE = 500
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
            policies = [
                policy
                for policy in self._state.policies.all()
                if policy.uid not in self._seen and policy.created >= begun
            ]
            theirs: dict[PolicyKey, list[Pod]] = {}
            for namespace in {policy.key.namespace for policy in policies}:
                await self._find(namespace, theirs)
            for policy in policies:
                pods = sorted(theirs.get(policy.key, ()), key=lambda pod: pod.name)
                if (pods and await self._tell(policy, pods)) or (
                    not pods and (seconds_of(policy.created) or 0) + _LATE_SECONDS < self._time()
                ):
                    self._seen[policy.uid] = True

    async def _find(self, namespace: str, theirs: dict[PolicyKey, list[Pod]]) -> None:
        """Adds the namespace's pods, by each policy that selects them."""
        for index, pod in enumerate(self._state.pods_of(namespace)):
            if is_theirs(pod):
                for policy in self._state.policies.selecting(namespace, pod.labels):
                    theirs.setdefault(policy.key, []).append(pod)
            if index % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)

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
        return await write_event(self._session, event, self._now()) is not Told.LATER


def is_theirs(pod: Pod) -> bool:
    """A live pod that names no scheduler, and that the webhook has not routed."""
    is_live = not (pod.finished or pod.terminating)
    return is_live and pod.scheduler in ("", "default-scheduler")


def note(pods: list[Pod]) -> str:
    names = ", ".join(pod.name for pod in pods[:_MOST_NAMES])
    more = f" and {len(pods) - _MOST_NAMES} more" if len(pods) > _MOST_NAMES else ""
    return (
        f"{len(pods)} pods that this policy selects are another scheduler's, for they were created"
        f" before it was known: {names}{more}. They stay where they are; pods that replace them"
        " will be placed by it."
    )
