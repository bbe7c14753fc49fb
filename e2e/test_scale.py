"""Many policies and pods: silence while nothing changes, and a bound on writes when much does."""

import asyncio
import itertools
import os
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from harness.cluster import Cluster, Options, running
from harness.containers import Container, extender
from harness.metrics import total
from harness.population import Population
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiSession

Object = dict[str, Any]
COST = "controller.kubernetes.io/pod-deletion-cost"
ACCOUNT = "system:serviceaccount:spillover-system:spillover-scheduler"
IDLE_SECONDS = 10.0
SPACING = 0.95
"""Seconds between two writes of one status: a second, as the API server receives them."""


@pytest.fixture
def audited(cluster_name: str) -> Iterator[Cluster]:
    with running(Cluster(f"{cluster_name}-many"), Options(audit=True)) as cluster:
        yield cluster


def written_by_us(cluster: Cluster) -> int:
    """Patches of pods and of policies' status."""
    return sum(
        entry["user"]["username"] == ACCOUNT
        for entry in (*cluster.pod_writes(), *cluster.status_writes())
    )


@pytest.mark.timeout(1800)
def test_idle_and_in_a_burst(audited: Cluster, *, full: bool) -> None:
    crowd = Population(1000, 10_000) if full else Population(40, 400)
    touched = range(100) if full else range(10)
    it = extender(audited)
    begun = time.monotonic()
    asyncio.run(crowd.make(audited))
    print(f"{crowd} made in {time.monotonic() - begun:.0f} s")
    wait_for_quiet(audited, 300)
    pods = audited.items("pods", "-A", "-l", "app")
    assert Counter(pod["metadata"]["annotations"][COST] for pod in pods) == expected_costs(crowd)

    before, cpu, since = written_by_us(audited), cpu_seconds(it), time.monotonic()
    while time.monotonic() - since < IDLE_SECONDS:
        time.sleep(0.5)
    idle = (cpu_seconds(it) - cpu) / (time.monotonic() - since)
    assert written_by_us(audited) == before
    print(f"idle: 0 writes in {IDLE_SECONDS:.0f} s, {idle:.1%} of a core, {memory(it)} KiB")

    first = len(audited.status_writes())
    cpu, since = cpu_seconds(it), time.monotonic()
    for is_ready in (False, True):
        asyncio.run(burst(audited, crowd, touched, is_ready=is_ready))
    wait_for_quiet(audited, 60)
    busy = (cpu_seconds(it) - cpu) / (time.monotonic() - since)
    writes = audited.status_writes()[first:]
    by_policy: dict[str, list[float]] = {}
    for entry in writes:
        moment = datetime.fromisoformat(entry["requestReceivedTimestamp"]).timestamp()
        by_policy.setdefault(entry["objectRef"]["name"], []).append(moment)
    changes = 2 * len(touched) * len(crowd.pods_of(0))
    a_second = max(Counter(int(m) for each in by_policy.values() for m in each).values())
    print(
        f"burst: {changes} pod changes of {len(touched)} policies, {len(writes)} status writes,"
        f" at most {a_second} in one second; {busy:.1%} of a core, {memory(it)} KiB"
    )
    assert by_policy.keys() == {crowd.place_of(number)[1] for number in touched}
    assert a_second <= len(touched)
    for moments in by_policy.values():
        gaps = [b - a for a, b in itertools.pairwise(moments)]
        assert all(gap >= SPACING for gap in gaps), gaps
    assert total(it, "spillover_controller_failures_total") == 0


async def burst(cluster: Cluster, crowd: Population, touched: range, *, is_ready: bool) -> None:
    async with ApiSession(Credentials(cluster.kubeconfig)) as session:
        await crowd.touch(session, touched, is_ready=is_ready)


def expected_costs(crowd: Population) -> dict[str, int]:
    """Eight at most in the first unit; the rest are above its maximum."""
    each = len(crowd.pods_of(0))
    inside = min(8, each)
    costs = {"300": inside * crowd.policies, "-100": (each - inside) * crowd.policies}
    return {cost: count for cost, count in costs.items() if count}


def wait_for_quiet(cluster: Cluster, seconds: float) -> None:
    """Until kwok and we have written nothing for three seconds."""
    deadline = time.monotonic() + seconds
    log = next(iter(cluster.folder.glob("kwok/clusters/*/logs/audit.log")))
    size, since = -1, time.monotonic()
    while time.monotonic() - since < 3:
        now = log.stat().st_size
        if now != size:
            size, since = now, time.monotonic()
        assert time.monotonic() < deadline, "not quiet"
        time.sleep(0.1)


def cpu_seconds(it: Container) -> float:
    fields = Path(f"/proc/{it.pid()}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(it: Container) -> int:
    """Resident, in KiB."""
    lines = Path(f"/proc/{it.pid()}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])
