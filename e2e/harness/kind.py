"""A cluster by kind, where there is Docker, or podman with a node image."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from harness.build import control_plane, kind_tools
from harness.client import Client, ClusterError
from harness.node.control import KWOK_ARGUMENTS, KWOK_STAGES
from harness.places import ROOT, cache
from harness.programs import answers

CONFIGURATION = ROOT / "e2e" / "kind" / "cluster.yaml"
_UP_SECONDS = 900
_SHORT_SECONDS = 300


def obstacle() -> str | None:
    """Why there can be no kind cluster here, in a sentence, or None."""
    if answers("docker", "version"):
        return None
    if shutil.which("podman") is None:
        return "kind needs Docker, which does not answer here, or podman, which is not installed"
    if answers("podman", "image", "exists", node_image()):
        return None
    return f"kind needs Docker, which does not answer here, or podman with the image {node_image()}"


def node_image() -> str:
    """That of the configuration, by digest."""
    (node,) = yaml.safe_load(CONFIGURATION.read_text())["nodes"]
    return str(node["image"])


def marker(name: str) -> Path:
    """A file while there is such a cluster: what a killed run has left is found by it."""
    return cache() / "kind" / name


def remove_left(prefix: str) -> None:
    """Clusters whose names begin so, of a run that was killed."""
    for file in marker(prefix).parent.glob(f"{prefix}*"):
        KindCluster(file.name, file.parent).down()


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
        marker(self.name).parent.mkdir(parents=True, exist_ok=True)
        marker(self.name).touch()
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
            self._check_scheduler()
        except BaseException:
            self.down()
            raise

    def load(self, tag: str) -> None:
        """Brings an image of the container engine to the node."""
        if answers("docker", "version"):
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
        try:
            if self._kwok is not None:
                self._kwok.kill()
                self._kwok.wait(timeout=30)
        finally:
            self._kind("delete", "cluster")
            marker(self.name).unlink(missing_ok=True)

    def keep_logs(self) -> None:
        """All that kind can export, outside the folder that is about to go."""
        saved = cache() / "failed" / self.name
        shutil.rmtree(saved, ignore_errors=True)
        self._kind("export", "logs", str(saved))
        print(f"logs of the kind cluster: {saved}", file=sys.stderr)

    def _check_scheduler(self) -> None:
        """kind leaves out a patch that fits no document, without a word."""
        pods = self.items("pods", "-n", "kube-system", "-l", "component=kube-scheduler")
        words = [word for pod in pods for word in pod["spec"]["containers"][0]["command"]]
        if not any(word.startswith("--config=") for word in words):
            raise ClusterError("the cluster's own scheduler was not given its configuration")

    def _kind(self, *words: str, seconds: int = _SHORT_SECONDS) -> None:
        environment = dict(os.environ)
        if not answers("docker", "version"):
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
