"""Memory of each process of Spillover: idle, and on a large cluster. Requests and limits in
manifests/ follow from it.

`python bench/memory.py [--nodes N] [--policies N] [--pods N]`
"""

import argparse
import asyncio
import time
from pathlib import Path

from harness import scenes
from harness.cluster import Cluster, Options, running
from harness.containers import Container
from harness.population import Population, at_once
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiSession

_PROCESSES = (
    ("spillover-scheduler-0", "extender"),
    ("spillover-scheduler-0", "kube-scheduler"),
    ("spillover-webhook-0", "webhook"),
    ("spillover-certificates-0", "certificates"),
)
_SETTLE_SECONDS = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("nodes", 5000), ("policies", 1000), ("pods", 10_000)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N")
    options = parser.parse_args()
    with running(Cluster("bench-memory"), Options()) as cluster:
        rows = {"idle": _sizes(cluster)}
        asyncio.run(_fill(cluster, options))
        _settle(cluster)
        name = f"{options.nodes} nodes, {options.policies} policies, {options.pods} pods"
        rows[name] = _sizes(cluster)
        for pod, container in _PROCESSES:
            Container(cluster, pod, container).restart()
        _settle(cluster)
        rows["the same, after a restart"] = _sizes(cluster)
    print("MiB resident now (most so far)")
    for title, sizes in rows.items():
        print(f"{title}: " + ", ".join(f"{name} {now} ({most})" for name, now, most in sizes))


async def _fill(cluster: Cluster, options: argparse.Namespace) -> None:
    await Population(options.policies, options.pods).make(cluster)
    async with ApiSession(Credentials(cluster.kubeconfig)) as session:
        pools = ("prepaid", "postpaid")
        await at_once(
            _create(session, scenes.node(f"more-{n}", labels={"pool": pools[n % 2]}))
            for n in range(options.nodes)
        )


async def _create(session: ApiSession, node: scenes.Object) -> None:
    await session.request("POST", "/api/v1/nodes", body=node)


def _settle(cluster: Cluster) -> None:
    """Until no process has grown or shrunk by a MiB for a while."""
    before, since = _sizes(cluster), time.monotonic()
    while time.monotonic() - since < _SETTLE_SECONDS:
        time.sleep(1)
        now = _sizes(cluster)
        if now != before:
            before, since = now, time.monotonic()


def _sizes(cluster: Cluster) -> list[tuple[str, int, int]]:
    found = []
    for pod, name in _PROCESSES:
        status = Path(f"/proc/{Container(cluster, pod, name).pid()}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        sizes = [int(fields[key].split()[0]) // 1024 for key in ("VmRSS", "VmHWM")]
        found.append((name, sizes[0], sizes[1]))
    return found


if __name__ == "__main__":
    main()
