"""Tells the user of a new policy about its earlier pods: pods that existed before the policy and
that another scheduler places. These pods stay on their nodes."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from cachetools import LRUCache

from spillover.controller.objects import of_policy
from spillover.core.cache.cluster import ClusterCache
from spillover.core.model.pods import Pod
from spillover.core.model.policy import LoadedPolicy, PolicyKey
from spillover.core.model.timestamps import seconds_of
from spillover.kube.events import Event, Told, write_event
from spillover.kube.session import ApiSession

REASON = "PodsNotRouted"
_LOOK_SECONDS = 1.0
_MOST_NAMES = 10
_SLICE = 500
_LATE_SECONDS = 30.0
"""For this long after a policy is created, more earlier pods may appear: the watch may lag, and the
webhook may not know the policy yet."""
_MOST_POLICIES = 10_000


class EarlierPods:
    """Writes one Event for each policy that is created while this task runs and has earlier pods.

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
        self._seen: LRUCache[str, bool] = LRUCache(_MOST_POLICIES)

    async def run(self) -> None:
        """Looks for new policies. Never returns."""
        # The previous leader may not have written the Events of the newest policies.
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
        """Adds the earlier pods of the namespace to `theirs`, by each policy that selects them."""
        for index, pod in enumerate(self._state.pods_of(namespace)):
            if is_theirs(pod):
                for policy in self._state.policies.selecting(namespace, pod.labels):
                    theirs.setdefault(policy.key, []).append(pod)
            if index % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)

    def _time(self) -> float:
        return self._now().timestamp()

    async def _tell(self, policy: LoadedPolicy, pods: list[Pod]) -> bool:
        """Returns whether the Event is settled: written, or refused for good."""
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
    """Returns whether the pod is live and the default scheduler places it: its user has named no
    scheduler, and the webhook has not routed it."""
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
