"""Being the leader: taking over when the scheduler beside us has the Lease, and handing over.

    Lease is ours ─▶ read the epoch object ─▶ write it: sweeping ─▶ sweep ─▶ write it: open
                              │                                                   ▲
                              └── the one before has drained, or it was us ───────┘

    Lease lost, or told to stop ─▶ place nothing more ─▶ bindings settled ─▶ write it: drained

Each write names the version that was read before: of two that take over at once, one has to start
anew. Why this keeps every maximum is told in docs/reliability.md.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from math import inf
from random import Random

from spillover.controller.sweep import Sweep
from spillover.core.state import ClusterState
from spillover.core.tenure import DRAINED, OPEN, SWEEPING, EpochRecord, Lease, Tenure, Turn, plan
from spillover.kube.backoff import Backoff
from spillover.kube.epochs import Epochs, OutpacedError, Written
from spillover.kube.readiness import Readiness
from spillover.kube.session import ApiError, NoAnswerError
from spillover.kube.signals import Signal

_LOOK_SECONDS = 0.05
_RANK_SECONDS = 0.5
_SYNC_SECONDS = 30.0
_LONGEST_PAUSE = 2.0

_log = logging.getLogger(__name__)


Beside = Callable[[], Coroutine[object, object, None]]


async def _nothing() -> None:
    pass


class LeaseOverError(Exception):
    """It is not, or no longer, for us to take over."""


class Leading:
    """`process` is this process's own name, that no other ever has. `changed` is notified when the
    Lease changes, and by us when more pods may be placed. `ready` knows the watches that decisions
    rest on; `read_lease` asks for the Lease as it is now."""

    def __init__(
        self,
        state: ClusterState,
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
        self._spell: int | None = None  # that of the present term
        self._written: Written | None = None  # our own last write
        self._handing: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def admitted(self, is_admitted: Callable[[], bool], seconds: float) -> None:
        """Waits until this holds, in vain for so many seconds or once we are told to stop."""
        await self._changed.until(lambda: self._is_stopping or is_admitted(), seconds)

    def may_bind_until(self) -> float:
        """In seconds of the clock; in the past while the Lease is not ours, and for a term that
        has not ended yet though its turn has."""
        return self._tenure.deadline if self._spell == self._tenure.spell else -inf

    async def run(self, beside: Beside = _nothing) -> None:
        """Never returns. `beside` runs while pods are placed, and is cancelled with each term."""
        while True:
            await self._changed.until(self._may_lead)
            await self._end_handing()
            turn = self._tenure.turn
            if turn is not None:
                await self._lead_while(turn, beside)
                self._hand_over()

    async def stop(self, seconds: float) -> None:
        """In order: places nothing more, waits for the bindings under way, and says so. Others then
        need not sweep. Whatever is not done in this time, they do."""
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
        return self._tenure.turn is not None and in_time and not self._is_stopping

    async def _lead_while(self, turn: Turn, beside: Beside) -> None:
        """Leads until the turn is over, or somebody else has taken over."""
        spell = self._tenure.spell
        leading = asyncio.create_task(self._lead(turn, beside))
        over = asyncio.create_task(
            self._changed.until(lambda: self._tenure.spell != spell or self._is_stopping)
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

    async def _lead(self, turn: Turn, beside: Beside) -> None:
        """Returns when somebody else has taken over, who is to be outdone."""
        while not await self._ready.synced(_SYNC_SECONDS):
            _log.warning("the first lists are not complete yet")
        epoch = await self._take_over(turn)
        async with asyncio.TaskGroup() as group:
            tasks = [self._sweep.settle_doubts(epoch), beside()]
            running = [group.create_task(task) for task in tasks]
            await self._until_outranked(epoch)
            for task in running:
                task.cancel()

    async def _take_over(self, turn: Turn) -> int:
        backoff = Backoff(first=0.1, longest=_LONGEST_PAUSE, random=self._random)
        while True:
            try:
                return await self._try_to_take_over(turn)
            except (ApiError, NoAnswerError, OutpacedError, LeaseOverError) as error:
                _log.warning("takeover", extra={"reason": f"{type(error).__name__} {error}"})
                self._end_term()
            await asyncio.sleep(0.05 + backoff.next())

    async def _try_to_take_over(self, turn: Turn) -> int:
        before = await self._epochs.read()
        await self._confirm_lease(turn)
        record = before.record if before is not None else None
        steps = plan(record, self._process, self._tenure, self._clock())
        written = await self._write(turn, SWEEPING if steps.sweep else OPEN, before)
        epoch = written.version
        self._check(turn)
        self._spell, self._written = self._tenure.spell, written
        self._state.begin_term(epoch)
        if steps.sweep:

            async def confirm() -> None:
                self._written = await self._write(turn, SWEEPING, self._written)

            await self._sweep.run(epoch, steps.last_pass_from, confirm)
            self._written = await self._write(turn, OPEN, self._written)
        else:
            await self._sweep.catch_up()
        where = {"epoch": epoch, "holder": turn[0], "swept": steps.sweep}
        _log.info("leading", extra=where)
        return epoch

    async def _confirm_lease(self, turn: Turn) -> None:
        """The Lease as it is now, after the epoch object was read: who has written that had seen
        its own turn, and a watch of ours that lags may not have shown it."""
        lease = await self._read_lease()
        if lease is None or (lease.holder, lease.acquired) != turn:
            raise LeaseOverError

    async def _write(self, turn: Turn, state: str, before: Written | None) -> Written:
        """A process that stood still since it read the object either finds its time to be over, or
        its write outpaced."""
        self._check(turn)
        record = EpochRecord(self._host, self._process, turn, state)
        return await self._epochs.write(record, before.version if before is not None else None)

    def _check(self, turn: Turn) -> None:
        if self._tenure.turn != turn or not self._may_lead():
            raise LeaseOverError

    async def _until_outranked(self, epoch: int) -> None:
        """A pod may show a newer epoch because somebody else has taken over, or because its user
        has written it."""
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
        """Places nothing more. Returns what "drained" may take the place of: None, if bindings of
        others may be under way that nobody has made impossible yet."""
        is_clean = self._state.term.is_open and not self._state.ledger.doubted()
        self._state.end_term()
        self._spell = None
        written = self._written
        is_open = written is not None and written.record.state == OPEN
        return written if is_clean and is_open else None

    def _hand_over(self) -> None:
        written = self._end_term()
        if written is not None:
            self._handing = asyncio.create_task(self._drain(written))

    async def _end_handing(self) -> None:
        """Before the next term."""
        handing, self._handing = self._handing, None
        if handing is not None:
            handing.cancel()
            await asyncio.wait([handing])
            if not handing.cancelled():
                handing.result()  # a bug is raised

    async def _drain(self, written: Written) -> None:
        while self._state.ledger.bindings():  # noqa: ASYNC110 - the ledger tells nobody
            await asyncio.sleep(_LOOK_SECONDS)
        backoff = Backoff(first=0.1, longest=_LONGEST_PAUSE, random=self._random)
        record = EpochRecord(self._host, self._process, written.record.turn, DRAINED)
        while True:
            try:
                self._written = await self._epochs.write(record, written.version)
            except OutpacedError:
                return  # the next leader is there already, or an answer was lost
            except (ApiError, NoAnswerError) as error:
                _log.warning("not drained yet", extra={"reason": str(error)})
                await asyncio.sleep(backoff.next())
            else:
                _log.info("drained", extra={"epoch": written.version})
                return
