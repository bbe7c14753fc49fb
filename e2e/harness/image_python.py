"""The tests on the image's Python: ./dev itself, in the root file system of the image's base.

No container: a change of root in a mount namespace, so that processes, network and the caches are
the machine's. The base stays as it is; what is written to it goes with the namespace.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

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


SKIPPED = 77
"""The exit status where there can be no such environment."""


def run(arguments: Sequence[str]) -> int:
    """Becomes `./dev ARGUMENTS` on the image's Python. Returns only where it cannot."""
    if reason := host.obstacle():
        print(f"not on the image's Python: {reason}", file=sys.stderr)
        return SKIPPED
    return _become(arguments)


def _become(arguments: Sequence[str]) -> NoReturn:
    place = cache() / "image-python"
    place.mkdir(parents=True, exist_ok=True)
    command = ["unshare", "--mount", "--propagation=private", "sh", "-c", _SCRIPT, "sh"]
    command += [str(standin.folder()), str(place), *map(str, _shared()), "--"]
    command += [standin.PYTHON, str(ROOT / "dev"), *arguments]
    environment = {name: value for name, value in os.environ.items() if name[:6] != "PYTHON"}
    environment |= {"PATH": host.search_path(), "SPILLOVER_VENV": ENVIRONMENT}
    # In our place: Ctrl-C reaches pytest, which has the time to take its clusters down.
    os.execvpe("unshare", command, environment)  # noqa: S607 - any


def _shared() -> list[Path]:
    """What the base sees of the machine, by the same paths."""
    wanted = [Path(each) for each in ("/dev", "/proc", "/sys", "/tmp")]  # noqa: S108 - the machine's
    wanted += [ROOT, cache(), Path.home() / ".cache" / "pip"]
    wanted += [Path(each) for each in ("/etc/hosts", "/etc/resolv.conf", "/etc/pip.conf")]
    wanted += [Path("/etc/ssl/certs")]  # the authorities that this machine trusts
    if links := os.environ.get("PIP_FIND_LINKS"):
        wanted += [Path(each) for each in links.split()]
    return [each for each in wanted if each.exists()]
