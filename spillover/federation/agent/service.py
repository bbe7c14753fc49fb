"""`spillover federation agent`: the agent of one member, as a process."""

import random
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial

from prometheus_client import CollectorRegistry

from spillover.controller.editing import take_in_edits
from spillover.core.cache.cluster import ClusterCache
from spillover.federation.agent.hub import HubView
from spillover.federation.agent.limiting import Limiter
from spillover.federation.agent.presence import Presence
from spillover.federation.agent.reporting import Reporter, States
from spillover.federation.agent.scheduler_watch import SchedulerWatch
from spillover.federation.agent.settings import Settings, read_settings
from spillover.federation.agent.telling import Teller
from spillover.federation.agent.view import MemberView
from spillover.federation.agent.watching import hub_watches, member_watches
from spillover.kube.credentials import Credentials
from spillover.kube.programs import run_program
from spillover.kube.readiness import Readiness
from spillover.kube.session import ApiSession
from spillover.kube.signals import Signal
from spillover.serving.clocks import boot_clock
from spillover.serving.health import Health, serve_health
from spillover.serving.processes import run_together


async def run(settings: Settings) -> int:
    """Wires the parts together and runs them. Returns the process's exit status."""
    chance, clock = random.SystemRandom(), boot_clock()
    async with (
        ApiSession(Credentials(settings.kubeconfig)) as member,
        ApiSession(Credentials(settings.hub_kubeconfig)) as hub,
    ):
        view = MemberView(
            ClusterCache(settings.conventions(), clock, time.time, chance.random),
            SchedulerWatch(settings.scheduler_rest_seconds, clock),
        )
        hub_view, news = HubView(settings.member), Signal()
        own = member_watches(member, view, settings.namespace, chance, clock)
        hub_changed = partial(_both, view.changed, news.notify)
        others = hub_watches(
            hub, hub_view, view.templates, hub_changed, settings.hub_namespace, chance, clock
        )
        hub_ready = Readiness(others)
        states = States(view, Readiness(own), news, clock)
        presence = Presence(
            hub,
            settings.hub_namespace,
            settings.member,
            socket.gethostname(),
            uuid.uuid4().hex,
            clock,
            chance,
        )
        reporter = Reporter(
            hub, settings.member, states, hub_view.reports, presence.holds, clock, chance
        )
        teller = Teller(
            hub,
            settings.member,
            hub_view,
            states,
            presence.holds,
            settings.event_after_seconds,
            clock,
        )
        tasks = {
            # A collection may be watched twice: for the cache, and for what only an agent reads.
            **{
                f"watch {number} of {watch.path}": watch.run()
                for number, watch in enumerate((*own, *others))
            },
            "edits of policies": take_in_edits(view.cluster.edits),
            "states": states.run(),
            "lease": presence.run(),
            "report": reporter.run(),
            "events": teller.run(),
            "probes": serve_health(
                Health(Readiness([*own, *others]).obstacle, CollectorRegistry()),
                settings.health_address,
                settings.health_port,
            ),
        }
        if settings.mode == "limit":
            limiter = Limiter(
                hub,
                member,
                settings.member,
                hub_view,
                lambda: hub_ready.obstacle() is None,
                states,
                news,
                presence,
                settings.dead_after_seconds,
                clock,
                chance,
            )
            tasks["limit"] = limiter.run()
        return await run_together(tasks, before_end=presence.release)


def _both(one: Callable[[], None], other: Callable[[], None]) -> None:
    one()
    other()


def main(arguments: Sequence[str]) -> int:
    """Reads the settings from the command line and runs until told to stop. An agent that is
    refused, because another one has its name, ends with the exit status 1."""
    return run_program(read_settings, run, arguments)
