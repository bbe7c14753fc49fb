"""`python -m certificates`: the keeper of certificates. It listens on no port."""

import random
import sys
import time
from datetime import UTC, datetime, timedelta

from certificates.keeper import Keeper, SecretPlace
from certificates.keyring import Lives
from certificates.settings import Settings, read_settings
from spillover.kube.credentials import Credentials
from spillover.kube.programs import run_program
from spillover.kube.session import ApiSession
from spillover.serving.processes import run_together


async def run(settings: Settings) -> int:
    """Returns the process's exit status."""
    place = SecretPlace(
        settings.namespace,
        settings.secret,
        tuple(settings.names),
        settings.configuration,
        tuple(settings.api_services),
    )
    lives = Lives(certificate=timedelta(hours=settings.certificate_hours))
    async with ApiSession(Credentials(settings.kubeconfig)) as session:
        keeper = Keeper(
            session, place, lives, time.monotonic, lambda: datetime.now(UTC), random.SystemRandom()
        )
        return await run_together({"certificates": keeper.run()})


def main() -> int:
    """Reads the settings from the command line and runs until told to stop."""
    return run_program(read_settings, run)


if __name__ == "__main__":
    sys.exit(main())
