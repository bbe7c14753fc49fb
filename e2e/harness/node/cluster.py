"""A cluster with one real node, and simulated nodes beside it for capacity.

Nothing of Spillover is in it: its manifests are applied with kubectl, as a user does, and its Pods
start from its image. Only what a cluster is made of differs from any other.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from harness import processes
from harness.build import control_plane, node_programs
from harness.client import ClusterError
from harness.local import LocalCluster
from harness.node import cgroups, runtime
from harness.node.box import NODE_NAME, Box
from harness.node.control import ControlPlane
from harness.node.host import obstacle
from harness.node.runtime import Runtime

MARK = "real-node"
"""A file in the folder of such a cluster."""


class NodeCluster(LocalCluster):
    """One cluster by name, with a real node."""

    node = NODE_NAME

    def up(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Starts it. When this returns the node is Ready. What is half up after an error is taken
        down again."""
        if reason := obstacle():
            raise ClusterError(reason)
        tools = control_plane()
        programs = node_programs()
        say("making the images that are not there yet")
        archives = runtime.images(tools)
        index = self.claim_index()
        (self.folder / MARK).touch()
        try:
            box = Box(self.folder, index)
            control = ControlPlane(self.folder, box.inside, tools)
            group = cgroups.make(self.name)
            node = Runtime(self.folder, box.inside, control, programs, group)
            say("starting the control plane")
            self._start(box, control, node)
            say("loading the images into containerd")
            for archive in archives:
                self.load(archive)
            say("starting the node")
            for name, words in node.commands():
                self.children.append(box.spawn(name, *words))
            self.wait("the node", self._is_node_ready)
        except BaseException:
            self.keep_logs()
            self.down()
            raise

    def down(self) -> None:
        """Ends all its processes and removes what it has on this machine."""
        processes.end_all(self.folder)
        try:
            if (self.folder / "index").exists():
                self.box().disconnect()
            cgroups.remove(self.name)
        finally:
            super().down()

    def load(self, archive: Path) -> None:
        """Puts an image where the kubelet finds it."""
        self.box().run(*runtime.ctr("images", "import", str(archive)))

    def box(self) -> Box:
        return Box(self.folder, int((self.folder / "index").read_text()))

    def named_logs(self) -> Iterator[tuple[str, Path]]:
        for file in sorted(self.folder.glob("logs/*.log")):
            yield file.stem, file
        for file in sorted(self.folder.glob("podlogs/*/*/*.log")):
            yield file.parent.name, file

    def running(self) -> set[str]:
        """Ids of the containers that run, those of sandboxes with them."""
        lines = self.box().run(*runtime.ctr("tasks", "list")).splitlines()[1:]
        return {line.split()[0] for line in lines if line.split()[2:] == ["RUNNING"]}

    def start_of(self, container: str) -> float:
        """When a container's process began, in seconds since the machine's start."""
        lines = self.box().run(*runtime.ctr("tasks", "list")).splitlines()[1:]
        (process,) = (line.split()[1] for line in lines if line.split()[0] == container)
        fields = self.box().run("cat", f"/proc/{process}/stat").rpartition(")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")

    def kill(self, container: str) -> None:
        """Ends a container's processes at once. The kubelet starts it again."""
        self.box().run(*runtime.ctr("tasks", "kill", "--signal=SIGKILL", "--all", container))

    def pause(self, container: str) -> None:
        """Its processes get no time any more, until `resume`. The kernel does not freeze a process
        at each moment of its start."""

        def is_paused() -> bool:
            try:
                self.box().run(*runtime.ctr("tasks", "pause", container))
            except ClusterError:
                return False
            return True

        self.wait(f"the pause of {container}", is_paused)

    def resume(self, container: str) -> None:
        self.box().run(*runtime.ctr("tasks", "resume", container))

    def stop(self, component: str) -> None:
        """Ends a part of the control plane at once, until `start_again`."""
        found = self.processes_of(component)
        for process in found:
            os.kill(process, signal.SIGKILL)
        self.wait(f"the end of {component}", lambda: not any(map(processes.is_alive, found)))

    def start_again(self, component: str) -> None:
        box = self.box()
        control = ControlPlane(self.folder, box.inside, control_plane())
        words = dict(control.commands())[component]
        self.children.append(box.spawn(component, *words))

    def _start(self, box: Box, control: ControlPlane, node: Runtime) -> None:
        self.children.append(box.start())
        control.write_files()
        node.write_files()
        shutil.copy(control.kubeconfig("admin"), self.kubeconfig)
        self.children.append(box.spawn("containerd", *node.containerd()))
        for name, words in control.commands():
            if name == "kube-controller-manager":
                self.wait("the API server", self.is_api_server_ready)
            self.children.append(box.spawn(name, *words))
        self.wait("the default ServiceAccount", partial(self._exists, "serviceaccount", "default"))
        self.wait("containerd", lambda: self._answers(box, ["ctr", "version"]))

    def is_api_server_ready(self) -> bool:
        return self.kubectl("get", "--raw", "/readyz", check=False) == "ok"

    def _exists(self, kind: str, name: str) -> bool:
        return bool(self.kubectl("get", kind, name, check=False))

    def _is_node_ready(self) -> bool:
        text = self.kubectl("get", "node", NODE_NAME, "-o", "json", check=False)
        conditions = json.loads(text)["status"].get("conditions", []) if text else []
        return any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)

    @staticmethod
    def _answers(box: Box, words: list[str]) -> bool:
        try:
            box.run(*words)
        except (ClusterError, subprocess.TimeoutExpired):
            return False
        return True
