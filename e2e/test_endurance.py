"""The extender's memory and descriptors do not grow while pods come and go."""

import os
import statistics
import time
from pathlib import Path

import pytest

from harness.containers import Container, extender
from harness.scenes import ACK, deployment, policy, virtual_node
from harness.stage import Scene
from harness.watch import node_of

KIB_PER_MINUTE = 100.0
"""Above that, a process that starts with 60 MiB would double within ten hours."""
SAMPLE_SECONDS = 5.0


def resident_kib(container: Container) -> int:
    status = Path(f"/proc/{container.pid()}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


def descriptors(container: Container) -> int:
    return len(os.listdir(f"/proc/{container.pid()}/fd"))  # noqa: PTH208 - a count is all


@pytest.mark.timeout(3000)
def test_memory_and_descriptors_stay_flat_under_churn(scene: Scene, *, full: bool) -> None:
    """Half of the pods fit. In turn, half of the Deployments are scaled down and up again."""
    minutes, pods, groups = (30.0, 2000, 10) if full else (0.7, 200, 4)
    each = pods // groups
    scene.add_nodes(virtual_node("virtual-0", gpus=pods * 2))
    apps = [f"app-{n}" for n in range(groups)]
    for app in apps:
        scene.add(
            policy(
                ACK, scene.namespace, app, selector={"app": app},
                units=[{"resource": "eci", "max": each // 2}],
            ),
            deployment(scene.namespace, app, "spillover-scheduler", replicas=each),
        )  # fmt: skip
    it = extender(scene.cluster)
    process = it.pid()
    limit = pods // 2
    scene.pods.wait_for(lambda seen: sum(map(bool, map(node_of, seen))) >= limit, 300, "half bound")

    begun = time.monotonic()
    samples: list[tuple[float, int, int]] = []
    turn = events = 0
    while (elapsed := (time.monotonic() - begun) / 60) < minutes:
        # The first tenth fills pools and caches.
        if elapsed > minutes / 10:
            samples.append((elapsed, resident_kib(it), descriptors(it)))
        for app in apps[turn % 2 :: 2]:
            scene.scale(app, each // 10 if turn // 2 % 2 == 0 else each)
        turn += 1
        events += len(scene.pods.events)
        scene.pods.events.clear()  # millions of them would be this test's own memory
        next_sample = time.monotonic() + SAMPLE_SECONDS
        while time.monotonic() < next_sample:
            time.sleep(0.1)
    assert it.pid() == process, "the extender was restarted meanwhile"
    times, memory, files = zip(*samples, strict=True)
    grows = statistics.linear_regression(times, memory).slope
    opens = statistics.linear_regression(times, files).slope
    print(
        f"{events} pod events in {minutes} min: memory {min(memory)} to"
        f" {max(memory)} KiB, slope {grows:+.1f} KiB/min; descriptors {min(files)} to {max(files)},"
        f" slope {opens:+.3f}/min"
    )
    every = max(1, len(samples) // 20)
    for minute, kib, open_files in samples[::every]:
        print(f"  minute {minute:5.2f}: {kib} KiB, {open_files} descriptors")
    if full:
        assert grows < KIB_PER_MINUTE
        assert opens < 0.1
    else:  # too short for a slope
        assert max(memory) - min(memory) < 30 * 1024
        assert max(files) - min(files) < 20
