"""The schedulers that a benchmark compares, each on a real API server: kube-scheduler alone, with
the least extender, and with Spillover."""

import shutil
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from signal import SIGTERM
from typing import Any, Protocol

import yaml

from harness import processes
from harness.build import control_plane, passthrough
from harness.cluster import Cluster
from harness.containers import Container
from harness.places import MANIFESTS
from harness.waiting import until

Object = dict[str, Any]

SCHEDULER = "spillover-scheduler"
OTHER = "benchmarked"
"""The name in the profile of the others."""
_SECONDS = 30


class Contender(Protocol):
    """`name` tells it from others. `scheduler` goes into pods. It works after `start` and not
    after `stop`, however often they are called."""

    name: str
    cluster: Cluster
    scheduler: str

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def close(self) -> None:
        """Leaves its cluster so that it can be taken down."""

    def processes(self) -> dict[str, int]:
        """The ids of its processes by what they are, while it works."""


class Shipped:
    """Spillover as manifests/ has it. Its extender always runs; kube-scheduler is held down."""

    def __init__(self, name: str, cluster: Cluster) -> None:
        self.name = name
        self.cluster = cluster
        self.scheduler = SCHEDULER
        self._held: ExitStack | None = None
        self._kube_scheduler = Container(cluster, "spillover-scheduler-0", "kube-scheduler")
        self._extender = Container(cluster, "spillover-scheduler-0", "extender")

    def start(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def stop(self) -> None:
        if self._held is None:
            self._held = ExitStack()
            self._held.enter_context(self._kube_scheduler.held_down(SIGTERM))

    def close(self) -> None:
        self.start()

    def processes(self) -> dict[str, int]:
        return {"kube-scheduler": self._kube_scheduler.pid(), "extender": self._extender.pid()}


class Other:
    """A kube-scheduler with this configuration, with the least extender if it names one."""

    def __init__(self, name: str, cluster: Cluster, config: Object) -> None:
        self.name = name
        self.cluster = cluster
        self.scheduler = OTHER
        self._config = config
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._folder = cluster.folder / "contenders" / name

    def start(self) -> None:
        if self._running:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        if extenders := self._config.get("extenders"):
            port = _free_port()
            extenders[0]["urlPrefix"] = f"http://127.0.0.1:{port}"
            program = passthrough().binary("passthrough")
            self._run("extender", [program, f"127.0.0.1:{port}", str(self.cluster.kubeconfig)])
            until(lambda: _listens(port), _SECONDS, "the least extender listens")
        config = self._folder / "config.yaml"
        config.write_text(yaml.safe_dump(self._config))
        program = control_plane().binary("kube-scheduler")
        self._run("kube-scheduler", [program, f"--config={config}", "--secure-port=0"])

    def stop(self) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            process.wait(timeout=_SECONDS)
        self._running.clear()
        shutil.rmtree(self._folder, ignore_errors=True)  # there is none before the first start

    def close(self) -> None:
        self.stop()

    def processes(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._running.items()}

    def _run(self, name: str, command: list[str]) -> None:
        with (self._folder / f"{name}.log").open("w") as log:
            self._running[name] = subprocess.Popen(
                command,
                env=processes.marked(self.cluster.folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


def stock(cluster: Cluster, name: str, *, percentage: int = 0) -> Other:
    """kube-scheduler as it is, with no limit on its requests. With a percentage of 0 it looks at a
    sample of a large cluster's nodes."""
    return Other(name, cluster, _config(cluster, percentage))


def least(cluster: Cluster, name: str) -> Other:
    """With an extender that lets every node pass, reached as Spillover's is."""
    (own,) = _shipped_config()["extenders"]
    extender = {key: value for key, value in own.items() if key != "preemptVerb"}
    return Other(name, cluster, {**_config(cluster, 100), "extenders": [extender]})


def _config(cluster: Cluster, percentage: int) -> Object:
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "percentageOfNodesToScore": percentage,
        "clientConnection": {"kubeconfig": str(cluster.kubeconfig), "qps": 5000, "burst": 5000},
        "leaderElection": {"leaderElect": False},
        "profiles": [{"schedulerName": OTHER}],
    }


def _shipped_config() -> Object:
    """What is in manifests/base."""
    for text in Path(MANIFESTS).glob("*.yaml"):
        for each in yaml.safe_load_all(text.read_text()):
            if each and each.get("kind") == "KubeSchedulerConfiguration":
                found: Object = each
                return found
    raise LookupError("no configuration of kube-scheduler in manifests/base")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
