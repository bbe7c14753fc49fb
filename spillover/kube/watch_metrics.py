"""The Prometheus metrics of a service's watches."""

from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spillover.kube.reflector import Reflector


class WatchMetrics(Collector):
    """Each metric has one series for each path: that of all watches with this path."""

    def __init__(self, watches: Sequence[Reflector[Any]]) -> None:
        self._watches = watches

    def collect(self) -> Iterable[Metric]:
        relists = CounterMetricFamily(
            "spillover_reflector_relists_total", "Complete lists taken.", labels=["path"]
        )
        lag = GaugeMetricFamily(
            "spillover_reflector_lag_seconds",
            "Time since the API server was last heard of. It sends a bookmark every minute.",
            labels=["path"],
        )
        unreadable = GaugeMetricFamily(
            "spillover_unreadable_objects",
            "Objects of the API server that do not decode. The log names them.",
            labels=["path"],
        )
        by_path: dict[str, list[Reflector[Any]]] = {}
        for watch in self._watches:
            by_path.setdefault(watch.path, []).append(watch)
        for path, watches in by_path.items():
            relists.add_metric([path], sum(watch.relists for watch in watches))
            lag.add_metric([path], max(watch.silence() for watch in watches))
            unreadable.add_metric([path], sum(len(watch.unreadable) for watch in watches))
        yield from (relists, lag, unreadable)
