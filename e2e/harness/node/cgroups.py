"""The control groups of one node, below a group of its own, and their removal."""

import time
from hashlib import blake2b
from pathlib import Path

from harness.places import cache

_ROOT = Path("/sys/fs/cgroup")
_SECONDS = 20.0


def make(name: str) -> str:
    """Makes the group in every hierarchy. Returns its path, as the kubelet takes it."""
    for hierarchy in _hierarchies():
        group = hierarchy / _group(name)
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # version 1: a new group has none
            if (group / setting).exists() and not (group / setting).read_text().strip():
                (group / setting).write_text((hierarchy / setting).read_text())
    if _is_unified():
        group = _ROOT / _group(name)
        for controller in (group / "cgroup.controllers").read_text().split():
            (group / "cgroup.subtree_control").write_text(f"+{controller}")
    return f"/{_group(name)}"


def remove(name: str) -> None:
    """Of a node whose processes have ended."""
    deadline = time.monotonic() + _SECONDS
    while not all(_removed(hierarchy / _group(name)) for hierarchy in _hierarchies()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"control group {_group(name)} is still in use")
        time.sleep(0.05)


def cpu_seconds(name: str, container_id: str) -> float:
    """What a container has used so far."""
    for file in _files(name, container_id, "cpuacct.usage"):
        return int(file.read_text()) / 1e9
    for file in _files(name, container_id, "cpu.stat"):
        for line in file.read_text().splitlines():
            if line.startswith("usage_usec "):
                return int(line.split()[1]) / 1e6
    raise FileNotFoundError(f"no control group of {container_id}")


def _files(name: str, container_id: str, file: str) -> list[Path]:
    found: list[Path] = []
    for hierarchy in _hierarchies():
        found += (hierarchy / _group(name)).glob(f"**/{container_id}/{file}")
    return found


def _removed(group: Path) -> bool:
    if not group.exists():
        return True
    below = sorted((each for each in group.rglob("*") if each.is_dir()), reverse=True)
    try:
        for each in (*below, group):
            each.rmdir()
    except OSError:  # the kernel has not cleared a process that has ended
        return False
    return True


def _group(name: str) -> str:
    """Of one cluster, whoever else has one of the same name in another cache folder."""
    place = blake2b(str(cache()).encode(), digest_size=4).hexdigest()
    return f"spillover-{name}-{place}"


def _is_unified() -> bool:
    return (_ROOT / "cgroup.controllers").exists()


def _hierarchies() -> list[Path]:
    if _is_unified():
        return [_ROOT]
    # Some are links to others, such as cpu to cpu,cpuacct. One of version 2 may be among them.
    found = {each.resolve() for each in _ROOT.iterdir() if (each / "cgroup.procs").exists()}
    return sorted(found)
