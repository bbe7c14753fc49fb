"""The resource `predictionsobserver` of metrics.alibabacloud.com/v1beta1: a chart of each object.

Every replica serves it, from its own reading of Prometheus.
"""

import asyncio
import base64
from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import Any

from cachetools import TTLCache

from spillover.aggregated.group import NotFoundError, Resource
from spillover.ahpa.aiming import Aims, ObstacleError
from spillover.ahpa.chart import Page, page
from spillover.ahpa.charting import charted, explained, why_invalid
from spillover.ahpa.loads import Loads
from spillover.ahpa.workloads import Stored, View
from spillover.core.autoscaling.autoscaler import Autoscaler, InvalidAutoscaler
from spillover.forecast.season import fit

GROUP = "metrics.alibabacloud.com"
VERSION = "v1beta1"
RESOURCE = "predictionsobserver"
_KIND = "PredictionsObserver"
_KEPT_SECONDS = 60.0
_REASON_SECONDS = 5.0
_AT_ONCE = 2
_MOST_KEPT = 100
"""150 kB each."""


_Key = tuple[str, int]
"""Uid and generation of an object."""


class Predictions:
    """An ApiGroup. `clock` returns seconds."""

    group = GROUP
    version = VERSION

    def __init__(
        self, view: View, aims: Aims, loads: Loads, zone: tzinfo, clock: Callable[[], float]
    ) -> None:
        self._view = view
        self._aims = aims
        self._loads = loads
        self._zone = zone
        self._pages: TTLCache[_Key, str] = TTLCache(_MOST_KEPT, _KEPT_SECONDS, clock)
        self._reasons: TTLCache[_Key, str] = TTLCache(_MOST_KEPT, _REASON_SECONDS, clock)
        self._tasks: dict[_Key, asyncio.Task[str]] = {}  # one for each object that is asked for
        self._room = asyncio.Semaphore(_AT_ONCE)

    def resources(self) -> list[Resource]:
        return [Resource(RESOURCE, RESOURCE, _KIND, ("get", "list"))]

    async def get(self, namespace: str, resource: str, name: str) -> Mapping[str, Any]:
        stored = self._view.autoscalers.get(namespace, name)
        if resource != RESOURCE or stored is None:
            raise NotFoundError(f"{resource} {name!r} not found")
        content = await self._page(stored)
        return {**_named(stored), "content": base64.b64encode(content.encode()).decode()}

    async def list(self, namespace: str, resource: str) -> Mapping[str, Any]:
        """Without the charts."""
        if resource != RESOURCE:
            raise NotFoundError(f"there is no resource {resource!r}")
        shown = self._view.autoscalers.all()
        if namespace:
            shown = list(self._view.autoscalers.of_namespace(namespace))
        return {
            "kind": f"{_KIND}List",
            "apiVersion": f"{GROUP}/{VERSION}",
            "metadata": {},
            "items": sorted(map(_named, shown), key=_place),
        }

    async def _page(self, stored: Stored) -> str:
        """The page, made at most once a minute for each object, however many ask."""
        key = (stored.loaded.uid, stored.loaded.generation)
        content = self._pages.get(key) or self._reasons.get(key)
        if content is not None:
            return content
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(self._make(stored))
            task.add_done_callback(lambda _: self._tasks.pop(key, None))
        return await asyncio.shield(task)

    async def _make(self, stored: Stored) -> str:
        async with self._room:
            content, is_chart = await self._made(stored)
            text = page(content, self._zone)
            pages = self._pages if is_chart else self._reasons
            pages[stored.loaded.uid, stored.loaded.generation] = text
            return text

    async def _made(self, stored: Stored) -> tuple[Page, bool]:
        """The page, and whether it is a chart and not the reason why there is none."""
        autoscaler = stored.loaded
        title = f"{autoscaler.key.namespace}/{autoscaler.key.name}"
        if isinstance(autoscaler, InvalidAutoscaler):
            return explained(title, why_invalid(autoscaler)), False
        try:
            return await self._charted(autoscaler), True
        except ObstacleError as error:
            return explained(title, str(error)), False

    async def _charted(self, autoscaler: Autoscaler) -> Page:
        """Raises ObstacleError."""
        aim = await self._aims.of(autoscaler)
        reading, loads = await self._loads.of(autoscaler, aim.pods)
        capacity = loads[0].capacity
        forecast = fit(reading.history, autoscaler.quantile, capacity=capacity)
        return charted(autoscaler, reading.history, forecast, capacity)


def _place(item: dict[str, Any]) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def _named(stored: Stored) -> dict[str, Any]:
    key = stored.loaded.key
    return {
        "kind": _KIND,
        "apiVersion": f"{GROUP}/{VERSION}",
        "metadata": {"name": key.name, "namespace": key.namespace},
    }
