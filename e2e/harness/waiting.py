"""Waiting for a condition."""

import time
from collections.abc import Callable


def until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Returns how many seconds it took. Raises TimeoutError, which says `what`."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.1)
    return time.monotonic() - started
