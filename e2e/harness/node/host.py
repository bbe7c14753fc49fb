"""What this machine must have for a real node, and what is missing."""

import os
import shutil
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
    if not Path("/sys/fs/cgroup").is_dir():
        return "a real node needs cgroups in /sys/fs/cgroup"
    return None


def packages_wanted() -> list[str]:
    """Names of Debian packages."""
    lines = (line.partition("#")[0].strip() for line in PACKAGES.read_text().splitlines())
    return [line for line in lines if line]


def search_path() -> str:
    """Programs of the system administrator are not always in a user's PATH."""
    return f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
