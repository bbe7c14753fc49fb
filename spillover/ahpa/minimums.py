"""Gives HPAs their own minReplicas back when nobody moves it any more."""

import asyncio
import logging
from collections.abc import Callable, Iterator

from cachetools import TTLCache

from spillover.ahpa.scaling import Scaler
from spillover.ahpa.workloads import Hpa, View
from spillover.core.autoscaling.autoscaler import AutoscalerKey, InvalidAutoscaler, Strategy
from spillover.kube.session import ApiError, NoAnswerError

_AT_ONCE = 4
_MOST_AT_ONCE_IN_NAMESPACE = 10
"""For each look: a tenant's HPAs must not delay those of the others."""
_REFUSED_SECONDS = 600.0
_MOST_REFUSED = 10_000

_log = logging.getLogger(__name__)


class Minimums:
    """`clock` returns seconds that never go back."""

    def __init__(self, view: View, scaler: Scaler, clock: Callable[[], float]) -> None:
        self._view = view
        self._scaler = scaler
        # A write that was refused would be refused again.
        self._refused: TTLCache[str, bool] = TTLCache(_MOST_REFUSED, _REFUSED_SECONDS, clock)

    async def restore(self, leads: Callable[[], bool]) -> None:
        """Writes to the HPAs that are due now."""
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(hpa: Hpa) -> None:
            async with room:
                if leads():
                    await self._restore(hpa)

        await asyncio.gather(*map(one, list(self._due())))

    def _due(self) -> Iterator[Hpa]:
        counts: dict[str, int] = {}
        for hpa in self._view.hpas.all():
            if not hpa.holder or hpa.metadata.uid in self._refused or self._is_held(hpa):
                continue
            namespace = hpa.metadata.namespace
            counts[namespace] = counts.get(namespace, 0) + 1
            if counts[namespace] <= _MOST_AT_ONCE_IN_NAMESPACE:
                yield hpa

    async def _restore(self, hpa: Hpa) -> None:
        try:
            await self._scaler.restore(hpa)
        except (ApiError, NoAnswerError) as error:
            self._refused[hpa.metadata.uid] = True
            _log.warning(
                "minReplicas not restored", extra={"hpa": "/".join(hpa.key), "reason": str(error)}
            )

    def _is_held(self, hpa: Hpa) -> bool:
        namespace, name = hpa.key
        stored = self._view.stored(AutoscalerKey(namespace, hpa.holder))
        if stored is None:
            return False
        holder = stored.loaded
        if isinstance(holder, InvalidAutoscaler):
            return True  # nothing moves until it is valid
        is_its_target = holder.target.is_hpa and holder.target.name == name
        return is_its_target and holder.strategy is not Strategy.OBSERVER
