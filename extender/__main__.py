"""`python -m extender`: the extender as a process."""

import asyncio
import logging
import random
import sys
import time
from datetime import UTC, datetime
from functools import partial

import uvloop
from pydantic import ValidationError

from extender.app import scheduler_app
from extender.aside import beside_answers
from extender.binding import BIND_SECONDS, Binding
from extender.filtering import Filtering
from extender.leadership import TermAdmission, leadership
from extender.metrics import Metrics
from extender.preempting import Preempting
from extender.settings import Settings, read_settings
from extender.watching import policy_watches, reflectors
from spillover.controller.statuses import Statuses
from spillover.core.cache import SchedulingCache
from spillover.kube.binder import Binder
from spillover.kube.credentials import Credentials, CredentialsError
from spillover.kube.readiness import Readiness
from spillover.kube.session import ApiSession
from spillover.serving.clocks import boot_clock
from spillover.serving.health import health_app
from spillover.serving.http import serve
from spillover.serving.logs import set_up_logs
from spillover.serving.processes import run_together

_log = logging.getLogger(__name__)


async def run(settings: Settings) -> int:
    """Wires the parts together and runs them. Returns the process's exit status."""
    chance, clock = random.SystemRandom(), boot_clock()
    async with ApiSession(Credentials(settings.kubeconfig)) as session:
        cache = SchedulingCache(settings.conventions(), clock, time.time, chance.random)
        statuses = Statuses(session, now=_now)
        watches = reflectors(session, cache, statuses, settings.namespace, chance, clock)
        ready = Readiness(watches)
        leader = leadership(settings, session, cache, ready, clock, time.time, chance)
        metrics = Metrics(cache, [*watches, *leader.watches])
        aside = beside_answers(
            cache,
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
            cache, binder, metrics, clock, chance, leader.leading, aside.decisions, time.time
        )
        scheduler = scheduler_app(
            Filtering(cache, metrics, aside.decisions),
            Preempting(cache, metrics),
            binding,
            ready,
            metrics,
            clock,
            TermAdmission(cache, leader.leading, policy_watches(watches), clock),
        )
        probes = health_app(ready.obstacle, metrics.registry, aside.series.text)
        return await run_together(
            {
                **{f"watch of {watch.path}": watch.run() for watch in (*watches, *leader.watches)},
                "leading": leader.leading.run(aside.controller.run),
                "outcomes": binding.settle_outcomes(),
                "nudges": aside.nudger.run(),
                "marks of waits": aside.wait_marks.run(),
                "scheduler requests": serve(
                    scheduler, settings.address, settings.port, drain_seconds=BIND_SECONDS
                ),
                "probes": serve(probes, settings.health_address, settings.health_port),
            },
            before_end=partial(leader.leading.stop, BIND_SECONDS),
        )


def _now() -> datetime:
    return datetime.now(UTC)


def main() -> int:
    """Reads the settings from the command line and runs until told to stop."""
    try:
        settings = read_settings(sys.argv[1:])
    except ValidationError as error:
        for problem in error.errors():
            name = str(problem["loc"][0]).replace("_", "-")
            print(f"--{name}: {problem['msg']}", file=sys.stderr)  # noqa: T201 - before logs are set up
        return 2
    set_up_logs(settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(run(settings))
        except CredentialsError as error:
            _log.critical("%s", error)
            return 1


if __name__ == "__main__":
    sys.exit(main())
