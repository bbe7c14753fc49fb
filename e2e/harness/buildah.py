"""Building images with buildah, in a storage of our own: nobody else's images are touched."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.client import ClusterError
from harness.node.host import search_path
from harness.places import cache

_BUILD_SECONDS = 1200
_SHORT_SECONDS = 300
_MOST_IMAGES = 60
EPOCH = 315532800
"""The time that files and images carry, in seconds since 1970: the same in every build."""

_MACHINE_FILES = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
"""How this machine reaches package registries. They are mounted while a build runs, and never in
the image."""


def _command() -> list[str]:
    storage = cache() / "buildah"
    return [
        "buildah",
        f"--root={storage / 'root'}",
        f"--runroot={storage / 'run'}",
        "--storage-driver=overlay",
    ]


def _run(*arguments: str, seconds: int = _SHORT_SECONDS) -> str:
    """Its output. Raises ClusterError with what it said when it fails."""
    ended = subprocess.run(
        [*_command(), *arguments],
        env={**os.environ, "PATH": search_path()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if ended.returncode:
        tail = "\n".join([*ended.stdout.splitlines()[-20:], ended.stderr.strip()])
        raise ClusterError(f"buildah {' '.join(arguments)}:\n{tail}")
    return ended.stdout


def build(
    context: Path,
    tag: str,
    *,
    dockerfile: Path,
    arguments: Mapping[str, str] = {},
    fresh: bool = False,
) -> str:
    """Builds a Dockerfile and returns the image's id. Steps that are the same as in an earlier
    build are not run again, unless `fresh`."""
    command = ["bud", "--isolation=chroot", "--network=host", "--pull-never", f"--tag={tag}"]
    command += [f"--timestamp={EPOCH}", "--layers", *(["--no-cache"] if fresh else [])]
    for file in _MACHINE_FILES:
        if Path(file).is_file():
            command.append(f"--volume={file}:{file}:ro")
    for name, value in arguments.items():
        command.append(f"--build-arg={name}={value}")
    command += [f"--file={dockerfile}", str(context)]
    _run(*command, seconds=_BUILD_SECONDS)
    return image_id(tag)


def image_id(tag: str) -> str:
    return _run("inspect", "--type=image", "--format={{.FromImageID}}", tag).strip()


def exists(tag: str) -> bool:
    found = json.loads(_run("images", "--json") or "[]") or []
    return any(tag in (image.get("names") or ()) for image in found)


def configuration(tag: str) -> dict[str, Any]:
    """What the image says of how to run it, as the OCI specification names the fields."""
    found: dict[str, Any] = json.loads(_run("inspect", "--type=image", tag))["OCIv1"]["config"]
    return found


def prune() -> None:
    """Removes what steps have left, when it has become much: several hundred MB for each change."""
    if len(_run("images", "--all", "--quiet").splitlines()) > _MOST_IMAGES:
        _run("rmi", "--prune", "--force")


def make(tag: str, archive: Path, *, settings: Sequence[str] = ()) -> None:
    """An image of the files in a tar archive, with settings as `buildah config` takes them."""
    container = _run("from", "scratch").strip()
    try:
        _run("add", "--quiet", container, str(archive), "/", seconds=_BUILD_SECONDS)
        if settings:
            _run("config", *settings, container)
        _run("commit", "--quiet", f"--timestamp={EPOCH}", container, tag, seconds=_BUILD_SECONDS)
    finally:
        _run("rm", container)


def pack(folder: Path, archive: Path) -> None:
    """A tar archive of all that is in a folder."""
    tar = ["tar", "--numeric-owner", f"--mtime=@{EPOCH}", "--sort=name"]
    subprocess.run(
        [*tar, "-C", str(folder), "-cf", str(archive), "."], check=True, timeout=_BUILD_SECONDS
    )


def export(tag: str, archive: Path, name: str) -> None:
    """Writes an image to a file that container runtimes load, under this name."""
    unfinished = archive.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    _run("push", "--quiet", tag, f"docker-archive:{unfinished}:{name}", seconds=_BUILD_SECONDS)
    unfinished.rename(archive)
