"""Looking again at what has changed: the status of policies, the annotations of pods.

    changed ─▶ look: counts, who is above a maximum, who is held back ─▶ status differs ─▶ write it
                                    │
    pod changed ────────────────────┴─▶ its annotations differ ─▶ write them

A policy's counts are looked at once a second at most, and its status is written no more often; one
that was edited is looked at at once, and before its pods are. Everything is done in small slices,
so that the scheduler's questions are answered in between. What could not be written rests for
itself, and keeps nothing else waiting.
"""

import asyncio
import heapq
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from spillover.controller.decisions import audit
from spillover.controller.pacing import Pace
from spillover.controller.pod_writer import Outcome, PodWriter
from spillover.controller.statuses import Statuses
from spillover.controller.unit_series import UnitSeries
from spillover.core.pods import Pod
from spillover.core.policy import PolicyKey
from spillover.core.state import ClusterState
from spillover.core.status import report as report_of
from spillover.core.upkeep import Upkeep

POLICY_SECONDS = 1.0
_POD_SECONDS = 0.5
_PLACED_SECONDS = 2.0
_SLOT_SECONDS = 1.5
_BUG_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_SLICE_SECONDS = 0.001
_SHARE = 0.05
"""Of the time, for looking at one policy again and again."""
_MOST_PODS = 2000
"""In one round."""
_BATCH = 20
_MOST_WRITES = 32
"""Of each kind, that wait for their turn or are under way."""
_STATUSES_AT_ONCE = 4

_log = logging.getLogger(__name__)


