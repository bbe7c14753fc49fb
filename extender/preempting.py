"""The `preempt` verb: on which of these nodes may pods be evicted for this one?"""

import logging

from extender.metrics import Metrics
from spillover.api.extender import PreemptArgs, PreemptResult
from spillover.controller.decisions import audit
from spillover.core.cache import SchedulingCache
from spillover.core.pods import pod_from_wire

_log = logging.getLogger(__name__)


class Preempting:
    def __init__(self, cache: SchedulingCache, metrics: Metrics) -> None:
        self._cache = cache
        self._metrics = metrics

    def preempt(self, args: PreemptArgs) -> PreemptResult:
        """The candidates that are of use, with their victims. None, where nothing can be said: the
        protocol has no error, and nobody is evicted on a guess."""
        candidates = args.node_name_to_meta_victims or {}
        try:
            pod = pod_from_wire(args.pod)
        except ValueError as error:
            return self._failed(f"Pod.{error}", {})
        where = {"namespace": pod.namespace, "pod": pod.name}
        if obstacle := self._cache.obstacle(pod):
            return self._failed(obstacle, where)
        victims = {
            name: [victim.uid for victim in there.pods or ()] if there else []
            for name, there in candidates.items()
        }
        nodes = self._cache.preempt(pod, victims)
        self._metrics.preemptions.labels("some" if nodes else "none").inc()
        if nodes:
            found = {"nodes": sorted(nodes)[:_MOST_LOGGED], "reason": "it would then fit there"}
            audit.info("may preempt", extra={**where, **found})
        return PreemptResult(
            {name: there for name, there in candidates.items() if there and name in nodes}
        )

    def _failed(self, reason: str, where: dict[str, str]) -> PreemptResult:
        self._metrics.preemptions.labels("error").inc()
        _log.info("no preemption", extra={**where, "reason": reason})
        return PreemptResult()


_MOST_LOGGED = 20
