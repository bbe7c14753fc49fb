"""One container of a running cluster: ending it, holding it down, leading it through a proxy."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, Signals

import yaml

from harness.cluster import Cluster, answers
from harness.processes import is_alive

_READY_SECONDS = 60.0


@dataclass(frozen=True)
class Container:
    """Such as Container(cluster, "spillover-scheduler-0", "extender")."""

    cluster: Cluster
    pod: str
    name: str

    @property
    def folder(self) -> Path:
        return self.cluster.pod_folder(self.pod)

    @property
    def address(self) -> str:
        """Of its Pod, in 127.0.0.0/8."""
        return str(json.loads((self.folder / "pod.json").read_text())["address"])

    def pid(self) -> int:
        return int((self.folder / f"{self.name}.pid").read_text())

    def send(self, number: Signals) -> None:
        os.kill(self.pid(), number)

    def restart(self, number: Signals = SIGKILL) -> None:
        """Ends the process, and returns when the next one is ready."""
        with self.held_down(number):
            pass

    @contextmanager
    def held_down(self, number: Signals = SIGKILL) -> Iterator[None]:
        """The process is ended and not started again while the block runs. Ready afterwards."""
        down = self.folder / f"{self.name}.down"
        before = self.pid()
        down.touch()
        try:
            os.kill(before, number)
            _wait(lambda: not is_alive(before), f"{self.name} ended")
            yield
        finally:
            down.unlink()
        _wait(lambda: self.pid() != before, f"{self.name} started again")
        self.wait_ready()

    def wait_ready(self) -> None:
        (probe,) = (
            container["probe"]
            for container in json.loads((self.folder / "pod.json").read_text())["containers"]
            if container["name"] == self.name
        )
        _wait(lambda: answers(probe), f"{self.name} ready")

    @contextmanager
    def led_through(self, url: str) -> Iterator[None]:
        """Its API server is at `url` while the block runs. Restarts it before and after."""
        file = self.folder / f"{self.name}.kubeconfig"
        before = file.read_text()
        config = yaml.safe_load(before)
        config["clusters"][0]["cluster"] = {"server": url}
        with self.held_down():
            file.write_text(yaml.safe_dump(config))
        try:
            yield
        finally:
            with self.held_down():
                file.write_text(before)


def extender(cluster: Cluster, replica: int = 0) -> Container:
    return Container(cluster, f"spillover-scheduler-{replica}", "extender")


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {_READY_SECONDS:.0f} s: {what}")
        time.sleep(0.05)
