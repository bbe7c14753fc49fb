"""Other people's programs on this machine."""

import subprocess

_SECONDS = 30


def answers(*words: str) -> bool:
    """Whether a command is there and ends well."""
    try:
        ended = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0
