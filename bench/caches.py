"""What the extender's caches cost on a large cluster: start, memory, pauses of the event loop, and
events, on a real API server.

The pauses are the longest times that a request to the extender waits while it lists all pods again,
beside those of the same extender when nothing happens.

`./dev bench caches [--nodes N] [--pods N] [--policies N] [--rounds N]`
"""

import argparse
import asyncio
import http.client
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median

from harness import reports, scenes
from harness.cluster import Cluster, running
from harness.containers import Container, extender
from harness.population import UNATTENDED, at_once, create
from harness.processes import resident_mib, used_seconds
from harness.proxy import Answer, Fate, Proxy, Request, Treatment
from harness.proxy import running as proxying
from harness.waiting import until
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiSession

NAMESPACE = "caches"
PORT = 8888
_TICKS = os.sysconf("SC_CLK_TCK")
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_SECONDS = 120
_PING_SECONDS = 0.004
_FIRST = -20
"""The niceness of what goes first."""
_BUSY = 0.2
"""Of a core. Pings use some of it."""
_UNITS: list[scenes.Object] = [
    {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}, "max": 8},
    {"resource": "eci", "max": 5},
    {"resource": "ecs", "nodeSelector": {"pool": "postpaid"}},
]


def node(number: int) -> scenes.Object:
    name = f"node-{number:05}.region-a.compute.internal"
    labels = {f"example.com/label-{n}": f"value-{number % 7}" for n in range(12)}
    pool = "prepaid" if number % 2 else "postpaid"
    return scenes.node(name, managed=False, labels={"pool": pool, **labels})


def pod(number: int, nodes: int, policies: int) -> scenes.Object:
    """One of about 3 kB, on a node."""
    found = scenes.pod(
        NAMESPACE, f"pod-{number:06}", "nobody", labels={"app": f"app-{number % policies}"}, gpus=1,
        nodeName=node(number % nodes)["metadata"]["name"],
    )  # fmt: skip
    variables = [{"name": f"VARIABLE_{n}", "value": "x" * 40} for n in range(20)]
    found["spec"]["containers"][0]["env"] = variables
    return found


async def filled(cluster: Cluster, options: argparse.Namespace) -> None:
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.kubectl("wait", "--for=create", "sa/default", "-n", NAMESPACE, "--timeout=60s")
    cluster.apply(
        *(
            scenes.policy(
                scenes.ACK, NAMESPACE, f"app-{number}", selector={"app": f"app-{number}"},
                units=_UNITS,
            )
            for number in range(options.policies)
        )
    )  # fmt: skip
    async with ApiSession(Credentials(cluster.kubeconfig)) as session:
        await at_once(
            create(session, "/api/v1/nodes", node(number)) for number in range(options.nodes)
        )
        await at_once(
            create(session, _PODS, pod(number, options.nodes, options.policies))
            for number in range(options.pods)
        )


