"""`python -m extender`: the extender as a process."""

import random
import sys
import time
from datetime import UTC, datetime
from functools import partial

from extender.app import scheduler_app
from extender.background import background_tasks
from extender.binding import BIND_SECONDS, Binding
from extender.filtering import Filtering
from extender.leadership import TermAdmission, leadership
from extender.metrics import Metrics
from extender.preempting import Preempting
from extender.settings import Settings, read_settings
from spillover.controller.editing import take_in_edits
from spillover.controller.statuses import Statuses
from spillover.controller.watching import policy_watches, reflectors
from spillover.core.cache.cluster import ClusterCache
from spillover.core.cache.unschedulable import Bounds
from spillover.core.scheduler import Scheduler
from spillover.kube.binder import Binder
from spillover.kube.credentials import Credentials
from spillover.kube.programs import run_program
from spillover.kube.readiness import SYNC_SECONDS, Readiness
from spillover.kube.session import ApiSession
from spillover.serving.clocks import boot_clock
from spillover.serving.garbage import freeze_when
from spillover.serving.health import Health, serve_health
from spillover.serving.http import serve
from spillover.serving.processes import run_together


async def run(settings: Settings) -> int:
    """Wires the parts together and runs them. Returns the process's exit status."""
    chance, clock = random.SystemRandom(), boot_clock()
    async with ApiSession(Credentials(settings.kubeconfig)) as session:
        cache = ClusterCache(
            settings.conventions(),
            clock,
            time.time,
            chance.random,
            Bounds(tried=settings.tried_pods_per_namespace),
        )
        scheduler = Scheduler(cache)
        statuses = Statuses(session, now=_now)
        watches = reflectors(
            session,
            cache,
            statuses,
            settings.namespace,
            chance,
            clock,
            with_namespaces=bool(settings.serverless_namespace_label),
        )
        ready = Readiness(watches)
        leader = leadership(settings, session, cache, ready, clock, time.time, chance)
        metrics = Metrics(cache, [*watches, *leader.watches])
        background = background_tasks(
            scheduler,
            session,
            statuses,
            metrics,
            watches,
            lambda: leader.leading.may_bind_until() > clock(),
            clock,
            chance,
        )
        binder = Binder(
            session,
            labels_in_binding=(
                None
                if settings.labels_in_binding == "auto"
                else settings.labels_in_binding == "yes"
            ),
            clock=clock,
        )
        binding = Binding(
            scheduler,
            binder,
            metrics,
            clock,
            chance,
            leader.leading,
            background.decisions,
            time.time,
        )
        app = scheduler_app(
            Filtering(scheduler, metrics, background.decisions),
            Preempting(scheduler, metrics),
            binding,
            ready,
            metrics,
            clock,
            TermAdmission(cache, leader.leading, policy_watches(watches), clock),
        )
        health = Health(ready.obstacle, metrics.registry, background.series.text)
        return await run_together(
            {
                **{f"watch of {watch.path}": watch.run() for watch in (*watches, *leader.watches)},
                "leading": leader.leading.run(background.controller.run),
                "outcomes": binding.settle_outcomes(),
                "edits of policies": take_in_edits(cache.edits),
                "nudges": background.nudger.run(),
                "marks of waits": background.wait_marks.run(),
                "scheduler requests": serve(
                    app, settings.address, settings.port, drain_seconds=BIND_SECONDS
                ),
                "garbage": freeze_when(partial(ready.synced, SYNC_SECONDS)),
                "probes": serve_health(health, settings.health_address, settings.health_port),
            },
            before_end=partial(leader.leading.stop, BIND_SECONDS),
        )


def _now() -> datetime:
    return datetime.now(UTC)


def main() -> int:
    """Reads the settings from the command line and runs until told to stop."""
    return run_program(read_settings, run)


if __name__ == "__main__":
    sys.exit(main())
