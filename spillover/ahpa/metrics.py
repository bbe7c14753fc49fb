"""The metrics of the predictive autoscaler. The names that begin with `ahpa` are the vendor's."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from typing import Any

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spillover.ahpa.status import Seen
from spillover.core.autoscaling.autoscaler import Autoscaler, AutoscalerKey
from spillover.kube.reflector import Reflector
from spillover.kube.watch_metrics import WatchMetrics

_LABELS = ("namespace", "name")
_FAMILIES = {
    "ahpa_proactive_pods": "Pods that the forecast needs.",
    "ahpa_reactive_pods": "Pods that the present load needs.",
    "ahpa_requested_pods": "Pods that are desired.",
    "ahpa_max_pods": "Most pods that are allowed now.",
    "ahpa_min_pods": "Fewest pods that are allowed now.",
}
_OF_METRICS = {
    "ahpa_target_metric": "Load that one pod is to have.",
    "ahpa_actual_metric": "Present load, as the sum over all pods.",
}


class _Found(Collector):
    """What the last look at each object has found."""

    def __init__(self) -> None:
        self.shown: dict[AutoscalerKey, tuple[Autoscaler, Seen]] = {}

    def collect(self) -> Iterable[Metric]:
        families = {
            name: GaugeMetricFamily(name, text, labels=_LABELS) for name, text in _FAMILIES.items()
        }
        of_metrics = {
            name: GaugeMetricFamily(name, text, labels=(*_LABELS, "target"))
            for name, text in _OF_METRICS.items()
        }
        for key, (autoscaler, seen) in self.shown.items():
            where = [key.namespace, key.name]
            for name, value in _pods(seen):
                families[name].add_metric(where, value)
            for goal in autoscaler.metrics:
                of_metrics["ahpa_target_metric"].add_metric([*where, goal.name], goal.goal)
            for goal, load in zip(autoscaler.metrics, seen.loads or (), strict=False):
                of_metrics["ahpa_actual_metric"].add_metric([*where, goal.name], load)
        yield from (*families.values(), *of_metrics.values())


def _pods(seen: Seen) -> Iterator[tuple[str, float]]:
    yield "ahpa_min_pods", seen.bounds.least
    yield "ahpa_max_pods", seen.bounds.most
    if (decision := seen.decision) is not None:
        yield "ahpa_reactive_pods", decision.reactive
        yield "ahpa_requested_pods", decision.desired
        if decision.proactive is not None:
            yield "ahpa_proactive_pods", decision.proactive


class Metrics:
    """`leads` tells whether this replica scales; `certificate_expires` when the serving certificate
    expires, in seconds since 1970, 0: not known."""

    def __init__(
        self,
        watches: Sequence[Reflector[Any]],
        leads: Callable[[], bool],
        certificate_expires: Callable[[], float],
    ) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(WatchMetrics(watches))
        self._found = _Found()
        self.registry.register(self._found)
        Gauge(
            "spillover_ahpa_leader", "1 on the replica that scales.", registry=self.registry
        ).set_function(lambda: float(leads()))
        Gauge(
            "spillover_certificate_expires_seconds",
            "When the serving certificate expires, in seconds since 1970.",
            registry=self.registry,
        ).set_function(certificate_expires)

    def show(self, autoscaler: Autoscaler, seen: Seen) -> None:
        self._found.shown[autoscaler.key] = (autoscaler, seen)

    def drop(self, key: AutoscalerKey) -> None:
        """The object has errors."""
        self._found.shown.pop(key, None)

    def keep(self, keys: Set[AutoscalerKey]) -> None:
        """All other objects are gone, or another replica's."""
        for key in self._found.shown.keys() - keys:
            del self._found.shown[key]
