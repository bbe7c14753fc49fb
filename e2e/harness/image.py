"""The image of Spillover, from the Dockerfile as it is, with the builder that this machine has."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from harness import buildah, standin
from harness.client import ClusterError
from harness.locks import exclusive
from harness.node import host
from harness.places import ROOT, cache
from harness.programs import answers

NAME = "spillover"
DOCKERFILE = ROOT / "Dockerfile"
STAND_IN = "stand-in"
"""In place of a base image's name: one made of Debian's packages, see harness/standin.py."""

_BUILDERS = ("docker", "podman", "buildah")
_BUILD_SECONDS = 1800
_KEPT = 8


def version() -> str:
    """Of Spillover, as in pyproject.toml."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def default_tag() -> str:
    """As in manifests/."""
    return f"{NAME}:{version()}"


def build(tag: str, base: str) -> str:
    """Builds the image and returns its id. `base` is empty for the one that the Dockerfile names.
    What the builder says goes to standard error. Raises ClusterError."""
    if base == STAND_IN:
        if reason := host.obstacle():
            raise ClusterError(f"--base {STAND_IN}: {reason}")
        return build_here(tag)
    builder = find_builder()
    ended = subprocess.run(
        command(builder, tag, base),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        timeout=_BUILD_SECONDS,
        check=False,
    )
    if ended.returncode:
        raise ClusterError(f"{builder} could not build the image")
    return _id(builder, tag)


def command(builder: str, tag: str, base: str) -> list[str]:
    """What builds the image: with podman and buildah, twice with the same id."""
    command = [builder, "build", f"--tag={tag}"]
    if base:
        command.append(f"--build-arg=BASE={base}")
    if builder != "docker":
        command.append(f"--timestamp={buildah.EPOCH}")
    return [*command, "."]


def find_builder() -> str:
    """The first that is there and can build. A docker without an engine cannot."""
    reasons = []
    for name in _BUILDERS:
        if shutil.which(name) is None:
            reasons.append(f"{name} is not installed")
        elif name == "docker" and not answers(name, "version"):
            reasons.append("docker has no engine that answers")
        else:
            return name
    raise ClusterError(f"nothing here can build an image: {', '.join(reasons)}")


def build_here(tag: str, *, dockerfile: Path = DOCKERFILE, fresh: bool = False) -> str:
    """Likewise, on the base made of Debian's packages. `fresh`: nothing that an earlier build has
    made is used."""
    with exclusive(cache() / "image.lock"):
        buildah.prune()
        return buildah.build(
            ROOT,
            _local(tag),
            dockerfile=dockerfile,
            arguments={"BASE": standin.image()},
            fresh=fresh,
        )


def exported(tag: str) -> Path:
    """A file that container runtimes load, with an image that `build_here` has made."""
    with exclusive(cache() / "image.lock"):
        identity = buildah.image_id(_local(tag))
        safe = re.sub(r"[^a-z0-9.]", "-", tag)
        file = cache() / "images" / f"{identity[:16]}-{safe}.tar"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            name = tag if "/" in tag else f"docker.io/library/{tag}"
            buildah.export(identity, file, name)
        file.touch()
        _keep_newest(file.parent)
    return file


def _local(tag: str) -> str:
    """buildah takes a name without a host for one of a registry."""
    return tag if "/" in tag else f"localhost/{tag}"


def _keep_newest(folder: Path) -> None:
    """An image is 350 MB: of earlier ones a few are enough."""
    for left in folder.glob("*.unfinished"):
        left.unlink()
    files = sorted(folder.glob("*.tar"), key=lambda file: file.stat().st_mtime)
    for file in files[:-_KEPT]:
        file.unlink()


def _id(builder: str, tag: str) -> str:
    words = {
        "docker": ["docker", "image", "inspect", "--format={{.Id}}", tag],
        "podman": ["podman", "image", "inspect", "--format={{.Id}}", tag],
        "buildah": ["buildah", "inspect", "--type=image", "--format={{.FromImageID}}", tag],
    }[builder]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if ended.returncode:
        raise ClusterError(f"{' '.join(words)}: {ended.stderr.strip()}")
    return ended.stdout.strip()
