"""The `bind` verb: put this pod on that node, with its unit's labels and annotations."""

import asyncio
import logging
from collections.abc import Callable
from random import Random

from extender.metrics import Metrics
from spillover.api.extender import BindArgs, BindResult
from spillover.core.cache import Claim, SchedulingCache
from spillover.kube.backoff import Backoff
from spillover.kube.binder import Binder, Bound, Order, Refused, Unknown

BIND_SECONDS = 10.0
"""Below the scheduler's httpTimeout of 15 s, so that it hears what became of its request."""

_log = logging.getLogger(__name__)


class Binding:
    """`clock` is the binder's. The outcomes that a request could not wait for are found out by
    `settle_outcomes`, which must run beside."""

    def __init__(
        self,
        cache: SchedulingCache,
        binder: Binder,
        metrics: Metrics,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._cache = cache
        self._binder = binder
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._open: asyncio.Queue[tuple[Order, int, asyncio.Future[Bound | Refused]]] = (
            asyncio.Queue()
        )

    async def bind(self, args: BindArgs) -> BindResult:
        """Answers within BIND_SECONDS. An error tells the scheduler to try the pod again."""
        where = {"namespace": args.pod_namespace, "pod": args.pod_name, "node": args.node}
        claim = self._cache.claim(args.pod_uid, args.node)
        if isinstance(claim, str):
            self._metrics.bind_errors.labels("no-claim").inc()
            _log.info("not bound", extra={**where, "reason": claim})
            return BindResult(error=claim)
        where |= {"policy": claim.policy, "unit": claim.unit}
        order = self._order(claim)
        outcome = await self._execute(order)
        if isinstance(outcome, Bound):
            _log.info("bound", extra=where)
            return BindResult()
        if isinstance(outcome, Refused):
            self._metrics.bind_errors.labels("refused").inc()
            _log.info("not bound", extra={**where, "reason": outcome.reason})
            return BindResult(error=outcome.reason)
        self._metrics.bind_errors.labels("unknown").inc()
        _log.warning("binding without an answer", extra=where)
        return BindResult(error="it is not known yet whether the binding was executed")

    async def settle_outcomes(self) -> None:
        """Finds out what became of bindings without an answer, for as long as it takes."""
        async with asyncio.TaskGroup() as group:
            while True:
                order, version, result = await self._open.get()
                group.create_task(self._settle(order, version, result))

    def _order(self, claim: Claim) -> Order:
        return Order(
            namespace=claim.pod.namespace,
            name=claim.pod.name,
            uid=claim.pod.uid,
            version=claim.pod.version,
            node=claim.node,
            labels=claim.labels,
            foreign_labels=claim.foreign_labels,
            annotations=claim.annotations,
            tolerate=claim.tolerate,
            deadline=self._clock() + BIND_SECONDS,
        )

    def _record(self, uid: str, outcome: Bound | Refused) -> None:
        if isinstance(outcome, Bound):
            self._cache.ledger.bound(uid)
        else:
            self._cache.ledger.not_bound(uid)

    async def _execute(self, order: Order) -> Bound | Refused | None:
        """None: unknown by the deadline; `settle_outcomes` goes on asking."""
        outcome = await self._binder.bind(order)
        if isinstance(outcome, Unknown):
            self._cache.ledger.outcome_unknown(order.uid, outcome.version)
            return await self._find_out(order, outcome.version)
        self._record(order.uid, outcome)
        return outcome

    async def _find_out(self, order: Order, version: int) -> Bound | Refused | None:
        result: asyncio.Future[Bound | Refused] = asyncio.get_running_loop().create_future()
        self._open.put_nowait((order, version, result))
        try:
            async with asyncio.timeout(order.deadline - self._clock()):
                return await result
        except TimeoutError:
            return None

    async def _settle(
        self, order: Order, version: int, result: asyncio.Future[Bound | Refused]
    ) -> None:
        backoff = Backoff(first=0.1, longest=10.0, random=self._random)
        while True:
            outcome = await self._binder.fence(order, version)
            if outcome is not None:
                break
            await asyncio.sleep(backoff.next())
        self._record(order.uid, outcome)
        if not result.done():
            result.set_result(outcome)
