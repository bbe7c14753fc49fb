"""Finding and ending the processes of a cluster. They are known by a mark in their environment,
which every process inherits from the one that started it: none is missed after a crash, and none of
anybody else's is ended."""

import os
import signal
import time
from pathlib import Path

MARK = "SPILLOVER_CLUSTER"
_KILL_SECONDS = 10.0


def marked(folder: Path) -> dict[str, str]:
    """The environment for processes of the cluster in `folder`."""
    return {**os.environ, MARK: str(folder)}


def find(folder: Path) -> list[int]:
    """Ids of the live processes of the cluster in `folder`."""
    wanted = f"{MARK}={folder}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:  # ended meanwhile, or somebody else's
            continue
        if wanted in environment.split(b"\0"):
            found.append(int(entry.name))
    return found


def command(process: int) -> list[str]:
    """The words that a process was started with."""
    return Path(f"/proc/{process}/cmdline").read_bytes().decode().split("\0")[:-1]


def program(process: int) -> str:
    """The first word; an empty one for a process that has ended."""
    try:
        return next(iter(command(process)), "")
    except OSError:
        return ""


def used_seconds(process: int) -> float:
    """Seconds of a core that the process has used so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(process: int) -> float:
    """MiB of memory that the process has now."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return int(kib) / 1024


def is_alive(process: int) -> bool:
    """Whether any of its threads runs; one that nobody has waited for yet does not. After SIGKILL
    the first thread may be a zombie while others still hold the sockets open."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    state, threads = fields[0], int(fields[17])  # the zombie counts as one
    return state != "Z" or threads > 1


def end_all(folder: Path) -> None:
    """Kills every process of the cluster and waits until they are gone."""
    deadline = time.monotonic() + _KILL_SECONDS
    while ids := find(folder):
        for process in ids:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {ids} of {folder} do not end")
        time.sleep(0.05)
