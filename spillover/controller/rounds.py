"""Looking again at what has changed: the status of policies, the annotations of pods.

A policy is looked at no more than once a second, so that is how often its status is written at
most; what a look wants of pods is looked at right after it. Everything is done in small slices, so
that the scheduler's questions are answered in between.
"""

import asyncio
from collections.abc import Callable
from random import Random

from spillover.controller.decisions import audit
from spillover.controller.pacing import Pace
from spillover.controller.pod_writer import Outcome, PodWriter
from spillover.controller.statuses import Statuses
from spillover.controller.unit_series import UnitSeries
from spillover.core.policy import PolicyKey
from spillover.core.state import ClusterState
from spillover.core.status import report as report_of
from spillover.core.upkeep import Upkeep

POLICY_SECONDS = 1.0
_POD_SECONDS = 0.5
_LOOK_SECONDS = 0.1
_SLICE = 50
_MOST_PODS = 2000
"""In one round."""
_MOST_WRITES = 32
"""Of each kind that wait or are under way; the sessions's own bound is on top of that."""
_STATUSES_AT_ONCE = 4


class Rounds:
    """`report` hears of each status whether it was written or failed; `clock` gives seconds."""

    def __init__(
        self,
        state: ClusterState,
        statuses: Statuses,
        series: UnitSeries,
        writer: PodWriter,
        report: Callable[[str], None],
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._state = state
        self._statuses = statuses
        self._series = series
        self._writer = writer
        self._report = report
        self._upkeep = Upkeep(state)
        self._room = asyncio.Semaphore(_STATUSES_AT_ONCE)
        self._policies: Pace[PolicyKey] = Pace(POLICY_SECONDS, clock, random)
        self._pods: Pace[str] = Pace(_POD_SECONDS, clock, random)
        self._due_policies: dict[PolicyKey, None] = {}
        self._due_pods: dict[str, None] = {}

    def begin(self) -> None:
        """A term: others may have led since the last one."""
        self._upkeep.clear()
        self._series.clear()

    async def run(self) -> None:
        """Never returns."""
        for key in self._policies.reset():
            self._state.changes.policy(key)
        for uid in self._pods.reset():
            self._state.changes.pod(uid)
        async with asyncio.TaskGroup() as writes:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                await self._look_at_policies(writes)
                await self._look_at_pods(writes)

    async def _look_at_policies(self, writes: asyncio.TaskGroup) -> None:
        self._due_policies.update(dict.fromkeys(self._state.changes.take_policies()))
        for index, key in enumerate(list(self._due_policies)):
            if len(self._policies) >= _MOST_WRITES:
                break
            if self._policies.allows(key):
                del self._due_policies[key]
                self._look_at_policy(key, writes)
            await _breathe(index)

    def _look_at_policy(self, key: PolicyKey, writes: asyncio.TaskGroup) -> None:
        self._policies.passed(key)
        self._upkeep.look(key)
        policy = self._state.policies.get(key)
        if policy is None:
            self._series.drop(key)
            return
        found = report_of(self._state, policy)
        self._series.put(found)
        status = self._statuses.wanted(found)
        if status is not None:
            self._policies.begin(key)
            writes.create_task(self._write_status(key, status))

    async def _write_status(self, key: PolicyKey, status: dict[str, object]) -> None:
        outcome = Outcome.FAILED
        try:
            async with self._room:
                policy = self._state.policies.get(key)
                outcome = (
                    Outcome.GONE if policy is None else await self._statuses.write(policy, status)
                )
        finally:
            self._policies.end(key, ok=outcome is not Outcome.FAILED)
        if outcome in (Outcome.WRITTEN, Outcome.FAILED):
            self._report(outcome.value)
        if outcome is Outcome.FAILED:
            self._state.changes.policy(key)

    async def _look_at_pods(self, writes: asyncio.TaskGroup) -> None:
        """Those whose policy is yet to be looked at come later: they would be written twice."""
        room = _MOST_PODS - len(self._due_pods)
        self._due_pods.update(dict.fromkeys(self._state.changes.take_pods(max(0, room))))
        for index, uid in enumerate(list(self._due_pods)):
            if len(self._pods) >= _MOST_WRITES:
                break
            pod = self._state.pod(uid)
            policy = self._state.belongs_to(pod) if pod is not None else None
            if policy in self._due_policies or not self._pods.allows(uid):
                continue
            del self._due_pods[uid]
            if pod is not None and (wanted := self._upkeep.wanted(pod)):
                self._pods.begin(uid)
                writes.create_task(self._write_pod(uid, wanted, self._upkeep.why(pod)))
            await _breathe(index)

    async def _write_pod(self, uid: str, wanted: dict[str, str | None], why: str) -> None:
        outcome = Outcome.FAILED
        pod = self._state.pod(uid)
        try:
            if pod is None:
                outcome = Outcome.GONE
                return
            outcome = await self._writer.replace(pod, wanted, self._state.learn)
        finally:
            self._pods.end(uid, ok=outcome is not Outcome.FAILED)
        if outcome in (Outcome.FAILED, Outcome.CHANGED):
            self._state.changes.pod(uid)
        if outcome is Outcome.WRITTEN:
            where = {"namespace": pod.namespace, "pod": pod.name, "node": pod.node}
            audit.info("annotated", extra={**where, "annotations": wanted, "reason": why})


async def _breathe(index: int) -> None:
    if index % _SLICE == _SLICE - 1:
        await asyncio.sleep(0)
