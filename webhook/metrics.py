"""The webhook's metrics, in Prometheus' text format."""

from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from spillover.kube.reflector import Reflector
from spillover.kube.watch_metrics import WatchMetrics

_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)


class Metrics:
    """`certificate_expires` returns when the serving certificate expires, in seconds since 1970. 0:
    not known."""

    def __init__(
        self, certificate_expires: Callable[[], float], watches: Sequence[Reflector[Any]]
    ) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(WatchMetrics(watches))
        self.reviews = Counter(
            "spillover_admission_reviews_total",
            "Answers to the API server: patched, allowed or refused.",
            ["path", "outcome"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "spillover_admission_seconds",
            "Time from a review to its answer.",
            ["path"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        Gauge(
            "spillover_certificate_expires_seconds",
            "When the serving certificate expires, in seconds since 1970.",
            registry=self.registry,
        ).set_function(certificate_expires)
