"""Being the leader: taking over when the scheduler beside us has the Lease, and handing over.

    Lease is ours ─▶ read the epoch object ─▶ write it: sweeping ─▶ sweep ─▶ write it: open
                              │                                                   ▲
                              └── the one before has drained, or it was us ───────┘

    Lease lost, or told to stop ─▶ place nothing more ─▶ bindings settled ─▶ write it: drained

Why this keeps every maximum is told in docs/reliability.md.
"""

import asyncio
import logging
from collections.abc import Callable
from random import Random

from spillover.controller.sweep import Sweep
from spillover.core.state import ClusterState
from spillover.core.tenure import DRAINED, OPEN, SWEEPING, EpochRecord, Tenure, Turn, plan
from spillover.kube.backoff import Backoff
from spillover.kube.epochs import Epochs, OutpacedError, Written
from spillover.kube.readiness import Readiness
from spillover.kube.session import ApiError, NoAnswerError
from spillover.kube.signals import Signal

_LOOK_SECONDS = 0.05
_SYNC_SECONDS = 30.0
_LONGEST_PAUSE = 2.0
_AGAIN_SECONDS = 1.0
"""Between two takeovers in one turn, when pods show that somebody else has swept."""

_log = logging.getLogger(__name__)


class Leading:
    """`process` is this process's own name, that no other ever has. `changed` is notified when the
    turn changes, and by us when more pods may be placed. `ready` knows the watches that decisions
    rest on."""

    def __init__(
        self,
        state: ClusterState,
        tenure: Tenure,
        epochs: Epochs,
        sweep: Sweep,
        changed: Signal,
        ready: Readiness,
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
        self._host = host
        self._process = process
        self._clock = clock
        self._random = random
        self._written: Written | None = None  # our own last write, in this turn or the last
        self._is_stopping = False
        self._is_outranked = False

    async def admitted(self, is_admitted: Callable[[], bool], seconds: float) -> None:
        """Waits until this holds, in vain for so many seconds or once we are told to stop."""
        await self._changed.until(lambda: self._is_stopping or is_admitted(), seconds)

    def may_bind_until(self) -> float:
        """In seconds of the clock; in the past while the Lease is not ours."""
        return self._tenure.deadline

    def outranked(self) -> None:
        """A pod shows an epoch that is newer than ours: take over anew."""
        self._is_outranked = True
        self._changed.notify()

    async def run(self) -> None:
        """Never returns."""
        while True:
            await self._changed.until(self._may_lead)
            turn = self._tenure.turn
            if turn is None:
                continue
            self._is_outranked = False
            await self._lead_while(turn)
            await self._step_down()

    async def stop(self, seconds: float) -> None:
        """In order: places nothing more, waits for the bindings under way, and says so. Others then
        need not sweep. Whatever is not done in this time, they do."""
        self._is_stopping = True
        self._changed.notify()
        try:
            async with asyncio.timeout(seconds):
                await self._hand_over()
        except TimeoutError:
            _log.warning("not drained in time: the next leader sweeps")

    def _may_lead(self) -> bool:
        return self._tenure.turn is not None and not self._is_stopping

    def _is_over(self, turn: Turn) -> bool:
        return self._tenure.turn != turn or self._is_stopping or self._is_outranked

    async def _lead_while(self, turn: Turn) -> None:
        """Leads until the turn is over."""
        leading = asyncio.create_task(self._lead(turn))
        over = asyncio.create_task(self._changed.until(lambda: self._is_over(turn)))
        try:
            await asyncio.wait([leading, over], return_when=asyncio.FIRST_COMPLETED)
            if leading.done():
                leading.result()  # a bug is raised: `_lead` does not return
        finally:
            for task in (leading, over):
                task.cancel()
            await asyncio.gather(leading, over, return_exceptions=True)

    async def _lead(self, turn: Turn) -> None:
        while not await self._ready.synced(_SYNC_SECONDS):
            _log.warning("the first lists are not complete yet")
        epoch = await self._take_over(turn)
        await self._sweep.settle_doubts(epoch)

    async def _take_over(self, turn: Turn) -> int:
        backoff = Backoff(first=0.1, longest=_LONGEST_PAUSE, random=self._random)
        while True:
            try:
                return await self._try_to_take_over(turn)
            except (ApiError, NoAnswerError, OutpacedError) as error:
                _log.warning("takeover", extra={"reason": str(error) or "outpaced"})
                self._state.end_term()
            await asyncio.sleep(backoff.next())

    async def _try_to_take_over(self, turn: Turn) -> int:
        before = await self._epochs.read()
        record = before.record if before is not None else None
        steps = plan(record, self._process, self._tenure, self._clock())
        state = SWEEPING if steps.sweep else OPEN
        self._written = written = await self._write(turn, state, before)
        epoch = written.version
        self._state.begin_term(epoch)
        if steps.sweep:
            await self._sweep.run(epoch, steps.last_pass_from)
            self._written = await self._write(turn, OPEN, written)
        else:
            await self._sweep.catch_up()
        where = {"epoch": epoch, "holder": turn[0], "swept": steps.sweep}
        _log.info("leading", extra=where)
        return epoch

    async def _write(self, turn: Turn, state: str, before: Written | None) -> Written:
        record = EpochRecord(self._host, self._process, turn, state)
        return await self._epochs.write(record, before.version if before is not None else None)

    async def _step_down(self) -> None:
        """Between two turns. The next one begins whenever the Lease is ours again."""
        if self._is_stopping:
            self._state.end_term()
            return  # `stop` hands over
        if self._is_outranked:
            self._state.end_term()
            await asyncio.sleep(_AGAIN_SECONDS * (1 + self._random.random()))
            return
        handing = asyncio.create_task(self._hand_over())
        await self._changed.until(self._may_lead)
        handing.cancel()
        await asyncio.gather(handing, return_exceptions=True)

    async def _hand_over(self) -> None:
        was_clean = self._state.term.is_open and not self._state.ledger.doubted()
        self._state.end_term()
        written = self._written
        if not was_clean or written is None or written.record.state != OPEN:
            return  # what others have under way, nobody has made impossible yet
        while self._state.ledger.bindings():  # noqa: ASYNC110 - the ledger tells nobody
            await asyncio.sleep(_LOOK_SECONDS)
        backoff = Backoff(first=0.1, longest=_LONGEST_PAUSE, random=self._random)
        while True:
            record = EpochRecord(self._host, self._process, written.record.turn, DRAINED)
            try:
                self._written = await self._epochs.write(record, written.version)
            except OutpacedError:
                return  # the next leader is there already
            except (ApiError, NoAnswerError) as error:
                _log.warning("not drained yet", extra={"reason": str(error)})
                await asyncio.sleep(backoff.next())
            else:
                _log.info("drained", extra={"epoch": written.version})
                return
