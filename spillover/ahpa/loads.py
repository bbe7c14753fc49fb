"""Reads the load of each metric of an object."""

from collections.abc import Hashable, Mapping

from spillover.ahpa.aiming import ObstacleError
from spillover.ahpa.histories import Histories, Reading
from spillover.ahpa.prometheus import PrometheusError
from spillover.ahpa.queries import Query
from spillover.ahpa.status import Obstacle, Problem
from spillover.core.autoscaling.autoscaler import Autoscaler, MetricGoal
from spillover.forecast.decision import Load


class Loads:
    def __init__(self, histories: Histories, queries: Mapping[str, Query]) -> None:
        self._histories = histories
        self._queries = queries

    async def of(self, autoscaler: Autoscaler, pods: str) -> tuple[Reading, list[Load]]:
        """The history of the first metric, and the load of each. `pods` is a regular expression for
        the names of the pods. Raises ObstacleError."""
        try:
            return await self._read(autoscaler, pods)
        except PrometheusError as error:
            raise ObstacleError(Problem(Obstacle.SOURCE_UNAVAILABLE, str(error))) from error

    async def _read(self, autoscaler: Autoscaler, pods: str) -> tuple[Reading, list[Load]]:
        if not pods:
            raise PrometheusError("the target never had a pod")
        namespace, first = autoscaler.key.namespace, autoscaler.metrics[0]
        query = self._query(first)
        key = basis(autoscaler)
        reading = await self._histories.read(key, query.expression(namespace, pods))
        loads = [_load(first, query, reading.load)]
        for goal in autoscaler.metrics[1:]:
            query = self._query(goal)
            found, _ = await self._histories.newest(query.expression(namespace, pods))
            loads.append(_load(goal, query, found))
        return reading, loads

    def _query(self, goal: MetricGoal) -> Query:
        query = self._queries.get(goal.name)
        if query is None:
            text = f"the settings have no query for the metric {goal.name[:80]!r}"
            raise PrometheusError(text)
        return query


def basis(autoscaler: Autoscaler) -> Hashable:
    """What a history is of: with another target or metric it is another load."""
    return autoscaler.key, autoscaler.uid, autoscaler.target, autoscaler.metrics[0].name


def _load(goal: MetricGoal, query: Query, found: float | None) -> Load:
    if found is None:
        raise PrometheusError(f"there is no sample of {goal.name[:80]} now")
    return Load(found, goal.goal, query.capacity)
