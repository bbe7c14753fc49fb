"""What a decision costs as a cluster grows: by pods, nodes, policies, units and waiting pods.

Each is doubled four times while the others stay. Prints the time of a decision of the core at each
size, and its growth for each doubling (the least squares of the logarithms).

`./dev bench growth [--calls N]`
"""

import argparse
import math
import os
import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import msgspec

from harness import reports
from harness.processes import resident_mib
from spillover.api import ack
from spillover.api.extender import FilterArgs
from spillover.core.cache.cluster import ClusterCache
from spillover.core.cache.unschedulable import Bounds
from spillover.core.decision.outcomes import Placement
from spillover.core.dialects import load
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.nodes import Node
from spillover.core.model.pods import Pod
from spillover.core.scheduler import Scheduler

DOUBLINGS = 4
SIZES = {"pods": 1000, "nodes": 250, "policies": 50, "units": 3, "waiting pods": 50}
LARGE = ((1000, 10_000), (5000, 50_000), (15_000, 100_000))
"""Nodes and pods."""
OPEN = {"resource": "ecs", "nodeSelector": {"pool": "b"}}
FULL = {"resource": "ecs", "nodeSelector": {"pool": "a"}, "max": 0}


class World:
    """A scheduler with a cluster of these sizes. Two kinds of pods are decided: those that get a
    node of the first unit, and those that get one only of the last."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        cluster = ClusterCache(
            NodeConventions(), time.monotonic, time.time, lambda: 0.5, bounds=Bounds(tried=10**6)
        )
        self._scheduler = Scheduler(cluster)
        cluster.begin_term(1)
        cluster.term.open_all_but(frozenset())
        self.names = [f"node-{number:05}.region-a.internal" for number in range(sizes["nodes"])]
        for number, name in enumerate(self.names):
            cluster.put_node(Node(name, {"pool": "ab"[number % 2]}, ()))
        more = sizes["units"] - 1
        self._put("first", [OPEN] + [FULL] * more)
        self._put("last", [FULL] * more + [OPEN])
        self._put("waiting", [FULL])
        for number in range(sizes["policies"]):
            self._put(f"other-{number}", [OPEN, FULL])
        cluster.edits.take_in_all()
        for number in range(sizes["pods"]):
            app = f"other-{number % sizes['policies']}" if number % 2 else "first"
            cluster.put_pod(pod(f"bound-{number}", app, self.names[number % len(self.names)]))
        for number in range(sizes["waiting pods"]):
            self._scheduler.place(pod(f"waiting-{number}", "waiting"), self.names)
        self._number = 0

    def _put(self, app: str, units: list[dict[str, Any]]) -> None:
        metadata = {"name": app, "namespace": "ns", "uid": app}
        spec = {"selector": {"app": app}, "units": units}
        self._scheduler.cluster.put_policy(load({"metadata": metadata, "spec": spec}, ack.GROUP))

    def seconds(self, app: str) -> float:
        """Of one decision, with names that come off the wire."""
        self._number += 1
        one = pod(f"{app}-{self._number}", app)
        names = [name.encode().decode() for name in self.names]
        begun = time.perf_counter()
        decision = self._scheduler.place(one, names)
        took = time.perf_counter() - begun
        if not isinstance(decision, Placement):
            raise TypeError(decision)
        self._scheduler.cluster.drop_pod(one.uid, 2)
        return took


def pod(uid: str, app: str, node: str = "") -> Pod:
    return Pod(
        uid=uid, namespace="ns", name=uid, version=1, labels={"app": app}, annotations={},
        node=node, finished=False, terminating=False, tolerations=(), refusal="",
        slow_to_bind=False, priority=0, created="", scheduler="spillover-scheduler", since="",
        requests=(), owner="", nominated="", may_preempt=True, started=False, ready=False,
    )  # fmt: skip


def slope(values: list[float]) -> float:
    """The growth for each doubling."""
    logs = [math.log2(value) for value in values]
    middle = (len(logs) - 1) / 2
    mean = sum(logs) / len(logs)
    top = sum((x - middle) * (y - mean) for x, y in enumerate(logs))
    return float(2 ** (top / sum((x - middle) ** 2 for x in range(len(logs)))) - 1)


def measured(what: str, app: str, calls: int) -> list[float]:
    """Medians in seconds by size. The sizes take turns."""
    worlds = [World({**SIZES, what: SIZES[what] * 2**step}) for step in range(DOUBLINGS + 1)]
    times: list[list[float]] = [[] for _ in worlds]
    for turn in range(calls):
        for took, world in zip(times, worlds, strict=True):
            seconds = world.seconds(app)
            if turn >= 3:
                took.append(seconds)
    return [median(took) for took in times]


def large(nodes: int, pods: int, calls: int) -> dict[str, str]:
    """What a filter call costs in a cluster of this size, without HTTP."""
    begun = resident_mib(os.getpid())
    world = World({**SIZES, "nodes": nodes, "pods": pods})
    mib = resident_mib(os.getpid()) - begun
    request = msgspec.json.encode({"Pod": {"metadata": {}, "spec": {}}, "NodeNames": world.names})
    decoder = msgspec.json.Decoder(FilterArgs)
    reading, first, last = [], [], []
    for _ in range(calls):
        at = time.perf_counter()
        decoder.decode(request)
        reading.append(time.perf_counter() - at)
        first.append(world.seconds("first"))
        last.append(world.seconds("last"))
    return {
        "nodes": str(nodes),
        "pods": str(pods),
        "kB of a request": f"{len(request) / 1e3:.0f}",
        "to read it, µs": f"{median(reading) * 1e6:.0f}",
        "to decide, first unit, µs": f"{median(first) * 1e6:.0f}",
        "last unit, µs": f"{median(last) * 1e6:.0f}",
        "MiB of the core": f"{mib:.0f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=400, metavar="N")
    options = parser.parse_args()
    rows, data = [], {}
    for what, size in SIZES.items():
        for app in ("first", "last"):
            found = measured(what, app, options.calls)
            data[f"{what}, {app} unit"] = found
            rows.append(
                {
                    "what grows": f"{what}, from {size} to {size * 2**DOUBLINGS}",
                    "placed in": f"the {app} unit",
                    "µs at each size": ", ".join(f"{each * 1e6:.0f}" for each in found),
                    "for each doubling": f"{slope(found):+.1%}",
                }
            )
    command = f"./dev bench growth --calls {options.calls}"
    title = "A decision as a cluster grows"
    tables = {
        "Decisions": rows,
        "Large clusters": [large(*size, options.calls) for size in LARGE],
    }
    print(reports.write("growth", title, command, tables, {"seconds": data}))


if __name__ == "__main__":
    main()