class Rounds:
    """`report` hears of each status whether it was written or failed, `failed` of bugs; `clock`
    gives seconds."""

    def __init__(
        self,
        state: ClusterState,
        statuses: Statuses,
        series: UnitSeries,
        writer: PodWriter,
        report: Callable[[str], None],
        failed: Callable[[str], None],
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._state = state
        self._statuses = statuses
        self._series = series
        self._writer = writer
        self._report = report
        self._failed = failed
        self._clock = clock
        self._upkeep = Upkeep(state)
        self._room = asyncio.Semaphore(_STATUSES_AT_ONCE)
        self._status_pace: Pace[PolicyKey] = Pace(POLICY_SECONDS, clock, random)
        self._pod_pace: Pace[str] = Pace(_POD_SECONDS, clock, random)
        self._looked: dict[PolicyKey, float] = {}  # when; ahead of now for those that take long
        self._due: dict[PolicyKey, None] = {}
        self._unwritten: dict[PolicyKey, None] = {}
        self._resting: list[tuple[float, str]] = []  # a heap of pods, by when to look again
        self._rests: set[str] = set()  # those in the heap
        self._stale: set[PolicyKey] = set()  # changed since `_upkeep` has looked at them
        self._since: dict[str, float] = {}  # pods whose delay may end, and from when on
        self._slice_ends = 0.0

    def reset(self) -> None:
        """Before and after a term: others look meanwhile."""
        self._upkeep.clear()
        self._series.clear()
        self._looked.clear()
        self._due.clear()
        self._unwritten.clear()
        self._resting.clear()
        self._rests.clear()
        self._stale.clear()
        self._since.clear()

    async def run(self) -> None:
        """Never returns."""
        self._unwritten.update(dict.fromkeys(self._status_pace.reset()))
        for uid in self._pod_pace.reset():
            self._state.changes.pod(uid)
        async with asyncio.TaskGroup() as writes:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                await self._look_at_policies()
                self._write_statuses(writes)
                await self._look_at_pods(writes)

    async def _breathe(self) -> None:
        now = self._clock()
        if now >= self._slice_ends:
            await asyncio.sleep(0)
            self._slice_ends = self._clock() + _SLICE_SECONDS

    # --- policies -------------------------------------------------------------------------------

    async def _look_at_policies(self) -> None:
        changed = self._state.changes.take_policies()
        self._due.update(dict.fromkeys(changed))
        self._stale.update(changed)
        now = self._clock()
        self._looked = {key: at for key, at in self._looked.items() if at + POLICY_SECONDS > now}
        for key in list(self._due):
            if key not in self._looked or self._state.changes.is_edited(key):
                del self._due[key]
                with self._caught(str(key)) as looked:
                    self._look_at_policy(key, now)
                if not looked.well:
                    self._looked[key] = now + _BUG_SECONDS
                    self._due[key] = None
            await self._breathe()

    def _look_at_policy(self, key: PolicyKey, now: float) -> None:
        self._stale.discard(key)
        begun = self._clock()
        self._upkeep.look(key)
        # One with very many pods above a maximum takes its time: at most a part of all time.
        took = self._clock() - begun
        self._looked[key] = now + max(0.0, took / _SHARE - POLICY_SECONDS)
        policy = self._state.policies.get(key)
        if policy is None:
            self._series.drop(key)
            self._unwritten.pop(key, None)
            return
        found = report_of(self._state, policy)
        self._series.put(found)
        # What is under way may be another: what to write is found out when its turn has come.
        if self._status_pace.is_busy(key) or self._statuses.wanted(found) is not None:
            self._unwritten[key] = None

    def _write_statuses(self, writes: asyncio.TaskGroup) -> None:
        for key in list(self._unwritten):
            if len(self._status_pace) >= _MOST_WRITES:
                break
            if self._status_pace.allows(key):
                del self._unwritten[key]
                self._status_pace.begin(key)
                writes.create_task(self._write_status(key))

    async def _write_status(self, key: PolicyKey) -> None:
        with self._caught(str(key)) as written:
            await self._write_status_now(key)
        if not written.well:
            self._status_pace.failed(key)

    async def _write_status_now(self, key: PolicyKey) -> None:
        """As it is when its turn has come."""
        async with self._room:
            policy = self._state.policies.get(key)
            found = report_of(self._state, policy) if policy is not None else None
            status = self._statuses.wanted(found) if found is not None else None
            if policy is None or status is None:
                self._status_pace.needless(key)
                return
            written = await self._statuses.write(policy, status)
        self._report("written" if written else "failed")
        if written:
            self._status_pace.wrote(key, status)
        else:
            self._status_pace.failed(key)
            self._unwritten[key] = None

    # --- pods -----------------------------------------------------------------------------------

    async def _look_at_pods(self, writes: asyncio.TaskGroup) -> None:
        now = self._clock()
        while self._resting and self._resting[0][0] <= now:
            _, uid = heapq.heappop(self._resting)
            self._rests.discard(uid)
            self._state.changes.pod(uid)
        looked = 0
        while looked < _MOST_PODS and len(self._pod_pace) < _MOST_WRITES:
            taken = self._state.changes.take_pods(_BATCH)
            if not taken:
                break
            for uid in taken:
                with self._caught(uid) as well:
                    self._look_at_pod(uid, writes)
                if not well.well:
                    self._rest(uid, _BUG_SECONDS)
                await self._breathe()
            looked += len(taken)

    def _look_at_pod(self, uid: str, writes: asyncio.TaskGroup) -> None:
        pod = self._state.pod(uid)
        wanted = self._upkeep.wanted(pod) if pod is not None else {}
        policy = self._state.belongs_to(pod) if pod is not None and wanted else None
        if pod is None or not self._ends_a_delay(pod, wanted):
            self._since.pop(uid, None)
        else:
            if policy in self._stale and self._looked.get(policy, 0.0) <= self._clock():
                # The slot may be another's since, and the write in vain.
                self._stale.discard(policy)
                self._upkeep.look(policy)
                wanted = self._upkeep.wanted(pod)
            if self._ends_a_delay(pod, wanted) and self._is_too_early(pod):
                return
        if pod is None or not wanted:
            return
        if policy is not None and self._state.changes.is_edited(policy):
            self._rest(uid, _LOOK_SECONDS)
        elif self._is_being_placed(pod):
            self._rest(uid, _PLACED_SECONDS)
        elif not self._pod_pace.allows(uid):
            self._rest(uid, self._pod_pace.rests(uid))
        else:
            self._pod_pace.begin(uid)
            writes.create_task(self._write_pod(pod, wanted, self._upkeep.why(pod)))

    def _ends_a_delay(self, pod: Pod, wanted: dict[str, str | None]) -> bool:
        return not pod.node and None in wanted.values()

    def _is_too_early(self, pod: Pod) -> bool:
        """A slot that is free now is somebody's in a moment, but not always that of the most urgent
        pod: only one that is left over ends a delay."""
        since = self._since.setdefault(pod.uid, self._clock())
        if self._clock() - since >= _SLOT_SECONDS:
            del self._since[pod.uid]
            return False
        self._rest(pod.uid, _SLOT_SECONDS)
        return True

    def _is_being_placed(self, pod: Pod) -> bool:
        """A write now would change the version that it is being bound at."""
        return not pod.node and bool(self._state.ledger.with_slots([pod.uid]))

    def _rest(self, uid: str, seconds: float) -> None:
        """To be looked at again after that time."""
        if uid not in self._rests:
            self._rests.add(uid)
            heapq.heappush(self._resting, (self._clock() + max(_LOOK_SECONDS, seconds), uid))

    async def _write_pod(self, pod: Pod, wanted: dict[str, str | None], why: str) -> None:
        with self._caught(pod.uid) as written:
            await self._write_pod_now(pod, wanted, why)
        if not written.well:
            self._pod_pace.failed(pod.uid)
            self._rest(pod.uid, _BUG_SECONDS)

    async def _write_pod_now(self, pod: Pod, wanted: dict[str, str | None], why: str) -> None:
        """`pod` is the version that `wanted` was found for: no other is written to."""
        outcome = await self._writer.replace(pod, wanted, self._state.learn)
        known = self._state.pod(pod.uid)
        if outcome is Outcome.WRITTEN:
            self._pod_pace.wrote(pod.uid, wanted)
            where = {"namespace": pod.namespace, "pod": pod.name, "node": pod.node}
            audit.info("annotated", extra={**where, "annotations": wanted, "reason": why})
        elif known is None or (outcome is Outcome.CHANGED and known.version > pod.version):
            self._pod_pace.needless(pod.uid)  # the watch has shown what is so now
            self._state.changes.pod(pod.uid)
        else:
            self._pod_pace.failed(pod.uid)
            self._rest(pod.uid, self._pod_pace.rests(pod.uid))

    # --- bugs -----------------------------------------------------------------------------------

    @contextmanager
    def _caught(self, name: str) -> Iterator["_Try"]:
        """A bug that one policy or pod brings out is told, and keeps no others waiting."""
        tried = _Try()
        try:
            yield tried
        except Exception:  # noqa: BLE001 - see above
            tried.well = False
            _log.exception("look failed", extra={"object": name})
            self._failed("rounds")


@dataclass(slots=True)
class _Try:
    well: bool = True
