"""The `bind` verb: binds a pod to a node, with the labels and annotations of its unit."""

import asyncio
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from extender.decisions import DecisionLog
from extender.metrics import Metrics
from spillover.api.extender import BindArgs, BindResult
from spillover.core.cache.binding_plan import BindingPlan
from spillover.core.model.timestamps import seconds_of
from spillover.core.scheduler import Scheduler
from spillover.kube.backoff import Backoff
from spillover.kube.binder import Binder, Busy, Changed, Confirmed, Order, Refused, Unknown

BIND_SECONDS = 10.0
"""Less than the scheduler's httpTimeout of 15 s, so that the scheduler gets the answer."""

LEASE_OVER = "the scheduler's Lease is not ours any more, or about to run out"

_TRIES = 4
"""The version of every pod with PreBind work changes between filter and bind."""

_TRIES_BEFORE_A_WARNING = 10

_log = logging.getLogger(__name__)


class BindingLease(Protocol):
    """Until when this replica may send Bindings in the current term, in seconds of the clock."""

    def may_bind_until(self) -> float: ...


@dataclass(frozen=True, slots=True)
class _OpenQuestion:
    """A Binding whose outcome is unknown."""

    order: Order
    plan: BindingPlan
    version: int
    """The pod's resourceVersion that the Binding was sent with."""
    result: asyncio.Future[Confirmed | Refused]
    """Set when the outcome is known."""


class Binding:
    """Executes bind requests. `clock` is the binder's clock, `now` is the wall clock, both in
    seconds. `settle_outcomes` must run in the background: it finds the outcomes that are still
    unknown at a request's deadline."""

    def __init__(
        self,
        scheduler: Scheduler,
        binder: Binder,
        metrics: Metrics,
        clock: Callable[[], float],
        random: Random,
        lease: BindingLease,
        decisions: DecisionLog,
        now: Callable[[], float],
    ) -> None:
        self._scheduler = scheduler
        self._binder = binder
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._lease = lease
        self._decisions = decisions
        self._now = now
        # The ledger bounds this queue: at most one open question per pod with a binding in flight.
        self._open: asyncio.Queue[_OpenQuestion] = asyncio.Queue()

    async def bind(self, args: BindArgs, deadline: float) -> BindResult:
        """Answers by `deadline`. An error tells the scheduler to try the pod again."""
        where = {"namespace": args.pod_namespace, "pod": args.pod_name, "node": args.node}
        for _ in range(_TRIES):
            # Read the pod's version and epoch first, and check the Lease afterwards. Then every
            # version that is sent under the Lease existed before the Lease ran out.
            plan = self._scheduler.plan_binding(args.pod_uid, args.node)
            if isinstance(plan, str):
                return self._failed("no-claim", plan, where)
            until = self._lease.may_bind_until()
            where |= {
                "policy": plan.policy.key.name if plan.policy is not None else "",
                "unit": plan.unit.title if plan.unit is not None else "",
            }
            outcome = await self._execute(plan, min(deadline, until))
            match outcome:
                case Confirmed():
                    return BindResult()
                case Refused():
                    reason = LEASE_OVER if until <= self._clock() else outcome.reason
                    return self._failed("refused", reason, where)
                case None:
                    reason = "it is not known yet whether the binding was executed"
                    return self._failed("unknown", reason, where)
            # Changed: plan again with the pod's new version, before another pod can take the slot.
        return self._failed("refused", "the pod kept changing while it was being bound", where)

    async def settle_outcomes(self) -> None:
        """Never returns. Finds the outcome of every Binding that got no answer, without a time
        limit."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._settle(await self._open.get()))

    def _failed(self, kind: str, reason: str, where: dict[str, str]) -> BindResult:
        self._metrics.bind_errors.labels(kind).inc()
        _log.info("not bound", extra={**where, "reason": reason})
        return BindResult(error=reason)

    async def _execute(
        self, plan: BindingPlan, deadline: float
    ) -> Confirmed | Refused | Changed | None:
        """Sends the Binding. Returns None if the outcome is unknown at the deadline:
        `settle_outcomes` then continues to ask."""
        order = Order(
            namespace=plan.pod.namespace,
            name=plan.pod.name,
            uid=plan.pod.uid,
            version=plan.pod.version,
            node=plan.node,
            labels=plan.labels,
            annotations=plan.annotations,
            tolerate=plan.tolerate,
            deadline=deadline,
        )
        try:
            outcome = await self._until_read(order)
        except BaseException:
            # The Binding may have been sent. The slot must stay counted, whatever the error is.
            self._ask(order, plan, order.version)
            raise
        if isinstance(outcome, Unknown):
            self._scheduler.cluster.ledger.outcome_unknown(order.uid, plan.flight, outcome.version)
            return await self._find_out(order, plan, outcome.version)
        self._record(plan, outcome)
        return outcome

    async def _until_read(self, order: Order) -> Confirmed | Refused | Changed | Unknown:
        """Sends the Binding again while the API server is too busy. The slot stays reserved."""
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

    def _record(self, plan: BindingPlan, outcome: Confirmed | Refused | Changed) -> None:
        uid, flight = plan.pod.uid, plan.flight
        if isinstance(outcome, Confirmed):
            self._scheduler.cluster.ledger.bound(uid, flight)
            self._decisions.bound(plan)
            self._scheduler.binding_accepted(plan)
            created = seconds_of(plan.pod.created)
            self._metrics.bound(plan.place, self._now() - created if created else 0.0)
            return
        if isinstance(outcome, Refused) and outcome.is_lasting:
            self._scheduler.binding_refused(plan, outcome.reason)
        if outcome.pod is not None:
            # Before the slot is released: the pod may be bound in this version.
            self._scheduler.cluster.learn(outcome.pod)
        self._scheduler.cluster.ledger.not_bound(uid, flight)

    def _ask(
        self, order: Order, plan: BindingPlan, version: int
    ) -> asyncio.Future[Confirmed | Refused]:
        result: asyncio.Future[Confirmed | Refused] = asyncio.get_running_loop().create_future()
        self._open.put_nowait(_OpenQuestion(order, plan, version, result))
        return result

    async def _find_out(
        self, order: Order, plan: BindingPlan, version: int
    ) -> Confirmed | Refused | None:
        _log.warning("binding without an answer", extra={"pod": order.name, "node": order.node})
        result = self._ask(order, plan, version)
        try:
            async with asyncio.timeout(order.deadline - self._clock()):
                return await asyncio.shield(result)
        except TimeoutError:
            return None

    async def _settle(self, question: _OpenQuestion) -> None:
        outcome = await self._until_known(question)
        self._record(question.plan, outcome)
        if not question.result.done():
            question.result.set_result(outcome)

    async def _until_known(self, question: _OpenQuestion) -> Confirmed | Refused:
        """Asks until the API server answers, or the watch shows the outcome."""
        backoff = Backoff(first=0.1, longest=10.0, random=self._random)
        order, ledger = question.order, self._scheduler.cluster.ledger
        for tries in itertools.count(1):
            outcome = await self._binder.fence(order, question.version)
            if outcome is not None:
                return outcome
            if tries % _TRIES_BEFORE_A_WARNING == 0:
                where = {"namespace": order.namespace, "pod": order.name, "tries": tries}
                _log.error("outcome of a binding still unknown: its slot stays taken", extra=where)
            await asyncio.sleep(backoff.next())
            if not ledger.is_open(order.uid, question.plan.flight):
                break
        return (
            Confirmed() if ledger.is_bound(order.uid) else Refused("the binding was not executed")
        )
