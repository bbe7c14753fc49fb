"""The extender's metrics, in Prometheus' text format."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from spillover.core.cache.binding_plan import Place
from spillover.core.cache.cluster import ClusterCache
from spillover.kube.reflector import Reflector
from spillover.kube.watch_metrics import WatchMetrics

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 15)
_WAITS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """The metrics of one extender. They have their own registry, so that one process can hold
    several extenders."""

    def __init__(self, cache: ClusterCache, reflectors: Iterable[Reflector[object]]) -> None:
        ledger = cache.ledger
        self.registry = CollectorRegistry()
        self.decisions = Counter(
            "spillover_filter_decisions_total",
            "Answers to filter: placed in a unit, passed (no policy, or nodes of no unit), waits "
            "with a unit, rejected by all, or error.",
            ["outcome"],
            registry=self.registry,
        )
        self.filter_seconds = Histogram(
            "spillover_filter_seconds",
            "Time from a filter request to its answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.bind_seconds = Histogram(
            "spillover_bind_seconds",
            "Time from a bind request to its answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.bind_errors = Counter(
            "spillover_bind_errors_total",
            "Bind requests answered with an error: no-claim, refused by the API server, unknown.",
            ["reason"],
            registry=self.registry,
        )
        Gauge(
            "spillover_reservations",
            "Slots reserved for pods between filter and bind.",
            registry=self.registry,
        ).set_function(ledger.reservations)
        Gauge(
            "spillover_epoch",
            "The term in which this replica places pods; 0 while it does not lead.",
            registry=self.registry,
        ).set_function(lambda: cache.term.epoch)
        Gauge(
            "spillover_doubted_pods",
            "Pods that an earlier leader may still bind: each counts in every unit of its policy.",
            registry=self.registry,
        ).set_function(lambda: len(ledger.doubted()))
        Gauge(
            "spillover_bindings_in_flight",
            "Bindings that were sent and whose outcome is not known yet.",
            registry=self.registry,
        ).set_function(ledger.bindings)
        Gauge(
            "spillover_waiting_pods",
            "Pods that filter rejected and that the scheduler still tries.",
            registry=self.registry,
        ).set_function(lambda: len(cache.waiting) - cache.waiting.crowds.gated())
        Gauge(
            "spillover_gated_pods",
            "Waiting pods with the gate spillover.dev/crowd: the scheduler does not try them.",
            registry=self.registry,
        ).set_function(cache.waiting.crowds.gated)
        self.nudges = Counter(
            "spillover_nudges_total",
            "Writes to waiting pods that make the scheduler try them again: written or failed.",
            ["outcome"],
            registry=self.registry,
        )
        self.preemptions = Counter(
            "spillover_preempt_requests_total",
            "Answers to preempt: some nodes are allowed, none helps the pod, or error.",
            ["outcome"],
            registry=self.registry,
        )
        self.wait_marks = Counter(
            "spillover_wait_marks_total",
            "Writes of the time at which a pod's wait for a unit began: written or failed.",
            ["outcome"],
            registry=self.registry,
        )
        self._bound = Counter(
            "spillover_bound_pods_total",
            "Pods bound, by place: first (the policy's first unit), spilled (a later one), outside "
            "(nodes of no unit), unmanaged (no policy).",
            ["place"],
            registry=self.registry,
        )
        self._wait = Histogram(
            "spillover_pod_wait_seconds",
            "Time from a pod's creation to its binding.",
            buckets=_WAITS,
            registry=self.registry,
        )
        self.statuses = self._writes("spillover_status_writes_total", "Writes of policies' status")
        self.events = self._writes(
            "spillover_events_total", "Events: also dropped by rate limiting"
        )
        self.annotations = self._writes(
            "spillover_upkeep_writes_total",
            "Writes of pods' deletion cost and scale-up delay",
        )
        self.controller_failures = Counter(
            "spillover_controller_failures_total",
            "Tasks of the controller that failed because of a bug and were started again.",
            ["task"],
            registry=self.registry,
        )
        for place in Place:
            self._bound.labels(place)  # start at 0: rate() misses the first increase otherwise
        self.registry.register(WatchMetrics(tuple(reflectors)))

    def bound(self, place: Place, seconds: float) -> None:
        """Counts a bound pod. `seconds` is the time from its creation to its binding."""
        self._bound.labels(place).inc()
        self._wait.observe(max(0.0, seconds))

    def _writes(self, name: str, what: str) -> Counter:
        counter = Counter(name, f"{what}: written or failed.", ["outcome"], registry=self.registry)
        for outcome in ("written", "failed"):
            counter.labels(outcome)
        return counter
