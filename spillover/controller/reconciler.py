"""Reconciles what has changed: the status of policies, and the annotations of pods.

    changed ─▶ look: counts, who is above a maximum, who is held back ─▶ status differs ─▶ write it
                                    │
    pod changed ────────────────────┴─▶ its annotations differ ─▶ write them

The reconciler looks at a policy's counts at most once a second, and writes its status at most as
often. After a write, a policy with many units rests for longer. The reconciler looks at an edited
policy at once, and before it looks at the pods of that policy. All work is done in small slices, so
that the service answers the scheduler's calls in between. After a failed write only this policy or
pod rests; all others go on.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from spillover.controller.audit import audit
from spillover.controller.pod_writer import Outcome, PodWriter
from spillover.controller.rate_limiter import RateLimiter
from spillover.controller.statuses import Statuses
from spillover.controller.unit_series import UnitSeries
from spillover.controller.work_queue import WorkQueue
from spillover.core.cache.cluster import ClusterCache
from spillover.core.model.pods import Pod
from spillover.core.model.policy import PolicyKey
from spillover.core.reporting.desired_annotations import DesiredAnnotations
from spillover.core.reporting.status import report as report_of

POLICY_SECONDS = 1.0
_POD_SECONDS = 0.5
_PLACED_SECONDS = 2.0
_SLOT_SECONDS = 1.5
"""A slot must be left over for this long before it ends a pod's scale-up delay."""
_BUG_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_UNIT_SECONDS = 0.1
"""The rest after a status write, for each unit of the policy. A status of a hundred units takes the
API server 40 ms of a core, and a tenant can change the status all the time."""
_SLICE_SECONDS = 0.001
_SHARE = 0.05
"""The largest share of all time that one policy may take when it changes again and again."""
_MOST_PODS = 2000
"""Pods in one round."""
_BATCH = 20
_MOST_WRITES = 32
"""Writes that wait for their turn or are in flight, for statuses and for pods each."""
_STATUSES_AT_ONCE = 4

_log = logging.getLogger(__name__)


