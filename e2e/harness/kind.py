"""A cluster by kind, where there is Docker, or podman with a node image."""

import os
import shutil
import subprocess
from pathlib import Path

from harness.build import control_plane, kind_tools
from harness.client import Client, ClusterError
from harness.node.control import KWOK_ARGUMENTS, KWOK_STAGES
from harness.places import ROOT

CONFIGURATION = ROOT / "e2e" / "kind" / "cluster.yaml"
_UP_SECONDS = 900
_SHORT_SECONDS = 300


def obstacle() -> str | None:
    """Why there can be no kind cluster here, in a sentence, or None."""
    if _answers("docker", "version"):
        return None
    if shutil.which("podman") is None:
        return "kind needs Docker or podman: neither answers here"
    found = subprocess.run(
        ["podman", "images", "--quiet", "--filter=reference=*kindest/node*"],  # noqa: S607 - any
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if found.stdout.strip():
        return None
    return "kind needs Docker, which does not answer here, or podman with a kindest/node image"


class KindCluster(Client):
    """One cluster by name. `folder` is for its kubeconfig and logs."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(folder / "kubeconfig", folder / "kubectl")
        self.name = name
        self.node = f"{name}-control-plane"
        self._folder = folder
        self._kwok: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        """Starts it, and what keeps simulated nodes. What is half up after an error is removed."""
        try:
            self._kind("create", "cluster", f"--config={CONFIGURATION}",
                       f"--kubeconfig={self.kubeconfig}", "--wait=180s",
                       seconds=_UP_SECONDS)  # fmt: skip
            words = [control_plane().binary("kwok"), f"--kubeconfig={self.kubeconfig}"]
            words += [f"--config={KWOK_STAGES}", *KWOK_ARGUMENTS]
            with (self._folder / "kwok.log").open("w") as log:
                self._kwok = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
        except BaseException:
            self.down()
            raise

    def load(self, tag: str) -> None:
        """Brings an image of the container engine to the node."""
        if _answers("docker", "version"):
            self._kind("load", "docker-image", tag)
            return
        archive = self._folder / "image.tar"
        subprocess.run(
            ["podman", "save", f"--output={archive}", tag],  # noqa: S607 - any
            check=True,
            timeout=_SHORT_SECONDS,
        )
        self._kind("load", "image-archive", str(archive))

    def down(self) -> None:
        """Removes it, in whatever state it is."""
        if self._kwok is not None:
            self._kwok.terminate()
            self._kwok.wait(timeout=30)
        self._kind("delete", "cluster")

    def _kind(self, *words: str, seconds: int = _SHORT_SECONDS) -> None:
        environment = dict(os.environ)
        if not _answers("docker", "version"):
            environment["KIND_EXPERIMENTAL_PROVIDER"] = "podman"
        ended = subprocess.run(
            [kind_tools().binary("kind"), *words, f"--name={self.name}"],
            cwd=ROOT,  # the configuration names files of the checkout
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if ended.returncode:
            raise ClusterError(f"kind {' '.join(words)}: {ended.stderr.strip()}")


def _answers(*words: str) -> bool:
    try:
        ended = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0
