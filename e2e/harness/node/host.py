"""What this machine must have for a real node, and what is missing."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from harness.places import ROOT

PACKAGES = ROOT / "requirements" / "debian.txt"
CNI_PROGRAMS = Path("/usr/lib/cni")
_PROGRAMS = (
    "buildah",
    "catatonit",
    "containerd",
    "ctr",
    "debootstrap",
    "ip",
    "iptables",
    "mount",
    "nft",
    "nsenter",
    "runc",
    "unshare",
)
_PLUGINS = ("bridge", "host-local", "loopback")


def obstacle() -> str | None:
    """Why there can be no real node here, in a sentence, or None."""
    if os.getuid() != 0:
        return "a real node needs root"
    missing = [name for name in _PROGRAMS if shutil.which(name, path=search_path()) is None]
    missing += [f"CNI plugin {name}" for name in _PLUGINS if not (CNI_PROGRAMS / name).exists()]
    if missing:
        packages = " ".join(packages_wanted())
        return (
            f"a real node needs {', '.join(missing)}; on Debian 12:"
            f" apt-get install --no-install-recommends {packages}"
        )
    return _tried()


_TRIAL = """
set -e
mount -t tmpfs trial /mnt
mkdir /mnt/lower /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
group=$(ls -d /sys/fs/cgroup/memory /sys/fs/cgroup 2>/dev/null | head -n 1)/spillover-trial-$1
mkdir "$group"
rmdir "$group"
"""


@cache
def _tried() -> str | None:
    """Root in a container may have all programs, and no right to namespaces, mounts and groups."""
    command = ["unshare", "--mount", "--net", "--pid", "--uts", "--fork", "--propagation=private"]
    command += ["sh", "-c", _TRIAL, "sh", str(os.getpid())]
    tried = subprocess.run(
        command,
        env={"PATH": search_path()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if tried.returncode:
        return f"a real node needs namespaces, mounts and control groups: {tried.stderr.strip()}"
    return None


def packages_wanted() -> list[str]:
    """Names of Debian packages."""
    lines = (line.partition("#")[0].strip() for line in PACKAGES.read_text().splitlines())
    return [line for line in lines if line]


def search_path() -> str:
    """Programs of the system administrator are not always in a user's PATH."""
    return f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