class Reconciler:
    """Writes what differs: the status of policies and the annotations of pods.

    `report` is called for each status with "written" or "failed". `failed` is called for each bug.
    `clock` returns seconds."""

    def __init__(
        self,
        state: ClusterCache,
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
        self._desired = DesiredAnnotations(state)
        self._room = asyncio.Semaphore(_STATUSES_AT_ONCE)
        self._status_pace: RateLimiter[PolicyKey] = RateLimiter(POLICY_SECONDS, clock, random)
        self._pod_pace: RateLimiter[str] = RateLimiter(_POD_SECONDS, clock, random)
        # The time of the last look. It is in the future for a policy whose look takes long.
        self._looked: dict[PolicyKey, float] = {}
        self._policies: WorkQueue[PolicyKey] = WorkQueue(clock)
        self._unwritten: WorkQueue[PolicyKey] = WorkQueue(clock)
        self._pods: WorkQueue[str] = WorkQueue(clock)
        # Policies that have changed since the last look of `_desired`.
        self._stale: set[PolicyKey] = set()
        # Pods whose delay may end, with the time since when a slot is left over.
        self._since: dict[str, float] = {}
        self._slice_ends = 0.0

    def reset(self) -> None:
        """Is called before and after a term: between two terms another replica does this work."""
        self._desired.clear()
        self._series.clear()
        self._looked.clear()
        self._policies.clear()
        self._unwritten.clear()
        self._pods.clear()
        self._stale.clear()
        self._since.clear()

    async def run(self) -> None:
        """Reconciles policies and pods. Never returns."""
        for key in self._status_pace.reset():
            self._unwritten.add(key)
        for uid in self._pod_pace.reset():
            self._state.dirty.pod(uid)
        async with asyncio.TaskGroup() as writes:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                await self._reconcile_policies()
                self._write_statuses(writes)
                await self._reconcile_pods(writes)

    async def _breathe(self) -> None:
        now = self._clock()
        if now >= self._slice_ends:
            await asyncio.sleep(0)
            self._slice_ends = self._clock() + _SLICE_SECONDS

    # --- policies -------------------------------------------------------------------------------

    async def _reconcile_policies(self) -> None:
        now = self._clock()
        self._looked = {key: at for key, at in self._looked.items() if at + POLICY_SECONDS > now}
        for key in self._state.dirty.take_policies():
            self._stale.add(key)
            at_once = key not in self._looked or self._state.dirty.is_edited(key)
            self._policies.add(key, 0.0 if at_once else self._looked[key] + POLICY_SECONDS - now)
        for key in self._policies.take(len(self._policies)):
            if self._state.edits.is_taken_in(key.namespace):
                self._policies.add(key, _LOOK_SECONDS)
                continue
            with self._caught(str(key)) as looked:
                self._reconcile_policy(key, now)
            if not looked.well:
                self._looked[key] = now + _BUG_SECONDS
                self._policies.add(key, _BUG_SECONDS)
            await self._breathe()

    def _reconcile_policy(self, key: PolicyKey, now: float) -> None:
        self._stale.discard(key)
        begun = self._clock()
        self._desired.look(key)
        # A policy with very many pods above a maximum takes long: limit its share of all time.
        took = self._clock() - begun
        self._looked[key] = now + max(0.0, took / _SHARE - POLICY_SECONDS)
        policy = self._state.policies.get(key)
        if policy is None:
            self._series.drop(key)
            return
        found = report_of(self._state, policy)
        self._series.put(found)
        if found.is_crowded != self._statuses.says_crowded(key):
            self._status_pace.hurry(key)  # the webhook waits for this condition
        # A write in flight may carry an older status, so queue the policy again. The status to
        # write is computed when the turn of the write comes.
        if self._status_pace.is_busy(key) or self._statuses.wanted(found) is not None:
            self._unwritten.add(key, self._status_pace.rests(key))

    def _write_statuses(self, writes: asyncio.TaskGroup) -> None:
        for key in self._unwritten.take(_MOST_WRITES - len(self._status_pace)):
            if self._status_pace.allows(key):
                self._status_pace.begin(key)
                writes.create_task(self._write_status(key))
            else:
                self._unwritten.add(key, max(_LOOK_SECONDS, self._status_pace.rests(key)))

    async def _write_status(self, key: PolicyKey) -> None:
        with self._caught(str(key)) as written:
            await self._write_status_now(key)
        if not written.well:
            self._status_pace.failed(key)
            self._unwritten.add(key, _BUG_SECONDS)

    async def _write_status_now(self, key: PolicyKey) -> None:
        """Writes the status that the policy has when the turn of this write comes."""
        async with self._room:
            policy = self._state.policies.get(key)
            found = report_of(self._state, policy) if policy is not None else None
            status = self._statuses.wanted(found) if found is not None else None
            if policy is None or found is None or status is None:
                self._status_pace.needless(key)
                return
            written = await self._statuses.write(policy, status)
        self._report("written" if written else "failed")
        if written:
            self._status_pace.wrote(key, status, _UNIT_SECONDS * len(found.units))
        else:
            self._status_pace.failed(key)
            self._unwritten.add(key, self._status_pace.rests(key))

    # --- pods -----------------------------------------------------------------------------------

    async def _reconcile_pods(self, writes: asyncio.TaskGroup) -> None:
        for uid in self._pods.take(len(self._pods)):
            self._state.dirty.pod(uid)
        looked = 0
        while looked < _MOST_PODS and len(self._pod_pace) < _MOST_WRITES:
            taken = self._state.dirty.take_pods(_BATCH)
            if not taken:
                break
            for uid in taken:
                with self._caught(uid) as well:
                    self._reconcile_pod(uid, writes)
                if not well.well:
                    self._rest(uid, _BUG_SECONDS)
                await self._breathe()
            looked += len(taken)

    def _reconcile_pod(self, uid: str, writes: asyncio.TaskGroup) -> None:
        pod = self._state.pod(uid)
        if pod is not None and self._state.edits.is_taken_in(pod.namespace):
            self._rest(uid, _LOOK_SECONDS)
            return
        wanted = self._desired.wanted(pod) if pod is not None else {}
        policy = self._state.belongs_to(pod) if pod is not None and wanted else None
        if pod is None or not self._ends_a_delay(pod, wanted):
            self._since.pop(uid, None)
        else:
            if policy in self._stale and self._looked.get(policy, 0.0) <= self._clock():
                # Another pod may have taken the slot since; then the write would be useless.
                self._stale.discard(policy)
                self._desired.look(policy)
                wanted = self._desired.wanted(pod)
            if self._ends_a_delay(pod, wanted) and self._is_too_early(pod):
                return
        if pod is None or not wanted:
            return
        if policy is not None and self._state.dirty.is_edited(policy):
            self._rest(uid, _LOOK_SECONDS)
        elif self._is_being_placed(pod):
            self._rest(uid, _PLACED_SECONDS)
        elif not self._pod_pace.allows(uid):
            self._rest(uid, self._pod_pace.rests(uid))
        else:
            self._pod_pace.begin(uid)
            writes.create_task(self._write_pod(pod, wanted, self._desired.why(pod)))

    def _ends_a_delay(self, pod: Pod, wanted: dict[str, str | None]) -> bool:
        return not pod.node and None in wanted.values()

    def _is_too_early(self, pod: Pod) -> bool:
        """Returns whether the slot is free for too short a time to end the pod's delay. Some pod
        takes a free slot soon, but this is not always the most urgent pod. Only a slot that is left
        over ends a delay."""
        since = self._since.setdefault(pod.uid, self._clock())
        if self._clock() - since >= _SLOT_SECONDS:
            del self._since[pod.uid]
            return False
        self._rest(pod.uid, _SLOT_SECONDS)
        return True

    def _is_being_placed(self, pod: Pod) -> bool:
        """Returns whether the pod is being placed. A write now would change the version that its
        Binding names."""
        return not pod.node and bool(self._state.ledger.with_slots([pod.uid]))

    def _rest(self, uid: str, seconds: float) -> None:
        """Queues the pod for another look after `seconds`."""
        self._pods.add(uid, max(_LOOK_SECONDS, seconds))

    async def _write_pod(self, pod: Pod, wanted: dict[str, str | None], why: str) -> None:
        with self._caught(pod.uid) as written:
            await self._write_pod_now(pod, wanted, why)
        if not written.well:
            self._pod_pace.failed(pod.uid)
            self._rest(pod.uid, _BUG_SECONDS)

    async def _write_pod_now(self, pod: Pod, wanted: dict[str, str | None], why: str) -> None:
        """`pod` is the version that `wanted` was computed for. The write fails at any other
        version."""
        outcome = await self._writer.replace(pod, wanted, self._state.learn)
        known = self._state.pod(pod.uid)
        if outcome is Outcome.WRITTEN:
            self._pod_pace.wrote(pod.uid, wanted)
            where = {"namespace": pod.namespace, "pod": pod.name, "node": pod.node}
            audit.info("annotated", extra={**where, "annotations": wanted, "reason": why})
        elif known is None or (outcome is Outcome.CHANGED and known.version > pod.version):
            self._pod_pace.needless(pod.uid)  # the watch has shown a newer version
            self._state.dirty.pod(pod.uid)
        else:
            self._pod_pace.failed(pod.uid)
            self._rest(pod.uid, self._pod_pace.rests(pod.uid))

    # --- bugs -----------------------------------------------------------------------------------

    @contextmanager
    def _caught(self, name: str) -> Iterator["_Try"]:
        """Logs and reports a bug in the work on one policy or pod. All others go on."""
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
