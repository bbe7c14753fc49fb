"""Namespaces for one node: mounts, network, processes and host name of its own.

Its first process is a pause; when that ends, the kernel ends all others, and mounts and network go
with them. The machine outside sees one network interface, by which it reaches the API server.
"""

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import processes
from harness.client import ClusterError
from harness.local import link
from harness.node.host import search_path

NODE_NAME = "real-1"
_START_SECONDS = 20.0
_COMMAND_SECONDS = 120

_KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What a kubelet sets for the whole machine. In the box each is a file of its own with the value
that the kubelet wants: the machine's own settings stay as they are."""

_SET_UP = """
set -e
mount --make-rshared /
hostname {name}
ip link set lo up
for folder in /var/lib/kubelet /var/lib/cni /var/lib/containerd /var/log /run; do
    mkdir -p $folder
    mount -t tmpfs -o mode=755 box $folder
done
for setting in {settings}; do
    if [ -e /proc/sys/$setting ]; then
        mount --bind {folder}/$setting /proc/sys/$setting
    fi
done
ip address add {inside}/24 dev eth0
ip link set eth0 up
ip route add default via {outside}
echo 1 > /proc/sys/net/ipv4/ip_forward
"""


@dataclass(frozen=True)
class Box:
    """The namespaces of the cluster in `folder`. `index` is the cluster's number."""

    folder: Path
    index: int

    @property
    def inside(self) -> str:
        """The node's address."""
        return f"10.77.{self.index}.2"

    @property
    def outside(self) -> str:
        return f"10.77.{self.index}.1"

    def start(self) -> subprocess.Popen[bytes]:
        """Makes the namespaces. Returns the process to wait for at the end."""
        (self.folder / "logs").mkdir(exist_ok=True)
        command = ["unshare", "--mount", "--net", "--pid", "--uts", "--fork", "--kill-child"]
        command += ["--propagation=private", "--mount-proc", "catatonit", "-P"]
        with (self.folder / "logs" / "box.log").open("w") as log:
            process = subprocess.Popen(
                command,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_for_pause()
        self._connect()
        return process

    def disconnect(self) -> None:
        """Removes the network interface outside, if it was made. The kernel does too, but later."""
        if (self.folder / "link").exists():
            _outside(["ip", "link", "delete", self._link], check=False)

    def command(self, words: Sequence[str]) -> list[str]:
        """The words that run a command in the box, from outside."""
        enter = ["nsenter", f"--target={self._pid()}", "--mount", "--net", "--pid", "--uts"]
        return [*enter, "--", *words]

    def run(self, *words: str, stdin: str = "", check: bool = True) -> str:
        """Runs a command in the box and returns its output. Raises ClusterError when it fails."""
        ended = subprocess.run(
            self.command(words),
            env=self._environment(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        if check and ended.returncode:
            raise ClusterError(f"{' '.join(words)}: {ended.stderr.strip() or ended.stdout.strip()}")
        return ended.stdout

    def spawn(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        """Starts a process that goes on. Its output goes to logs/NAME.log."""
        with (self.folder / "logs" / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                self.command(words),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        # Nothing in the box has a use for the machine's proxies and credentials.
        kept = {"HOME": os.environ.get("HOME", "/root"), "PATH": search_path()}
        return {**kept, processes.MARK: str(self.folder)}

    def _wait_for_pause(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            found = [
                process
                for process in processes.find(self.folder)
                if Path(processes.program(process)).name == "catatonit"
            ]
            if found:
                (self.folder / "box.pid").write_text(str(found[0]))
                return
            if time.monotonic() > deadline:
                log = (self.folder / "logs" / "box.log").read_text()
                raise ClusterError(f"no namespaces for the node: {log.strip()}")
            time.sleep(0.05)

    @property
    def _link(self) -> str:
        return link(self.index).name

    def _pid(self) -> int:
        return int((self.folder / "box.pid").read_text())

    def _connect(self) -> None:
        """The network interface, and what else only has to be done once."""
        settings = self.folder / "kernel"
        for name, value in _KERNEL_SETTINGS.items():
            (settings / name).parent.mkdir(parents=True, exist_ok=True)
            (settings / name).write_text(f"{value}\n")
        peer = ["peer", "name", "eth0", "netns", str(self._pid())]
        _outside(["ip", "link", "add", self._link, "type", "veth", *peer])
        (self.folder / "link").touch()
        for words in (
            ["ip", "address", "add", f"{self.outside}/24", "dev", self._link],
            ["ip", "link", "set", self._link, "up"],
        ):  # fmt: skip
            _outside(words)
        script = _SET_UP.format(
            name=NODE_NAME,
            settings=" ".join(_KERNEL_SETTINGS),
            folder=settings,
            inside=self.inside,
            outside=self.outside,
        )
        self.run("sh", "-c", script)


def _outside(words: list[str], *, check: bool = True) -> None:
    ended = subprocess.run(
        words,
        env={**os.environ, "PATH": search_path()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_COMMAND_SECONDS,
        check=False,
    )
    if check and ended.returncode:
        raise ClusterError(f"{' '.join(words)}: {ended.stderr.strip()}")
