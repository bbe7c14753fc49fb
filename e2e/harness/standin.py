"""A base image made of Debian's packages, where no registry with python:3.13-slim can be reached.

It has what that image has: Debian, and a Python 3.13 with venv and pip. Its folder is also where
the tests run on the image's Python, without a container.
"""

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from harness import buildah
from harness.client import ClusterError
from harness.locks import exclusive
from harness.node.host import search_path
from harness.places import cache

_VERSION = "2"
"""Another one for each change of what is done to Debian's packages below."""
_SUITE = "trixie"
_PACKAGES = ("ca-certificates", "python3-pip", "python3.13", "python3.13-venv")
_SECONDS = 1200
PYTHON = "/usr/bin/python3.13"


def folder() -> Path:
    """Its root file system, made if it is not there yet. Raises ClusterError."""
    return _made().joinpath("root")


def image() -> str:
    """Its name in buildah's storage. Raises ClusterError."""
    made = _made()
    tag = f"localhost/spillover-base:{made.name}"
    with exclusive(cache() / "base.lock"):
        if not buildah.exists(tag):
            with tempfile.TemporaryDirectory(dir=made) as place:
                archive = Path(place) / "base.tar"
                buildah.pack(made / "root", archive)
                buildah.make(tag, archive)
    return tag


def _made() -> Path:
    key = hashlib.sha256(" ".join((_VERSION, _SUITE, *_PACKAGES)).encode()).hexdigest()[:16]
    place = cache() / "base" / key
    if not (place / "complete").exists():
        with exclusive(cache() / "base.lock"):
            if not (place / "complete").exists():
                place.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(dir=place, prefix="unfinished-") as unfinished:
                    _make(Path(unfinished) / "root")
                    (Path(unfinished) / "root").rename(place / "root")
                (place / "complete").touch()
    return place


def _make(root: Path) -> None:
    # It mounts /proc and /sys below the root: in namespaces of its own nothing stays mounted.
    command = ["unshare", "--mount", "--pid", "--propagation=private", "--fork", "--kill-child"]
    command += ["debootstrap", "--variant=minbase", "--force-check-gpg"]
    command += [f"--include={','.join(_PACKAGES)}", _SUITE, str(root), *_mirror()]
    with tempfile.TemporaryFile("w+") as log:
        ended = subprocess.run(
            command,
            env={**os.environ, "PATH": search_path()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            timeout=_SECONDS,
            check=False,
        )
        if ended.returncode:
            log.seek(0)
            raise ClusterError("debootstrap:\n" + "".join(log.readlines()[-20:]))
    # Debian keeps pip out of its own Python. The official image has its own pip for it.
    for file in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        file.unlink()
    # The official image has these names too.
    for name in ("python", "python3"):
        (root / "usr" / "local" / "bin" / name).symlink_to(PYTHON)
    # Nor has the official image byte code of the standard library.
    for pattern in ("usr/lib/python3*/**/*.pyc", "var/cache/apt/archives/*.deb"):
        for file in root.glob(pattern):
            file.unlink()


def _mirror() -> list[str]:
    """Where apt of this machine gets Debian from. Without an answer, debootstrap's own default."""
    asked = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(LABEL)", "Created-By: Packages"],  # noqa: S607
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = [line.removesuffix(" Debian") for line in asked.stdout.splitlines()]
    labelled = [
        uri for uri, line in zip(found, asked.stdout.splitlines(), strict=True) if uri != line
    ]
    return labelled[:1]
