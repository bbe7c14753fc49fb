"""Leadership: taking over when the scheduler in the same Pod holds the Lease, and handing over.

    Lease is ours ─▶ read the epoch object ─▶ write it: sweeping ─▶ sweep ─▶ write it: open
                              │                                                   ▲
                              └── the one before has drained, or it was us ───────┘

    Lease lost, or told to stop ─▶ place nothing more ─▶ bindings settled ─▶ write it: drained

Each write names the version that was read before. If two processes take over at the same time, the
write of one of them fails, and that process starts again. docs/reliability.md explains why this
keeps every maximum.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from math import inf
from random import Random

from spillover.controller.sweep import Sweep
from spillover.core.cache.cluster import ClusterCache
from spillover.core.takeover import (
    DRAINED,
    OPEN,
    SWEEPING,
    Acquisition,
    EpochRecord,
    Lease,
    Tenure,
    plan,
)
from spillover.kube.backoff import Backoff
from spillover.kube.epochs import Epochs, OutpacedError, Written
from spillover.kube.readiness import SYNC_SECONDS, Readiness
from spillover.kube.session import ApiError, NoAnswerError
from spillover.kube.signals import Signal

_LOOK_SECONDS = 0.05
_RANK_SECONDS = 0.5
_LONGEST_PAUSE = 2.0

_log = logging.getLogger(__name__)


Beside = Callable[[], Coroutine[object, object, None]]


async def _nothing() -> None:
    pass


class LeaseOverError(Exception):
    """This process may not take over, or may not any more: the acquisition is over."""


class Leading:
    """Leads while the scheduler in the same Pod holds the Lease.

    `process` is the name of this process; no other process ever has the same name. `changed` is
    notified when the Lease changes, and by this class when more pods may be placed. `ready` knows
    the watches that decisions depend on. `read_lease` reads the Lease from the API server. `clock`
    returns seconds."""

    def __init__(
        self,
        state: ClusterCache,
        tenure: Tenure,
        epochs: Epochs,
        sweep: Sweep,
        changed: Signal,
        ready: Readiness,
        read_lease: Callable[[], Awaitable[Lease | None]],
        host: str,
        process: str,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._state = state
        self._tenure = tenure
        self._epochs = epochs
        self._sweep = sweep
        self._changed = changed
        self._ready = ready
        self._read_lease = read_lease
        self._host = host
        self._process = process
        self._clock = clock
        self._random = random
        self._transitions: int | None = None  # `Tenure.transitions` of the current term
        self._written: Written | None = None  # the last write of this process
        self._handing: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def admitted(self, is_admitted: Callable[[], bool], seconds: float) -> None:
        """Waits until `is_admitted` is true. Also returns after `seconds`, and when this process is
        told to stop."""
        await self._changed.until(lambda: self._is_stopping or is_admitted(), seconds)

    def may_bind_until(self) -> float:
        """Until when this process may bind, in seconds of the clock. The time is in the past while
        another host holds the Lease, and while a term has not ended though its acquisition has."""
        return self._tenure.deadline if self._transitions == self._tenure.transitions else -inf

    async def run(self, beside: Beside = _nothing) -> None:
        """Never returns. `beside` runs while pods are placed; it is cancelled when a term ends."""
        while True:
            await self._changed.until(self._may_lead)
            await self._end_handing()
            acquisition = self._tenure.acquisition
            if acquisition is not None:
                await self._lead_while(acquisition, beside)
                self._hand_over()

    async def stop(self, seconds: float) -> None:
        """Stops in order: places no more pods, waits for the bindings in flight, and writes
        "drained". The next leader then needs no sweep. If this takes longer than `seconds`, the
        next leader sweeps."""
        self._is_stopping = True
        self._hand_over()
        self._changed.notify()
        if self._handing is not None:
            await asyncio.wait([self._handing], timeout=seconds)
            await self._end_handing()
        drained = self._written is not None and self._written.record.state == DRAINED
        _log.info("stopping", extra={"drained": drained})

    def _may_lead(self) -> bool:
        in_time = self._tenure.deadline > self._clock()
        return self._tenure.acquisition is not None and in_time and not self._is_stopping

    async def _lead_while(self, acquisition: Acquisition, beside: Beside) -> None:
        """Leads until the acquisition is over, or another process has taken over."""
        transitions = self._tenure.transitions
        leading = asyncio.create_task(self._lead(acquisition, beside))
        over = asyncio.create_task(
            self._changed.until(
                lambda: self._tenure.transitions != transitions or self._is_stopping
            )
        )
        try:
            await asyncio.wait([leading, over], return_when=asyncio.FIRST_COMPLETED)
            if leading.done():
                leading.result()  # a bug is raised
        finally:
            for task in (leading, over):
                task.cancel()
            await asyncio.gather(leading, over, return_exceptions=True)

    # --- taking over ----------------------------------------------------------------------------

    async def _lead(self, acquisition: Acquisition, beside: Beside) -> None:
        """Returns when another process has taken over. The caller then takes over again if the
        Lease allows it."""
        while not await self._ready.synced(SYNC_SECONDS):
            _log.warning("the first lists are not complete yet")
        epoch = await self._take_over(acquisition)
        async with asyncio.TaskGroup() as group:
            tasks = [self._sweep.settle_doubts(epoch), beside()]
            running = [group.create_task(task) for task in tasks]
            await self._until_outranked(epoch)
            for task in running:
                task.cancel()

    async def _take_over(self, acquisition: Acquisition) -> int:
        backoff = Backoff(first=0.1, longest=_LONGEST_PAUSE, random=self._random)
        while True:
            try:
                return await self._try_to_take_over(acquisition)
            except (ApiError, NoAnswerError, OutpacedError, LeaseOverError) as error:
                _log.warning("takeover", extra={"reason": f"{type(error).__name__} {error}"})
                self._end_term()
            await asyncio.sleep(0.05 + backoff.next())

    async def _try_to_take_over(self, acquisition: Acquisition) -> int:
        before = await self._epochs.read()
        await self._confirm_lease(acquisition)
        record = before.record if before is not None else None
        steps = plan(record, self._process, self._tenure, self._clock())
        written = await self._write(acquisition, SWEEPING if steps.sweep else OPEN, before)
        epoch = written.version
        self._check(acquisition)
        self._transitions, self._written = self._tenure.transitions, written
        self._state.begin_term(epoch)
        if steps.sweep:

            async def confirm() -> None:
                self._written = await self._write(acquisition, SWEEPING, self._written)

            await self._sweep.run(epoch, steps.last_pass_from, confirm)
            self._written = await self._write(acquisition, OPEN, self._written)
        else:
            await self._sweep.catch_up()
        where = {"epoch": epoch, "holder": acquisition[0], "swept": steps.sweep}
        _log.info("leading", extra=where)
        return epoch

    async def _confirm_lease(self, acquisition: Acquisition) -> None:
        """Reads the Lease after the epoch object was read. The writer of the epoch object had seen
        its own acquisition, but our watch may lag and not have shown that acquisition yet. Raises
        LeaseOverError."""
        lease = await self._read_lease()
        if lease is None or (lease.holder, lease.acquired) != acquisition:
            raise LeaseOverError

    async def _write(self, acquisition: Acquisition, state: str, before: Written | None) -> Written:
        """Writes the epoch object at the version of `before`. A process that was paused since it
        read the object either finds that its Lease is over, or its write gets OutpacedError."""
        self._check(acquisition)
        record = EpochRecord(self._host, self._process, acquisition, state)
        return await self._epochs.write(record, before.version if before is not None else None)

    def _check(self, acquisition: Acquisition) -> None:
        if self._tenure.acquisition != acquisition or not self._may_lead():
            raise LeaseOverError

    async def _until_outranked(self, epoch: int) -> None:
        """Returns when another process has taken over. A pod with a newer epoch does not prove a
        takeover: a user may have written that epoch."""
        while True:
            await asyncio.sleep(_RANK_SECONDS * (1 + self._random.random()))
            if not self._state.term.take_outranked():
                continue
            try:
                found = await self._epochs.read()
            except (ApiError, NoAnswerError) as error:
                _log.warning("epoch not read", extra={"reason": str(error)})
                continue
            if found is None or found.record.process != self._process:
                _log.warning("another replica has taken over", extra={"epoch": epoch})
                return
            await self._sweep.patch_outranking(epoch)

    # --- handing over ---------------------------------------------------------------------------

    def _end_term(self) -> Written | None:
        """Places no more pods. Returns the write of the epoch object that "drained" may replace.
        Returns None if bindings of an earlier leader may be in flight and no sweep has made them
        impossible yet."""
        is_clean = self._state.term.is_open and not self._state.ledger.doubted()
        self._state.end_term()
        self._transitions = None
        written = self._written
        is_open = written is not None and written.record.state == OPEN
        return written if is_clean and is_open else None

    def _hand_over(self) -> None:
        written = self._end_term()
        if written is not None:
            self._handing = asyncio.create_task(self._drain(written))

    async def _end_handing(self) -> None:
        """Ends a hand-over that is still running, before the next term begins."""
        handing, self._handing = self._handing, None
        if handing is not None:
            handing.cancel()
            await asyncio.wait([handing])
            if not handing.cancelled():
                handing.result()  # a bug is raised

    async def _drain(self, written: Written) -> None:
        while self._state.ledger.bindings():  # noqa: ASYNC110 - the ledger sends no notification
            await asyncio.sleep(_LOOK_SECONDS)
        backoff = Backoff(first=0.1, longest=_LONGEST_PAUSE, random=self._random)
        record = EpochRecord(self._host, self._process, written.record.acquisition, DRAINED)
        while True:
            try:
                self._written = await self._epochs.write(record, written.version)
            except OutpacedError:
                return  # the next leader has written, or the answer to our own write was lost
            except (ApiError, NoAnswerError) as error:
                _log.warning("not drained yet", extra={"reason": str(error)})
                await asyncio.sleep(backoff.next())
            else:
                _log.info("drained", extra={"epoch": written.version})
                return
