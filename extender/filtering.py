"""The `filter` verb: which of the offered nodes may this pod use?"""

from extender.metrics import Metrics
from spillover.api.extender import FilterArgs, FilterResult
from spillover.controller.decisions import DecisionLog
from spillover.core.cache import SchedulingCache
from spillover.core.pods import pod_from_wire
from spillover.core.verdicts import Placement


class Filtering:
    def __init__(self, cache: SchedulingCache, metrics: Metrics, decisions: DecisionLog) -> None:
        self._cache = cache
        self._metrics = metrics
        self._decisions = decisions

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
        if isinstance(decision, Placement):
            self._metrics.decisions.labels("placed" if decision.unit else "passed").inc()
            return FilterResult(
                node_names=[name for name in args.node_names if name in decision.nodes]
            )
        self._metrics.decisions.labels("waits" if decision.stays else "rejected").inc()
        self._decisions.rejected(pod, decision, self._cache.policy_of)
        return FilterResult(node_names=[], failed_and_unresolvable_nodes=dict(decision.reasons))
