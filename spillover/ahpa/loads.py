"""Reads the load of each metric of an object."""

from collections.abc import Mapping

from spillover.ahpa.aiming import ObstacleError
from spillover.ahpa.histories import Histories, Reading
from spillover.ahpa.prometheus import PrometheusError
from spillover.ahpa.queries import Query
from spillover.ahpa.status import Obstacle, Problem
from spillover.core.autoscaling.autoscaler import Autoscaler, AutoscalerKey
from spillover.forecast.decision import Load


class Loads:
    def __init__(self, histories: Histories, queries: Mapping[str, Query]) -> None:
        self._histories = histories
        self._queries = queries

    async def of(self, autoscaler: Autoscaler, pods: str) -> tuple[list[Reading], list[Load]]:
        """The load of each metric, in their order. `pods` is a regular expression for the names of
        the pods. Raises ObstacleError."""
        try:
            return await self._read(autoscaler, pods)
        except PrometheusError as error:
            raise ObstacleError(Problem(Obstacle.SOURCE_UNAVAILABLE, str(error))) from error

    async def _read(self, autoscaler: Autoscaler, pods: str) -> tuple[list[Reading], list[Load]]:
        if not pods:
            raise PrometheusError("the target never had a pod")
        readings, loads = [], []
        for number, goal in enumerate(autoscaler.metrics):
            query = self._queries.get(goal.name)
            if query is None:
                text = f"the settings have no query for the metric {goal.name[:80]!r}"
                raise PrometheusError(text)
            expression = query.expression(autoscaler.key.namespace, pods)
            reading = await self._histories.read((autoscaler.key, number), expression)
            if reading.load is None:
                raise PrometheusError(f"there is no sample of {goal.name[:80]} now")
            readings.append(reading)
            loads.append(Load(reading.load, goal.goal, query.capacity))
        return readings, loads

    def forget(self, key: AutoscalerKey, metrics: int) -> None:
        """The object is gone."""
        for number in range(metrics):
            self._histories.forget((key, number))