class Pings:
    """Asks the extender again and again, and keeps how long the longest answer took. A process of
    its own: the relay through which the extender lists is in this one. Both go first where others
    want a core, so that what is measured is how long the extender does something else."""

    def __init__(self, container: Container) -> None:
        processes = multiprocessing.get_context("spawn")
        self._ends = processes.Event()
        self._found: Queue[tuple[float, str]] = processes.Queue()
        self._process = processes.Process(
            target=_ping, args=(container.address, self._ends, self._found), daemon=True
        )
        self.longest = 0.0
        for task in Path(f"/proc/{container.pid()}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(task.name), _FIRST)

    def start(self) -> None:
        self._process.start()
        self._found.get(timeout=60)

    def stop(self) -> None:
        self._ends.set()
        self.longest, trouble = self._found.get(timeout=60)
        self._process.join(60)
        if trouble:
            raise RuntimeError(f"a request got no answer: {trouble}")


def _ping(address: str, ends: Event, found: "Queue[tuple[float, str]]") -> None:
    os.setpriority(os.PRIO_PROCESS, 0, _FIRST)
    found.put((0.0, ""))
    longest, trouble = 0.0, ""
    try:
        connection = http.client.HTTPConnection(address, PORT, timeout=30)
        while not ends.wait(_PING_SECONDS):
            begun = time.perf_counter()
            connection.request("GET", "/none")
            connection.getresponse().read()
            longest = max(longest, time.perf_counter() - begun)
        connection.close()
    except (OSError, http.client.HTTPException) as error:
        trouble = str(error)
    found.put((longest, trouble))


@contextmanager
def pinged(container: Container) -> Iterator[Pings]:
    pings = Pings(container)
    pings.start()
    try:
        yield pings
    finally:
        pings.stop()


class Expiry:
    """Fate of the extender's requests: the watches of pods expire when they are told to."""

    def __init__(self) -> None:
        self.expires = False
        self.lists = 0

    def __call__(self, request: Request) -> Treatment:
        if request.path.startswith("/api/v1/pods"):
            if request.is_watch and self.expires:
                self.expires = False
                return Answer(410, '{"kind":"Status","code":410,"reason":"Expired"}')
            self.lists += not request.is_watch and "continue" not in request.path
        return Fate.PASS


def pauses(cluster: Cluster, rounds: int) -> tuple[list[float], list[float]]:
    """The longest waits in seconds: of each relist, and of as many seconds with nothing."""
    fate, relisted, calm = Expiry(), [], []
    proxy = Proxy(fate)
    container = extender(cluster)
    with proxying(proxy, cluster.kubeconfig), container.led_through(proxy.url):
        for _ in range(rounds):
            before = fate.lists
            with pinged(container) as pings:
                fate.expires = True
                proxy.in_loop(proxy.break_all)
                until(lambda n=before: fate.lists > n, _SECONDS, "a new list")  # type: ignore[misc]
                seconds = until(lambda: is_settled(container), _SECONDS, "the list is read")
            relisted.append(pings.longest)
            with pinged(container) as pings:
                time.sleep(max(1.0, seconds))
            calm.append(pings.longest)
    return relisted, calm


def is_settled(container: Container) -> bool:
    """For a second it has used next to nothing."""
    before = used(container)
    time.sleep(1)
    return used(container) - before < _BUSY


def used(container: Container) -> float:
    """Seconds of a core so far."""
    return used_seconds(container.pid())


def started(container: Container) -> dict[str, float]:
    """Of a start: seconds until it is ready, seconds of a core until then, and MiB afterwards."""
    container.restart()
    with open("/proc/uptime") as uptime:  # noqa: PTH123 - one line
        now = float(uptime.read().split()[0])
    fields = Path(f"/proc/{container.pid()}/stat").read_text().rpartition(")")[2].split()
    found = {
        "seconds to ready": now - int(fields[19]) / _TICKS,
        "core seconds to ready": used(container),
    }
    until(lambda: is_settled(container), _SECONDS, "the start is over")
    return {**found, "MiB": resident_mib(container.pid())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("nodes", 5000), ("pods", 50_000), ("policies", 100), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N")
    options = parser.parse_args()
    with running(Cluster("bench-caches"), UNATTENDED) as cluster:
        container = extender(cluster)
        bare = [started(container) for _ in range(options.rounds)]
        asyncio.run(filled(cluster, options))
        full = [started(container) for _ in range(options.rounds)]
        relisted, calm = pauses(cluster, options.rounds)
    rows = [
        {"": name, **{key: f"{median(each[key] for each in found):.3g}" for key in found[0]}}
        for name, found in (("idle", bare), (f"{options.nodes} nodes, {options.pods} pods", full))
    ]
    tables = {
        "A start (medians)": rows,
        "Longest wait of a request, ms (median, most)": [
            {"while": name, "median": f"{median(took) * 1e3:.1f}", "most": f"{max(took) * 1e3:.1f}"}
            for name, took in (("nothing happens", calm), ("all pods are listed again", relisted))
        ],
    }  # fmt: skip
    command = (
        f"./dev bench caches --nodes {options.nodes} --pods {options.pods}"
        f" --policies {options.policies} --rounds {options.rounds}"
    )
    data = {"idle": bare, "full": full, "relisted": relisted, "calm": calm}
    print(reports.write("caches", "The extender's caches", command, tables, data))


if __name__ == "__main__":
    main()
