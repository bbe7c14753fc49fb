"""Where faults strike: a cluster with two replicas of the scheduler, whose extenders reach the API
server through a proxy, and the judge beside."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.api import Api, ApiFailureError
from harness import scenes
from harness.cluster import NAMESPACE, Cluster, Options, running
from harness.containers import Container, extender
from harness.metrics import total
from harness.proxy import Fate, Proxy, Request, Treatment
from harness.proxy import running as running_proxy

Object = dict[str, Any]

LEASE_PATH = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/spillover-scheduler"
UNITS = {
    "virtual": ("virtual-0",),
    "prepaid": ("prepaid-0", "prepaid-1"),
    "postpaid": ("postpaid-0",),
}
REPLICAS = 2

Answering = Callable[[Request], Treatment | None]


@dataclass
class Fates:
    """What the proxy does to requests: what the first of the active faults says, else passes."""

    active: list[Answering] = field(default_factory=list)

    def __call__(self, request: Request) -> Treatment:
        for answering in list(self.active):
            if (treatment := answering(request)) is not None:
                return treatment
        return Fate.PASS

    @contextmanager
    def meeting(self, answering: Answering) -> Iterator[None]:
        self.active.append(answering)
        try:
            yield
        finally:
            self.active.remove(answering)


class Judge:
    """The checker's process."""

    def __init__(self, kubeconfig: Path) -> None:
        nodes = {node: unit for unit, names in UNITS.items() for node in names}
        here = Path(__file__)
        self._process = subprocess.Popen(
            [sys.executable, str(here.with_name("checker.py")), str(kubeconfig), json.dumps(nodes)],
            env={**os.environ, "PYTHONPATH": str(here.parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def report(self, namespace: str) -> Object:
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("both were asked for")
        self._process.stdin.write(f"{namespace}\n")
        self._process.stdin.flush()
        found: Object = json.loads(self._process.stdout.readline())
        return found

    def end(self) -> None:
        self._process.kill()
        self._process.wait(timeout=10)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


@dataclass(frozen=True)
class Ground:
    cluster: Cluster
    api: Api
    proxy: Proxy
    fates: Fates
    judge: Judge

    def extender(self, replica: int) -> Container:
        return extender(self.cluster, replica)

    def scheduler(self, replica: int) -> Container:
        return Container(self.cluster, f"spillover-scheduler-{replica}", "kube-scheduler")

    def leader(self) -> int:
        """The replica that has the Lease; the first one while nobody, or a stranger, has it."""
        try:
            holder = self.api.request("GET", LEASE_PATH)["spec"].get("holderIdentity") or ""
        except ApiFailureError:
            return 0
        host = holder.rsplit("_", 1)[0]
        return int(host[-1]) if host in self.hosts() else 0

    def hosts(self) -> list[str]:
        return [f"spillover-scheduler-{replica}" for replica in range(REPLICAS)]

    def metric(self, replica: int, name: str) -> float | None:
        """None while the extender does not answer."""
        try:
            return total(self.extender(replica), name)
        except OSError:
            return None


@contextmanager
def ground(name: str, lease: tuple[float, float, float] | None) -> Iterator[Ground]:
    """Up for as long as the block runs."""
    with ExitStack() as stack:
        cluster = stack.enter_context(
            running(Cluster(name), Options(scheduler_replicas=REPLICAS, lease=lease))
        )
        cluster.add_nodes(
            scenes.virtual_node("virtual-0", gpus=1000),
            *(scenes.node(f"prepaid-{n}", gpus=1000, labels={"pool": "prepaid"}) for n in range(2)),
            scenes.node("postpaid-0", gpus=1000, labels={"pool": "postpaid"}),
        )
        fates = Fates()
        proxy = stack.enter_context(running_proxy(Proxy(fates), cluster.kubeconfig))
        for replica in range(REPLICAS):
            stack.enter_context(extender(cluster, replica).led_through(proxy.url))
        judge = Judge(cluster.kubeconfig)
        stack.callback(judge.end)
        yield Ground(cluster, Api(cluster.kubeconfig), proxy, fates, judge)
