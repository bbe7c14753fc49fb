"""What every cluster on this machine has: a name, a folder, processes, and an end."""

import shutil
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path

from harness import processes
from harness.client import Client, ClusterError
from harness.locks import exclusive
from harness.places import cache, clusters, machine_lock

_ADDRESSES = 250
_PORTS = (8888, 8889, 10259, 8443, 8444)  # of the first Pod, as in manifests/
_POLL_SECONDS = 0.1
_READY_SECONDS = 90.0


class LocalCluster(Client, ABC):
    """One cluster by name. Everything it has on disk is in its folder."""

    def __init__(self, name: str) -> None:
        folder = clusters() / name
        super().__init__(folder / "kubeconfig", folder / "kubectl")
        self.name = name
        self.folder = folder
        self.children: list[subprocess.Popen[bytes]] = []
        """The processes that this object started."""

    def exists(self) -> bool:
        return self.folder.exists()

    def down(self) -> None:
        """Ends all its processes and removes its folder, in whatever state it is."""
        processes.end_all(self.folder)
        while self.children:
            self.children.pop().wait(timeout=10)
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def claim_index(self) -> int:
        """A number that no other cluster on this machine has, for addresses in 127.77.NUMBER.0/24.
        Claims the name with it: of two that want it at once, one gets a ClusterError."""
        with exclusive(machine_lock("addresses")):
            taken = {file.read_text() for file in clusters().glob("*/index")}
            index = next(
                n
                for n in range(1, _ADDRESSES)
                if str(n) not in taken and not link(n).exists() and _is_unused(address(n, 0))
            )
            try:
                self.folder.mkdir(parents=True)
            except FileExistsError:
                raise ClusterError(
                    f"cluster {self.name} is there already; ./dev down --name {self.name}"
                ) from None
            (self.folder / "index").write_text(str(index))
        return index

    @abstractmethod
    def named_logs(self) -> Iterator[tuple[str, Path]]:
        """Log files, each with the component whose it is: etcd, kube-apiserver, …, extender and
        kube-scheduler of each replica."""

    def logs(self, component: str | None = None) -> Iterator[Path]:
        """Log files, of one component or of all. A component of one replica is named
        REPLICA/COMPONENT."""
        for name, file in self.named_logs():
            if component in (None, name, f"{file.parent.name}/{name}"):
                yield file

    def components(self) -> list[str]:
        return sorted({name for name, _ in self.named_logs()})

    def keep_logs(self) -> None:
        """What a failed start has written, outside the folder that is about to go."""
        saved = cache() / "failed" / self.name
        shutil.rmtree(saved, ignore_errors=True)
        for file in self.logs():
            target = saved / file.relative_to(self.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
        if saved.exists():
            print(f"logs of the failed start: {saved}", file=sys.stderr)

    def processes_of(self, component: str) -> list[int]:
        """Ids of the processes of a part of the control plane, such as etcd."""
        return [
            process
            for process in processes.find(self.folder)
            if Path(processes.program(process)).name == component
        ]

    def wait(
        self, what: str, condition: Callable[[], bool], seconds: float = _READY_SECONDS
    ) -> None:
        """Until the condition holds. ClusterError says what did not come in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise ClusterError(f"{what} was not ready after {seconds:.0f} s")
            time.sleep(_POLL_SECONDS)


def link(index: int) -> Path:
    """The network interface of a cluster with a real node."""
    return Path(f"/sys/class/net/spill{index}")


def address(index: int, pod: int) -> str:
    return f"127.77.{index}.{10 + pod}"


def _is_unused(where: str) -> bool:
    """Whether nobody listens there, such as a cluster with another cache folder."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return all(probe.connect_ex((where, port)) != 0 for port in _PORTS)
