"""The tests on the image's Python: ./dev itself, in the root file system of the image's base.

No container: a change of root in a mount namespace, so that processes, network and the caches are
the machine's. The base stays as it is; what is written to it goes with the namespace.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import standin
from harness.node import host
from harness.places import ROOT, cache

ENVIRONMENT = ".venv-image"
"""In the checkout, beside .venv."""

_SCRIPT = """
set -e
base=$1; place=$2; shift 2
mount -t tmpfs -o mode=755 image-python "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay -o "lowerdir=$base,upperdir=$place/upper,workdir=$place/work" overlay "$place/root"
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then
        mkdir -p "$place/root$1"
    else
        mkdir -p "$(dirname "$place/root$1")"
        touch "$place/root$1"
    fi
    mount --rbind "$1" "$place/root$1"
    shift
done
shift
cd "$place/root"
exec chroot . "$@"
"""


def run(arguments: Sequence[str]) -> int:
    """`./dev ARGUMENTS` on the image's Python. Returns its exit status."""
    if reason := host.obstacle():
        print(f"skipped on the image's Python: {reason}", file=sys.stderr)
        return 0
    place = cache() / "image-python"
    place.mkdir(parents=True, exist_ok=True)
    command = ["unshare", "--mount", "--propagation=private", "sh", "-c", _SCRIPT, "sh"]
    command += [str(standin.folder()), str(place), *map(str, _shared()), "--"]
    command += [standin.PYTHON, str(ROOT / "dev"), *arguments]
    environment = {name: value for name, value in os.environ.items() if name[:6] != "PYTHON"}
    environment |= {"PATH": host.search_path(), "SPILLOVER_VENV": ENVIRONMENT}
    return subprocess.run(command, env=environment, check=False).returncode


def _shared() -> list[Path]:
    """What the base sees of the machine, by the same paths."""
    wanted = [Path(each) for each in ("/dev", "/proc", "/sys", "/tmp")]  # noqa: S108 - the machine's
    wanted += [ROOT, ROOT.parent / "shared", cache(), Path.home() / ".cache" / "pip"]
    wanted += [Path(each) for each in ("/etc/hosts", "/etc/resolv.conf", "/etc/pip.conf")]
    wanted += [Path("/etc/ssl/certs")]  # the authorities that this machine trusts
    if links := os.environ.get("PIP_FIND_LINKS"):
        wanted += [Path(each) for each in links.split()]
    return [each for each in wanted if each.exists()]
