"""`python -m webhook`: the webhook as a process."""

import asyncio
import logging
import random
import sys
import time
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import uvloop
from pydantic import ValidationError

from spillover.core.matching import PolicyIndex
from spillover.core.nodes import NodeIndex
from spillover.kube.binding_keys import PolicyJudge
from spillover.kube.credentials import Credentials, CredentialsError
from spillover.kube.readiness import Readiness
from spillover.kube.session import ApiSession
from spillover.serving.health import health_app
from spillover.serving.http import serve
from spillover.serving.logs import set_up_logs
from spillover.serving.processes import run_together
from webhook.admitting import Admitting
from webhook.app import admission_app
from webhook.keeper import FileKeeper, Keeper, Place, Served
from webhook.keyring import Lives
from webhook.metrics import Metrics
from webhook.namespaces import Namespaces
from webhook.reviewing import Reviewing
from webhook.settings import Settings, read_settings
from webhook.watching import reflectors

_log = logging.getLogger(__name__)

DRAIN_SECONDS = 5.0
"""The API server waits no longer for an answer (timeoutSeconds)."""


async def run(settings: Settings) -> int:
    """Wires the parts together and runs them. Returns the process's exit status."""
    chance, clock = random.SystemRandom(), time.monotonic
    policies, namespaces = PolicyIndex(), Namespaces()
    nodes = NodeIndex(settings.conventions())
    served, judge = Served(), PolicyJudge()
    async with ApiSession(Credentials(settings.kubeconfig)) as session:
        watches = reflectors(
            session, policies, nodes, namespaces, judge, settings.namespace, chance, clock
        )
        metrics = Metrics(served.expires, watches)
        ready = Readiness(watches)
        app = admission_app(
            Admitting(policies, namespaces, settings.defaults(), settings.excluded_namespaces),
            Reviewing(policies, nodes, session, judge),
            ready,
            metrics,
        )

        def obstacle() -> str | None:
            return ready.obstacle() or (None if served.loaded.is_set() else "no certificate yet")

        return await run_together(
            {
                **{f"watch of {watch.path}": watch.run() for watch in watches},
                "certificates": _keeping(settings, session, served, chance),
                "admission": serve(
                    app,
                    settings.address,
                    settings.port,
                    drain_seconds=DRAIN_SECONDS,
                    tls=served.context,
                    when=served.loaded,
                ),
                "probes": serve(
                    health_app(obstacle, metrics.registry),
                    settings.health_address,
                    settings.health_port,
                ),
            }
        )


def _keeping(
    settings: Settings, session: ApiSession, served: Served, chance: random.Random
) -> Coroutine[Any, Any, None]:
    if settings.tls_cert_file is not None and settings.tls_key_file is not None:
        return FileKeeper(settings.tls_cert_file, settings.tls_key_file, served).run()
    place = Place(
        settings.namespace, settings.secret, tuple(settings.names), settings.configuration
    )
    lives = Lives(certificate=timedelta(hours=settings.certificate_hours))
    return Keeper(
        session, place, lives, served, time.monotonic, lambda: datetime.now(UTC), chance
    ).run()


def main() -> int:
    """Reads the settings from the command line and runs until told to stop."""
    try:
        settings = read_settings(sys.argv[1:])
    except ValidationError as error:
        for problem in error.errors():
            name = str((problem["loc"] or ("settings",))[0]).replace("_", "-")
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
