"""The `filter` verb: which of the offered nodes may the pod use?"""

import msgspec

from extender.decisions import DecisionLog
from extender.metrics import Metrics
from spillover.api.extender import FilterArgs, FilterResult
from spillover.core.decision.outcomes import Placement
from spillover.core.model.nodes import Names
from spillover.core.model.pods import pod_from_wire
from spillover.core.scheduler import Scheduler

_NO_NODE = msgspec.Raw(b"[]")


class Filtering:
    def __init__(self, scheduler: Scheduler, metrics: Metrics, decisions: DecisionLog) -> None:
        self._scheduler = scheduler
        self._metrics = metrics
        self._decisions = decisions

    def filter(self, args: FilterArgs) -> FilterResult:
        """Decides on which nodes the pod may run, and reserves its slot."""
        try:
            pod = self._scheduler.cluster.same_as(args.pod) or pod_from_wire(args.pod)
        except ValueError as error:
            self._metrics.decisions.labels("error").inc()
            return FilterResult(error=f"Pod.{error}")
        if obstacle := self._scheduler.obstacle(pod):
            # An error, not "unschedulable": the scheduler learns later what Spillover knows now.
            self._metrics.decisions.labels("error").inc()
            return FilterResult(error=obstacle)
        decision = self._scheduler.place(pod, args.node_names)
        if isinstance(decision, Placement):
            self._metrics.decisions.labels("placed" if decision.unit else "passed").inc()
            return FilterResult(node_names=msgspec.Raw(Names.of(decision.nodes).encoded))
        self._metrics.decisions.labels("waits" if decision.stays else "rejected").inc()
        self._decisions.rejected(pod, decision, self._scheduler.cluster.policy_of)
        return FilterResult(
            node_names=_NO_NODE, failed_and_unresolvable_nodes=msgspec.Raw(decision.reasons.encoded)
        )
