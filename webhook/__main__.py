"""`python -m webhook`: the webhook as a process."""

import random
import sys
import time
from functools import partial

from spillover.core.cache.policy_index import PolicyIndex
from spillover.core.model.nodes import NodeIndex
from spillover.kube.binding_keys import PolicyJudge
from spillover.kube.credentials import Credentials
from spillover.kube.programs import run_program
from spillover.kube.readiness import SYNC_SECONDS, Readiness
from spillover.kube.session import ApiSession
from spillover.serving.certificates import CertificateFiles, Served
from spillover.serving.garbage import freeze_when
from spillover.serving.health import Health, serve_health
from spillover.serving.http import serve
from spillover.serving.processes import run_together
from webhook.admitting import Admitting
from webhook.app import admission_app
from webhook.crowded import CrowdedNamespaces
from webhook.metrics import Metrics
from webhook.namespaces import Namespaces
from webhook.reviewing import Reviewing
from webhook.settings import Settings, read_settings
from webhook.watching import reflectors
from webhook.workloads import WorkloadReader

DRAIN_SECONDS = 5.0
"""The timeoutSeconds of the configurations: the API server does not wait longer for an answer."""


async def run(settings: Settings) -> int:
    """Wires the parts together and runs them. Returns the process's exit status."""
    chance, clock = random.SystemRandom(), time.monotonic
    policies, namespaces, crowded = PolicyIndex(), Namespaces(), CrowdedNamespaces(clock)
    nodes = NodeIndex(settings.conventions())
    served, judge = Served(), PolicyJudge()
    if settings.client_ca_file is not None:
        served.require_clients_of(settings.client_ca_file)
    async with ApiSession(Credentials(settings.kubeconfig)) as session:
        watches = reflectors(
            session, policies, nodes, namespaces, crowded, judge, settings.namespace, chance, clock
        )
        metrics = Metrics(served.expires, watches)
        ready = Readiness(watches)
        app = admission_app(
            Admitting(
                policies, namespaces, crowded, settings.defaults(), settings.excluded_namespaces
            ),
            Reviewing(policies, nodes, judge, WorkloadReader(session).of_namespace),
            ready,
            metrics,
            settings.client_names,
        )

        def obstacle() -> str | None:
            return ready.obstacle() or (None if served.loaded.is_set() else "no certificate yet")

        return await run_together(
            {
                **{f"watch of {watch.path}": watch.run() for watch in watches},
                "certificate": CertificateFiles(
                    settings.tls_cert_file, settings.tls_key_file, served
                ).run(),
                "admission": serve(
                    app,
                    settings.address,
                    settings.port,
                    drain_seconds=DRAIN_SECONDS,
                    tls=served.context,
                    when=served.loaded,
                ),
                "garbage": freeze_when(partial(ready.synced, SYNC_SECONDS)),
                "probes": serve_health(
                    Health(obstacle, metrics.registry),
                    settings.health_address,
                    settings.health_port,
                ),
            }
        )


def main() -> int:
    """Reads the settings from the command line and runs until told to stop."""
    return run_program(read_settings, run)


if __name__ == "__main__":
    sys.exit(main())
