"""The resource `predictionsobserver` of metrics.alibabacloud.com/v1beta1: a chart of each object.

Every replica serves it, from its own reading of Prometheus.
"""

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
from spillover.core.autoscaling.autoscaler import Autoscaler, AutoscalerKey, InvalidAutoscaler
from spillover.forecast.season import fit

GROUP = "metrics.alibabacloud.com"
VERSION = "v1beta1"
RESOURCE = "predictionsobserver"
_KIND = "PredictionsObserver"
_KEPT_SECONDS = 60.0
_MOST_KEPT = 100
"""150 kB each."""


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
        self._pages: TTLCache[tuple[AutoscalerKey, int], str] = TTLCache(
            _MOST_KEPT, _KEPT_SECONDS, clock
        )

    def resources(self) -> list[Resource]:
        return [Resource(RESOURCE, RESOURCE, _KIND, ("get", "list"))]

    async def get(self, namespace: str, resource: str, name: str) -> Mapping[str, Any]:
        stored = self._view.autoscalers.objects.get(AutoscalerKey(namespace, name))
        if resource != RESOURCE or stored is None:
            raise NotFoundError(f"{resource} {name!r} not found")
        content = await self._page(stored)
        return {**_named(stored), "content": base64.b64encode(content.encode()).decode()}

    async def list(self, namespace: str, resource: str) -> Mapping[str, Any]:
        """Without the charts."""
        if resource != RESOURCE:
            raise NotFoundError(f"there is no resource {resource!r}")
        return {
            "kind": f"{_KIND}List",
            "apiVersion": f"{GROUP}/{VERSION}",
            "metadata": {},
            "items": [
                _named(stored)
                for key, stored in sorted(
                    self._view.autoscalers.objects.items(),
                    key=lambda item: (item[0].namespace, item[0].name),
                )
                if namespace in ("", key.namespace)
            ],
        }

    async def _page(self, stored: Stored) -> str:
        key = (stored.loaded.key, stored.loaded.generation)
        content = self._pages.get(key)
        if content is None:
            content = page(await self._made(stored), self._zone)
            self._pages[key] = content
        return content

    async def _made(self, stored: Stored) -> Page:
        autoscaler = stored.loaded
        title = f"{autoscaler.key.namespace}/{autoscaler.key.name}"
        if isinstance(autoscaler, InvalidAutoscaler):
            return explained(title, why_invalid(autoscaler))
        try:
            return await self._charted(autoscaler)
        except ObstacleError as error:
            return explained(title, str(error))

    async def _charted(self, autoscaler: Autoscaler) -> Page:
        """Raises ObstacleError."""
        aim = await self._aims.read(autoscaler)
        readings, loads = await self._loads.of(autoscaler, aim.pods)
        history, capacity = readings[0].history, loads[0].capacity
        forecast = fit(history, autoscaler.quantile, capacity=capacity)
        return charted(autoscaler, history, forecast, capacity)


def _named(stored: Stored) -> dict[str, Any]:
    key = stored.loaded.key
    return {
        "kind": _KIND,
        "apiVersion": f"{GROUP}/{VERSION}",
        "metadata": {"name": key.name, "namespace": key.namespace},
    }
