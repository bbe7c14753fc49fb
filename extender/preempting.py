"""The `preempt` verb: on which of the candidate nodes may pods be evicted for the pod?"""

import logging

from extender.metrics import Metrics
from spillover.api.extender import PreemptArgs, PreemptResult
from spillover.controller.audit import audit
from spillover.core.model.pods import pod_from_wire
from spillover.core.scheduler import Scheduler

_log = logging.getLogger(__name__)


class Preempting:
    def __init__(self, scheduler: Scheduler, metrics: Metrics) -> None:
        self._scheduler = scheduler
        self._metrics = metrics

    def preempt(self, args: PreemptArgs) -> PreemptResult:
        """Returns the candidate nodes on which preemption helps the pod, with their victims.
        Returns no candidates if no decision is possible: the protocol has no field for an error,
        and no pod is evicted on a guess."""
        candidates = args.node_name_to_meta_victims or {}
        try:
            pod = pod_from_wire(args.pod)
        except ValueError as error:
            return self._failed(f"Pod.{error}", {})
        where = {"namespace": pod.namespace, "pod": pod.name}
        if obstacle := self._scheduler.obstacle(pod):
            return self._failed(obstacle, where)
        victims = {
            name: [victim.uid for victim in there.pods or ()] if there else []
            for name, there in candidates.items()
        }
        nodes = self._scheduler.preempt(pod, victims)
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
