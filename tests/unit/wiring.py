"""The extender put together as its process does, around a cluster that the test fills. There is no
leader election: it always leads."""

import time
from collections.abc import Sequence
from random import Random
from typing import Any

from aiohttp import web

from builders import NoElection, decision_log, leading
from extender.app import scheduler_app
from extender.binding import Binding
from extender.filtering import Filtering
from extender.metrics import Metrics
from extender.preempting import Preempting
from spillover.core.cache.cluster import ClusterCache
from spillover.core.scheduler import Scheduler
from spillover.kube.binder import Binder
from spillover.kube.readiness import Readiness
from spillover.kube.reflector import Reflector
from spillover.kube.session import ApiSession


class Wired:
    """`app` answers the scheduler's requests; `binding` also settles the outcomes of bindings."""

    def __init__(
        self, session: ApiSession, cluster: ClusterCache, watches: Sequence[Reflector[Any]] = ()
    ) -> None:
        self.cluster = cluster
        self.scheduler = leading(Scheduler(cluster))
        self.metrics = Metrics(cluster, watches)
        self.ready = Readiness(watches)
        decisions = decision_log(session)
        self.binding = Binding(
            self.scheduler,
            Binder(session, labels_in_binding=True, clock=time.monotonic),
            self.metrics,
            time.monotonic,
            Random(1),
            NoElection(),
            decisions,
            time.time,
        )
        self.app: web.Application = scheduler_app(
            Filtering(self.scheduler, self.metrics, decisions),
            Preempting(self.scheduler, self.metrics),
            self.binding,
            self.ready,
            self.metrics,
            time.monotonic,
            NoElection(),
        )
