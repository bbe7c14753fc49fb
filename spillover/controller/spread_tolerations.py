"""Gives waiting pods the tolerations that their topology spread needs.

kube-scheduler leaves the nodes whose taints a pod does not tolerate out of the domains of a hard
topology spread constraint with `nodeTaintsPolicy: Honor`. Pods need no toleration for the virtual
nodes of their units, so it would not count the pods there, and would neither keep the skew nor let
the pods use the nodes that the skew allows. Spillover can only take nodes away from what
kube-scheduler offers. So such a pod gets the tolerations before it is placed, and kube-scheduler
itself keeps the skew.
"""

import asyncio
import logging
from collections.abc import Collection
from random import Random
from typing import Any

import msgspec

from spillover.api.partial import decoded
from spillover.core.cache.cluster import ClusterCache
from spillover.core.model.pods import TOLERATED_ANNOTATION, Pod
from spillover.kube.reading import pod_in
from spillover.kube.session import MERGE_PATCH, ApiError, ApiSession, NoAnswerError

_LOOK_SECONDS = 0.1
_REST_SECONDS = 1.0
"""The rest after a failed write: between this and twice this."""
_WRITE_SECONDS = 5.0
_AT_ONCE = 8
_GONE = (404, 409, 422)
"""There is no such pod, or it has changed: the watch shows its new state."""

_log = logging.getLogger(__name__)


class SpreadTolerations:
    def __init__(self, state: ClusterCache, session: ApiSession, random: Random) -> None:
        self._state = state
        self._session = session
        self._random = random

    async def run(self) -> None:
        """Looks for pods that lack tolerations. Never returns."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            pods = self._state.take_untolerated()
            failed = 0
            for start in range(0, len(pods), _AT_ONCE):
                part = pods[start : start + _AT_ONCE]
                outcomes = await asyncio.gather(*(self._give(pod, keys) for pod, keys in part))
                failed += outcomes.count(False)
            if failed:
                await asyncio.sleep(_REST_SECONDS * (1 + self._random.random()))

    async def _give(self, pod: Pod, keys: Collection[str]) -> bool:
        """Returns whether the pod needs no further try."""
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
        try:
            content = await self._session.request("GET", path, seconds=_WRITE_SECONDS)
            found = pod_in(content)
            if found.uid != pod.uid or not found.is_waiting:
                return True
            raw: dict[str, Any] = decoded(content, msgspec.json.decode)
            added = sorted(frozenset(keys) - found.given_tolerations)
            patch = {
                "metadata": {
                    "uid": pod.uid,
                    "resourceVersion": str(found.version),
                    "annotations": {
                        TOLERATED_ANNOTATION: ",".join(sorted({*found.given_tolerations, *added}))
                    },
                },
                "spec": {
                    "tolerations": [
                        *(raw["spec"].get("tolerations") or []),
                        *({"key": key, "operator": "Exists"} for key in added),
                    ]
                },
            }
            answer = await self._session.request(
                "PATCH", path, body=patch, content_type=MERGE_PATCH, seconds=_WRITE_SECONDS
            )
            self._state.learn(pod_in(answer))
        except (ApiError, NoAnswerError) as error:
            if isinstance(error, ApiError) and error.status in _GONE:
                return True
            where = {"namespace": pod.namespace, "pod": pod.name, "reason": str(error)}
            _log.warning("tolerations not written", extra=where)
            self._state.still_untolerated(pod.uid)
            return False
        where = {"namespace": pod.namespace, "pod": pod.name, "taints": ",".join(added)}
        _log.info("tolerations written for the topology spread", extra=where)
        return True
