"""kubectl on a cluster, whoever made it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from harness.build import control_plane

Object = dict[str, Any]


class ClusterError(Exception):
    """Something about a cluster that its user should read."""


def environment() -> dict[str, str]:
    """For kubectl: clusters are on this machine, whatever proxy it uses for others."""
    return {name: text for name, text in os.environ.items() if not name.lower().endswith("_proxy")}


class Client:
    """`cache` is a folder for what kubectl remembers of the API server."""

    def __init__(self, kubeconfig: Path, cache: Path) -> None:
        self.kubeconfig = kubeconfig
        self._cache = cache

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True, seconds: float = 120
    ) -> str:
        """kubectl's output. Raises ClusterError with what it said when it fails, and
        subprocess.TimeoutExpired."""
        ended = subprocess.run(
            [*self.kubectl_command(), *arguments],
            env=environment(),
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if check and ended.returncode:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {ended.stderr.strip()}")
        return ended.stdout

    def kubectl_command(self) -> list[str]:
        return [
            control_plane().binary("kubectl"),
            f"--kubeconfig={self.kubeconfig}",
            f"--cache-dir={self._cache}",
        ]

    def apply(self, *objects: Object) -> None:
        """Server-side apply."""
        self.kubectl(
            "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=_documents(objects)
        )

    def create(self, *objects: Object) -> None:
        self.kubectl("create", "-f", "-", stdin=_documents(objects))

    def add_nodes(self, *nodes: Object) -> None:
        """Creates nodes, and returns when those that kwok keeps are Ready."""
        if not nodes:
            return
        self.create(*nodes)
        kept = [
            node["metadata"]["name"]
            for node in nodes
            if "kwok.x-k8s.io/node" in node["metadata"].get("annotations", {})
        ]
        if kept:
            self.kubectl("wait", "--for=condition=Ready", "node", *kept, "--timeout=60s")

    def items(self, kind: str, *arguments: str) -> list[Object]:
        """All objects of a kind."""
        found: list[Object] = json.loads(self.kubectl("get", kind, "-o", "json", *arguments))[
            "items"
        ]
        return found


def _documents(objects: tuple[Object, ...]) -> str:
    return yaml.safe_dump_all(objects)
