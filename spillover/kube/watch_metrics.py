"""The Prometheus metrics of a service's watches."""

from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spillover.kube.reflector import Reflector


class WatchMetrics(Collector):
    """Each metric has one series for each watch, labelled with its path."""

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
        for watch in self._watches:
            relists.add_metric([watch.path], watch.relists)
            lag.add_metric([watch.path], watch.silence())
            unreadable.add_metric([watch.path], len(watch.unreadable))
        yield from (relists, lag, unreadable)
