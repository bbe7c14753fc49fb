"""A service as a program: settings from the command line, logs, an event loop, an exit status."""

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

import uvloop
from pydantic import ValidationError

from spillover.kube.credentials import CredentialsError
from spillover.serving.logs import set_up_logs

_log = logging.getLogger(__name__)


class _Settings(Protocol):
    @property
    def log_level(self) -> str: ...


S = TypeVar("S", bound=_Settings)


def run_program(
    read: Callable[[list[str]], S],
    run: Callable[[S], Coroutine[Any, Any, int]],
    arguments: Sequence[str] | None = None,
) -> int:
    """Reads the settings from the command line and runs the service until the process is told to
    stop. `arguments` are those of the command line; default: those of this process. Returns the
    exit status of `run`, 1 if the credentials cannot be read, or 2 for wrong settings. Each wrong
    setting is named on standard error."""
    try:
        settings = read(list(sys.argv[1:] if arguments is None else arguments))
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
