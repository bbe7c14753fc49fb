"""The `bind` verb: put this pod on that node, with its unit's labels and annotations."""

import asyncio
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from extender.metrics import Metrics
from spillover.api.extender import BindArgs, BindResult
from spillover.controller.decisions import DecisionLog
from spillover.core.cache import SchedulingCache
from spillover.core.claims import Claim
from spillover.core.instants import seconds_of
from spillover.kube.backoff import Backoff
from spillover.kube.binder import Binder, Bound, Busy, Changed, Order, Refused, Unknown

BIND_SECONDS = 10.0
"""Below the scheduler's httpTimeout of 15 s, so that it hears what became of its request."""

LEASE_OVER = "the scheduler's Lease is not ours any more, or about to run out"

_TRIES = 4
"""The version changes between filter and bind for every pod with PreBind work."""

_TRIES_BEFORE_A_WARNING = 10

_log = logging.getLogger(__name__)


class BindingLease(Protocol):
    """Until when, in seconds of the clock, bindings may be sent in the present term."""

    def may_bind_until(self) -> float: ...


@dataclass(frozen=True, slots=True)
class _OpenQuestion:
    """A Binding whose outcome is unknown. `result` is set once it is known."""

    order: Order
    claim: Claim
    version: int
    result: asyncio.Future[Bound | Refused]


class Binding:
    """`clock` is the binder's, `now` the wall clock, in seconds. The outcomes that a request could
    not wait for are found out by `settle_outcomes`, which must run beside."""

    def __init__(
        self,
        cache: SchedulingCache,
        binder: Binder,
        metrics: Metrics,
        clock: Callable[[], float],
        random: Random,
        lease: BindingLease,
        decisions: DecisionLog,
        now: Callable[[], float],
    ) -> None:
        self._cache = cache
        self._binder = binder
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._lease = lease
        self._decisions = decisions
        self._now = now
        # Bounded by the ledger: one open question for each pod in flight.
        self._open: asyncio.Queue[_OpenQuestion] = asyncio.Queue()

    async def bind(self, args: BindArgs, deadline: float) -> BindResult:
        """Answers by `deadline`. An error tells the scheduler to try the pod again."""
        where = {"namespace": args.pod_namespace, "pod": args.pod_name, "node": args.node}
        for _ in range(_TRIES):
            # The pod's version and its epoch are taken first and the Lease is looked at afterwards:
            # what can be sent under it then existed before it ran out.
            claim = self._cache.claim(args.pod_uid, args.node)
            if isinstance(claim, str):
                return self._failed("no-claim", claim, where)
            until = self._lease.may_bind_until()
            where |= {
                "policy": claim.policy.key.name if claim.policy is not None else "",
                "unit": claim.unit.title if claim.unit is not None else "",
            }
            outcome = await self._execute(claim, min(deadline, until))
            match outcome:
                case Bound():
                    return BindResult()
                case Refused():
                    reason = LEASE_OVER if until <= self._clock() else outcome.reason
                    return self._failed("refused", reason, where)
                case None:
                    reason = "it is not known yet whether the binding was executed"
                    return self._failed("unknown", reason, where)
            # Changed: claim anew, as the pod is now, before anybody else can have the slot.
        return self._failed("refused", "the pod kept changing while it was being bound", where)

    async def settle_outcomes(self) -> None:
        """Finds out what became of bindings without an answer, for as long as it takes."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._settle(await self._open.get()))

    def _failed(self, kind: str, reason: str, where: dict[str, str]) -> BindResult:
        self._metrics.bind_errors.labels(kind).inc()
        _log.info("not bound", extra={**where, "reason": reason})
        return BindResult(error=reason)

    async def _execute(self, claim: Claim, deadline: float) -> Bound | Refused | Changed | None:
        """None: unknown by the deadline; `settle_outcomes` goes on asking."""
        order = Order(
            namespace=claim.pod.namespace,
            name=claim.pod.name,
            uid=claim.pod.uid,
            version=claim.pod.version,
            node=claim.node,
            labels=claim.labels,
            annotations=claim.annotations,
            tolerate=claim.tolerate,
            deadline=deadline,
        )
        try:
            outcome = await self._until_read(order)
        except BaseException:
            # The slot must not be lost with whatever went wrong; what was sent is not known.
            self._ask(order, claim, order.version)
            raise
        if isinstance(outcome, Unknown):
            self._cache.ledger.outcome_unknown(order.uid, claim.flight, outcome.version)
            return await self._find_out(order, claim, outcome.version)
        self._record(claim, outcome)
        return outcome

    async def _until_read(self, order: Order) -> Bound | Refused | Changed | Unknown:
        """Waits out an API server that is too busy, with the slot kept."""
        backoff = Backoff(first=0.1, longest=2.0, random=self._random)
        while True:
            outcome = await self._binder.bind(order)
            if not isinstance(outcome, Busy):
                return outcome
            pause = backoff.next()
            order = replace(order, version=outcome.version)
            if self._clock() + pause >= order.deadline:
                return Refused("the API server was too busy")
            await asyncio.sleep(pause)

    def _record(self, claim: Claim, outcome: Bound | Refused | Changed) -> None:
        uid, flight = claim.pod.uid, claim.flight
        if isinstance(outcome, Bound):
            self._cache.ledger.bound(uid, flight)
            self._decisions.bound(claim)
            created = seconds_of(claim.pod.created)
            self._metrics.bound(claim.place, self._now() - created if created else 0.0)
            return
        if outcome.pod is not None:
            self._cache.learn(outcome.pod)  # before the slot goes: it may show the pod bound
        self._cache.ledger.not_bound(uid, flight)

    def _ask(self, order: Order, claim: Claim, version: int) -> asyncio.Future[Bound | Refused]:
        result: asyncio.Future[Bound | Refused] = asyncio.get_running_loop().create_future()
        self._open.put_nowait(_OpenQuestion(order, claim, version, result))
        return result

    async def _find_out(self, order: Order, claim: Claim, version: int) -> Bound | Refused | None:
        _log.warning("binding without an answer", extra={"pod": order.name, "node": order.node})
        result = self._ask(order, claim, version)
        try:
            async with asyncio.timeout(order.deadline - self._clock()):
                return await asyncio.shield(result)
        except TimeoutError:
            return None

    async def _settle(self, question: _OpenQuestion) -> None:
        outcome = await self._until_known(question)
        self._record(question.claim, outcome)
        if not question.result.done():
            question.result.set_result(outcome)

    async def _until_known(self, question: _OpenQuestion) -> Bound | Refused:
        """Asks until there is an answer, or the watch has given it."""
        backoff = Backoff(first=0.1, longest=10.0, random=self._random)
        order, ledger = question.order, self._cache.ledger
        for tries in itertools.count(1):
            outcome = await self._binder.fence(order, question.version)
            if outcome is not None:
                return outcome
            if tries % _TRIES_BEFORE_A_WARNING == 0:
                where = {"namespace": order.namespace, "pod": order.name, "tries": tries}
                _log.error("outcome of a binding still unknown: its slot stays taken", extra=where)
            await asyncio.sleep(backoff.next())
            if not ledger.is_open(order.uid, question.claim.flight):
                break
        return Bound() if ledger.is_bound(order.uid) else Refused("the binding was not executed")
