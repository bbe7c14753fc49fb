"""The clock that leases are measured on."""

import time
from collections.abc import Callable


def boot_clock() -> Callable[[], float]:
    """Seconds on a clock that never goes back, and that runs on while the machine sleeps: another
    replica's Lease does too. Where the system has no such clock, the monotonic one."""
    clock_id = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return lambda: time.clock_gettime(clock_id)
