"""What one tenant's policies cost the extender: memory, decisions, edits.

`python bench/tenants.py [--policies N] [--nodes N]`
"""

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from spillover.api import ack
from spillover.core.cache.cluster import ClusterCache
from spillover.core.decision.outcomes import Rejected
from spillover.core.dialects import load
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.nodes import Node
from spillover.core.model.pods import Pod
from spillover.core.scheduler import Scheduler

_UNITS = 100
_RUNNING = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policies", type=int, default=1000, metavar="N")
    parser.add_argument("--nodes", type=int, default=5000, metavar="N")
    options = parser.parse_args()
    scheduler = Scheduler(ClusterCache(NodeConventions(), time.monotonic, time.time, random.random))
    scheduler.cluster.begin_term(1)
    scheduler.cluster.term.open_all_but(frozenset())
    names = [f"node-{number}" for number in range(options.nodes)]
    _told(f"{options.nodes} nodes", lambda: _put_nodes(scheduler, names))
    _told(
        f"{options.policies} policies of {_UNITS} units",
        lambda: _put_policies(scheduler, options.policies),
    )
    one = _decided(scheduler, "one unit", names, [{"resource": "ecs", "max": 0}])
    for title, unit in (
        ("each at its max, all nodes", {"max": 0}),
        ("each at its max, some nodes", {"max": 0, "nodeSelector": {"zone": "z1"}}),
        ("no nodes", {"nodeSelector": {"zone": "none"}}),
    ):
        many = [{"resource": "ecs", **unit}] * _UNITS
        found = _decided(scheduler, f"{_UNITS} units, {title}", names, many)
        print(
            f"    {found[0] / one[0]:.1f} times as long as one unit, {found[1] / one[1]:.1f} again"
        )
    _edit(scheduler, names)


def _told(what: str, do: Callable[[], None]) -> None:
    before, begun = _resident(), time.perf_counter()
    do()
    print(f"{what}: {time.perf_counter() - begun:.1f} s, {_resident() - before:.0f} MiB")


def _put_nodes(scheduler: Scheduler, names: list[str]) -> None:
    for number, name in enumerate(names):
        labels = {f"label-{n}": f"v{number % 7}" for n in range(14)}
        own = {"kubernetes.io/hostname": name, "pool": f"p{number % 10}", "zone": f"z{number % 3}"}
        scheduler.cluster.put_node(Node(name, {**labels, **own}, ()))


def _put_policies(scheduler: Scheduler, count: int) -> None:
    for number in range(count):
        units = [
            {"resource": "ecs", "nodeSelector": {"pool": f"p{n % 10}", "own": f"{number}-{n}"}}
            for n in range(_UNITS)
        ]
        _put_policy(scheduler, f"tenant-{number}", units)


def _put_policy(scheduler: Scheduler, namespace: str, units: list[dict[str, Any]]) -> None:
    metadata = {"name": "it", "namespace": namespace, "uid": namespace}
    scheduler.cluster.put_policy(
        load({"metadata": metadata, "spec": {"selector": {"app": "a"}, "units": units}}, ack.GROUP)
    )


def _decided(
    scheduler: Scheduler, title: str, names: list[str], units: list[dict[str, Any]]
) -> tuple[float, float]:
    """Seconds for the first pod, and for others like it."""
    namespace = f"of-{title.replace(' ', '-')}"
    _put_policy(scheduler, namespace, units)
    took, size = [], 0
    for number in range(6):
        begun = time.perf_counter()
        decision = scheduler.place(_pod(namespace, number), names)
        took.append(time.perf_counter() - begun)
        if not isinstance(decision, Rejected):
            raise TypeError("a unit at its max takes no pod")
        size = len(msgspec.json.encode(decision.reasons))
    again = sorted(took[1:])[2]
    print(
        f"{title}: {took[0] * 1e3:.1f} ms, again {again * 1e3:.1f} ms,"
        f" reasons of {size / 2**20:.2f} MiB"
    )
    return took[0], again


def _edit(scheduler: Scheduler, names: list[str]) -> None:
    for number in range(_RUNNING):
        scheduler.cluster.put_pod(_pod("edited", number, names[number % len(names)]))
    begun = time.perf_counter()
    for number in range(50):
        _put_policy(scheduler, "edited", [{"resource": "ecs", "max": number}] * 10)
    print(
        f"50 edits at once above {_RUNNING} pods: {time.perf_counter() - begun:.1f} s;"
        f" pending: {scheduler.cluster.edits.is_pending('edited')}"
    )


def _pod(namespace: str, number: int, node: str = "") -> Pod:
    return Pod(
        uid=f"{namespace}-{number}", namespace=namespace, name=f"pod-{number}", version=number + 1,
        labels={"app": "a"}, annotations={}, node=node, finished=False, terminating=False,
        tolerations=(), refusal="", slow_to_bind=False, priority=0, created="",
        scheduler="spillover-scheduler", since="", requests=(), owner="", nominated="",
        may_preempt=True, started=False, ready=False,
    )  # fmt: skip


def _resident() -> float:
    """MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


if __name__ == "__main__":
    main()
