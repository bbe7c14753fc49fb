"""One process at a time, across processes."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(file: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds a lock on `file`. Calls `waiting` once if another process has it. The lock goes with
    the process, so a crash leaves none behind."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
