"""The clock for the times of Leases."""

import time
from collections.abc import Callable


def boot_clock() -> Callable[[], float]:
    """Returns a clock in seconds that never goes back and that also runs while the machine sleeps:
    the Lease of another replica runs then too. If the system has no such clock, returns the
    monotonic clock."""
    clock_id = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return lambda: time.clock_gettime(clock_id)
