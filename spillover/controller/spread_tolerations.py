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
from collections import Counter
from collections.abc import Callable, Collection
from random import Random
from typing import Any

import msgspec
from cachetools import LRUCache

from spillover.api.partial import decoded
from spillover.core.cache.cluster import ClusterCache
from spillover.core.model.pods import TOLERATED_ANNOTATION, Pod
from spillover.kube.reading import pod_in
from spillover.kube.session import MERGE_PATCH, ApiError, ApiSession, NoAnswerError

_LOOK_SECONDS = 0.1
_MOST_PODS = 100
"""Pods that one look looks at."""
_MOST_OF_A_NAMESPACE = 4
"""Writes at once to pods of one namespace: slow ones leave the others theirs."""
_AT_ONCE = 8
_FIRST_REST, _LONGEST_REST = 1.0, 60.0
_MOST_RESTING = 10_000
_WRITE_SECONDS = 5.0
_CHANGED = (404, 409)
"""There is no such pod, or it has changed: the watch shows its new state."""

_log = logging.getLogger(__name__)


class SpreadTolerations:
    """`clock` returns seconds and never goes back."""

    def __init__(
        self,
        state: ClusterCache,
        session: ApiSession,
        random: Random,
        clock: Callable[[], float],
    ) -> None:
        self._state = state
        self._session = session
        self._random = random
        self._clock = clock
        # When the pod's next try is due, and how often it has failed.
        self._rests: LRUCache[str, tuple[float, int]] = LRUCache(_MOST_RESTING)

    async def run(self) -> None:
        """Looks for pods that lack tolerations. Never returns."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            chosen: list[tuple[Pod, frozenset[str]]] = []
            of_namespace: Counter[str] = Counter()
            for pod, keys in self._state.untolerated(_MOST_PODS):
                due, _ = self._rests.get(pod.uid, (0.0, 0))
                has_turn = of_namespace[pod.namespace] < _MOST_OF_A_NAMESPACE
                if due <= self._clock() and has_turn and len(chosen) < _AT_ONCE:
                    of_namespace[pod.namespace] += 1
                    chosen.append((pod, keys))
            await asyncio.gather(*(self._try(pod, keys) for pod, keys in chosen))

    async def _try(self, pod: Pod, keys: Collection[str]) -> None:
        if await self._give(pod, keys):
            self._rests.pop(pod.uid, None)
            return
        failures = self._rests.get(pod.uid, (0.0, 0))[1] + 1
        rest = min(_LONGEST_REST, _FIRST_REST * 2 ** min(failures - 1, 10))
        due = self._clock() + rest * (0.5 + self._random.random())
        self._rests[pod.uid] = (due, failures)

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
            if isinstance(error, ApiError) and error.status in _CHANGED:
                return True
            where = {"namespace": pod.namespace, "pod": pod.name, "reason": str(error)}
            _log.warning("tolerations not written", extra=where)
            return False
        where = {"namespace": pod.namespace, "pod": pod.name, "taints": ",".join(added)}
        _log.info("tolerations written for the topology spread", extra=where)
        return True
