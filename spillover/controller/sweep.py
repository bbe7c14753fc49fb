"""The sweep: makes every Binding impossible that an earlier leader may still have in flight.

The sweep patches every pod that an earlier leader may still bind. The patch changes the pod's
version, and the Binding names the old version. Pods that an earlier leader learns of later need no
patch: by then that leader may bind nothing any more.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from random import Random

from spillover.core.cache.cluster import ClusterCache
from spillover.core.model.pods import EPOCH_ANNOTATION, Pod, unreadable_pod
from spillover.kube.backoff import Backoff
from spillover.kube.listing import list_all
from spillover.kube.reading import Unreadable, pod_in, pod_of
from spillover.kube.session import MERGE_PATCH, ApiError, ApiSession, NoAnswerError
from spillover.kube.signals import Signal

_PATCH_SECONDS = 5.0
_AT_ONCE = 12
_TRIES = 3
"""Tries of a patch. After the last one the pod is doubted, and the sweep goes on without it."""
_GONE = (404, 409, 422)
"""Statuses of an answer that may mean: there is no such pod, or a pod of this name has another
uid."""
_LIVE = "status.phase!=Succeeded,status.phase!=Failed"

Confirm = Callable[[], Awaitable[None]]

_log = logging.getLogger(__name__)


class Sweep:
    """Patches the pods that an earlier leader may still bind.

    `schedulers` are the names of our scheduler's profiles. `clock` returns seconds. `progress` is
    notified each time the pods of one more namespace may be placed."""

    def __init__(
        self,
        state: ClusterCache,
        session: ApiSession,
        schedulers: Iterable[str],
        progress: Signal,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._state = state
        self._session = session
        self._schedulers = sorted(schedulers)
        self._progress = progress
        self._clock = clock
        self._random = random
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def run(self, epoch: int, last_pass_from: float, confirm: Confirm) -> None:
        """Opens the namespaces one by one, and returns when all are open. Pods whose patch fails
        stay doubted: `settle_doubts` tries them again. `confirm` is called right before the last
        pass, and when a pod shows a newer epoch. `confirm` raises if another process has taken over
        since. Raises what `confirm` raises, and ApiError and NoAnswerError when the pods cannot be
        listed."""
        begun = self._clock()
        if begun < last_pass_from:
            # Pods wait for the last pass, so patch as many as possible before it.
            await self._pass(epoch, confirm, is_last=False)
            await asyncio.sleep(last_pass_from - self._clock())
        await confirm()
        count = await self._pass(epoch, confirm, is_last=True)
        seconds = round(self._clock() - begun, 3)
        doubted = len(self._state.ledger.doubted())
        _log.info(
            "swept", extra={"epoch": epoch, "pods": count, "doubted": doubted, "seconds": seconds}
        )

    async def catch_up(self) -> None:
        """Opens all namespaces, for a takeover that needs no sweep. Lists the pods first: the watch
        may not show yet what the previous leader has bound. Raises ApiError and NoAnswerError when
        the pods cannot be listed."""
        for pod in await self._list():
            self._state.learn(pod)
        self._state.term.open_all_but(frozenset())
        self._progress.notify()

    async def settle_doubts(self, epoch: int) -> None:
        """Patches the doubted pods repeatedly. Never returns."""
        backoff = Backoff(first=0.5, longest=20.0, random=self._random)
        while True:
            await asyncio.sleep(0.2 + backoff.next())
            doubted = self._state.ledger.doubted()
            if not doubted:
                backoff.reset()
            for pod in doubted:
                await self._patch(pod, epoch)

    async def patch_outranking(self, epoch: int) -> None:
        """Patches pods that show a newer epoch than the last takeover: a user has written that
        epoch."""
        for pod in self._state.outranking():
            await self._patch(pod, epoch)

    async def _pass(self, epoch: int, confirm: Confirm, *, is_last: bool) -> int:
        """Returns the number of pods that needed a patch."""
        listed = await self._list()
        for pod in listed:
            self._state.learn(pod)
        if self._state.outranking():
            await confirm()
        unsettled = self._state.unsettled(listed, epoch)
        if is_last:
            self._state.term.open_all_but(unsettled.keys())
            self._progress.notify()
        for namespace, pods in unsettled.items():
            async with asyncio.TaskGroup() as group:
                for pod in pods:
                    group.create_task(self._settle(pod, epoch, doubtful=is_last))
            if is_last:
                self._state.term.open_namespace(namespace)
                self._progress.notify()
        return sum(map(len, unsettled.values()))

    async def _list(self) -> list[Pod]:
        """Every live pod of our scheduler, at its version at the start of the list or a later
        one."""
        listed: list[Pod] = []
        unreadable: list[Unreadable] = []
        for scheduler in self._schedulers:
            select = {"fieldSelector": f"spec.schedulerName={scheduler},{_LIVE}"}
            listed += await list_all(
                self._session,
                "/api/v1/pods",
                pod_of,
                select,
                unreadable=unreadable.append,
            )
        listed += [unreadable_pod(each.identity, each.reason, None) for each in unreadable]
        return listed

    async def _settle(self, pod: Pod, epoch: int, *, doubtful: bool) -> None:
        backoff = Backoff(first=0.2, longest=1.0, random=self._random)
        for _ in range(_TRIES):
            async with self._room:
                if await self._patch(pod, epoch):
                    return
            await asyncio.sleep(backoff.next())
        if doubtful:
            self._state.doubt(pod)

    async def _patch(self, pod: Pod, epoch: int) -> bool:
        """Returns whether no earlier leader can bind the pod any more."""
        metadata = {"uid": pod.uid, "annotations": {EPOCH_ANNOTATION: str(epoch)}}
        try:
            content = await self._session.request(
                "PATCH",
                f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}",
                body={"metadata": metadata},
                content_type=MERGE_PATCH,
                seconds=_PATCH_SECONDS,
            )
            found = pod_in(content)
            self._state.learn(found)
        except ApiError as error:
            if error.status in _GONE:
                return await self._is_gone(pod)
            return self._failed(pod, error)
        except NoAnswerError as error:
            return self._failed(pod, error)
        # Something in between may accept the patch and drop it. Only the version is proof.
        done = bool(found.node) or found.version > pod.version
        return done or self._failed(pod, "the patch changed nothing")

    async def _is_gone(self, pod: Pod) -> bool:
        """Reads the pod after a refused patch. The status alone is no proof that the pod is gone:
        an admission policy also answers with 422. Returns as `_patch` does."""
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
        try:
            found = pod_in(await self._session.request("GET", path, seconds=_PATCH_SECONDS))
        except ApiError as error:
            return self._gone(pod) if error.status == 404 else self._failed(pod, error)
        except NoAnswerError as error:
            return self._failed(pod, error)
        if found.uid != pod.uid:
            return self._gone(pod)
        self._state.learn(found)
        return bool(found.node) or self._failed(pod, "the patch is refused")

    def _gone(self, pod: Pod) -> bool:
        # The watch may have shown the deletion before the doubt began.
        self._state.ledger.trust(pod.uid)
        return True

    def _failed(self, pod: Pod, reason: object) -> bool:
        where = {"namespace": pod.namespace, "pod": pod.name, "reason": str(reason)}
        _log.warning("pod not swept", extra=where)
        return False
