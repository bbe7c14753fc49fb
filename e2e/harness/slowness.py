"""How slow this machine is now, so that limits on times in tests can follow."""

import subprocess
import sys
import time

_REFERENCE_SECONDS = 0.6
"""What `_WORK` takes on each of two idle cores of a server processor of 2023."""
_WORK = "import hashlib; [hashlib.sha256(bytes(1 << 20)).digest() for _ in range({})]"
_ROUNDS = 700
_LEAST, _MOST = 2.0, 5.0
"""What others do on the machine later is not known; and a limit must stay one."""


def factor() -> float:
    """By how much limits on times are to be multiplied. Keeps two cores busy for about a second."""
    begun = time.monotonic()
    work = [sys.executable, "-c", _WORK.format(_ROUNDS)]
    running = [subprocess.Popen(work) for _ in range(2)]
    try:
        for process in running:
            if process.wait(timeout=60):
                raise RuntimeError(f"{work} ended with {process.returncode}")
    finally:
        for process in running:
            process.kill()
            process.wait()
    slowness = (time.monotonic() - begun) / _REFERENCE_SECONDS
    found = min(_MOST, _LEAST * max(1.0, slowness))
    print(
        f"limits on times are multiplied by {found:.1f}: the machine is {slowness:.1f} times slower"
    )
    return found
