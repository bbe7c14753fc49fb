"""`python -m spillover.ahpa`: the predictive autoscaler as a process."""

import logging
import random
import socket
import sys
import time
import uuid
from functools import partial
from zoneinfo import ZoneInfo

import aiohttp

from spillover.aggregated.app import aggregated_app
from spillover.aggregated.front_proxy import FrontProxy
from spillover.ahpa.aiming import Aims
from spillover.ahpa.autoscaling import Autoscaling, Timing
from spillover.ahpa.configuration import Latest, front_proxy_watch, source_watch
from spillover.ahpa.histories import Histories
from spillover.ahpa.loads import Loads
from spillover.ahpa.metrics import Metrics
from spillover.ahpa.minimums import Minimums
from spillover.ahpa.predictions import Predictions
from spillover.ahpa.prometheus import Prometheus, Source
from spillover.ahpa.queries import QueryError, read_queries
from spillover.ahpa.scaling import Scaler
from spillover.ahpa.settings import Settings, read_settings
from spillover.ahpa.telling import StatusTeller
from spillover.ahpa.workloads import View, watches
from spillover.kube.credentials import Credentials
from spillover.kube.election import Election
from spillover.kube.programs import run_program
from spillover.kube.readiness import Readiness
from spillover.kube.session import ApiSession
from spillover.serving.certificates import CertificateFiles, Served, UnreadableError
from spillover.serving.clocks import boot_clock
from spillover.serving.health import Health, serve_health
from spillover.serving.http import serve_tls
from spillover.serving.processes import run_together

LEASE = "spillover-ahpa"

_log = logging.getLogger(__name__)


async def run(settings: Settings) -> int:
    """Wires the parts together and runs them. Returns the process's exit status."""
    try:
        queries = read_queries(settings.queries_file)
        default = Source(settings.prometheus_url) if settings.prometheus_url else None
    except (QueryError, ValueError) as error:
        _log.critical("%s", error)
        return 2
    chance, clock, now = random.SystemRandom(), boot_clock(), time.time
    zone, served, view = ZoneInfo(settings.time_zone), Served(), View()
    timing = Timing(settings.period, settings.hold, settings.season, zone)
    source = Latest[Source | None]("source", default)
    proxy = Latest[FrontProxy | None]("front proxy", None, partial(_trust, served))
    async with (
        ApiSession(Credentials(settings.kubeconfig)) as session,
        aiohttp.ClientSession(trust_env=False) as web,
    ):
        everything = watches(session, view, chance, clock)
        others = (
            source_watch(session, settings.config_namespace, source, chance, clock),
            front_proxy_watch(session, proxy, chance, clock),
        )
        ready = Readiness([*everything, *others])
        identity = f"{socket.gethostname()}_{uuid.uuid4().hex}"
        election = Election(session, settings.namespace, LEASE, identity, clock, chance)
        metrics = Metrics([*everything, *others], election.holds, served.expires)
        histories = Histories(
            Prometheus(web, clock), lambda: source.content, now, clock, timing.step
        )
        loads, scaler = Loads(histories, queries), Scaler(session)
        aims = Aims(view, scaler)
        autoscaling = Autoscaling(
            view,
            aims,
            scaler,
            loads,
            Minimums(view, scaler, clock),
            StatusTeller(session, metrics, now, clock),
            lambda: election.holds() and ready.obstacle() is None,
            timing,
            now,
            clock,
        )
        app = aggregated_app(Predictions(view, aims, loads, zone, clock), lambda: proxy.content)

        def obstacle() -> str | None:
            return ready.obstacle() or (None if served.loaded.is_set() else "no certificate yet")

        return await run_together(
            {
                # Two ConfigMaps of one namespace are watched.
                **{
                    f"watch {number} of {each.path}": each.run()
                    for number, each in enumerate((*everything, *others))
                },
                "lease": election.run(),
                "autoscaling": autoscaling.run(),
                "certificate": CertificateFiles(
                    settings.tls_cert_file, settings.tls_key_file, served
                ).run(),
                "api": serve_tls(
                    app,
                    settings.address,
                    settings.port,
                    lambda: served.context if served.loaded.is_set() else None,
                ),
                "probes": serve_health(
                    Health(obstacle, metrics.registry),
                    settings.health_address,
                    settings.health_port,
                ),
            },
            before_end=election.release,
        )


def _trust(served: Served, proxy: FrontProxy | None) -> None:
    """Connections that are made from now on are asked for a certificate of the front proxy's
    authorities."""
    if proxy is None:
        return  # nobody is admitted while there is none
    try:
        served.ask_for_clients_of(proxy.authorities)
    except UnreadableError as error:
        _log.error("nobody can be admitted", extra={"reason": str(error)})


def main() -> int:
    """Reads the settings from the command line and runs until told to stop."""
    return run_program(read_settings, run)


if __name__ == "__main__":
    sys.exit(main())
