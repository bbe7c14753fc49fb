"""The `filter` verb: which of the offered nodes may this pod use?"""

import logging

from extender.metrics import Metrics
from spillover.api.extender import FilterArgs, FilterResult
from spillover.core.cache import SchedulingCache
from spillover.core.pods import pod_from_wire
from spillover.core.verdicts import Placement

_log = logging.getLogger(__name__)


class Filtering:
    def __init__(self, cache: SchedulingCache, metrics: Metrics) -> None:
        self._cache = cache
        self._metrics = metrics

    def filter(self, args: FilterArgs) -> FilterResult:
        """Decides and reserves."""
        try:
            pod = pod_from_wire(args.pod)
        except ValueError as error:
            self._metrics.decisions.labels("error").inc()
            return FilterResult(error=f"Pod.{error}")
        if obstacle := self._cache.obstacle(pod):
            # Not "no capacity": the scheduler knows less than we, and will learn.
            self._metrics.decisions.labels("error").inc()
            return FilterResult(error=obstacle)
        decision = self._cache.place(pod, args.node_names)
        where = {"namespace": pod.namespace, "pod": pod.name}
        if isinstance(decision, Placement):
            self._metrics.decisions.labels("placed" if decision.unit else "passed").inc()
            unit = decision.unit.title if decision.unit else None
            _log.debug("placed", extra={**where, "unit": unit, "nodes": len(decision.nodes)})
            return FilterResult(
                node_names=[name for name in args.node_names if name in decision.nodes]
            )
        self._metrics.decisions.labels("waits" if decision.stays else "rejected").inc()
        _log.debug("rejected", extra={**where, "reasons": sorted(set(decision.reasons.values()))})
        return FilterResult(node_names=[], failed_and_unresolvable_nodes=dict(decision.reasons))
