"""What the predictive autoscaler needs for many objects: time, memory and queries, on a real API
server with a real Prometheus that has seven days of each.

`./dev bench autoscalers [--objects N] [--minutes N]`
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ahpa.objects import ahpa
from ahpa.site import GPU, Site, site
from harness import reports, scenes
from harness.processes import resident_mib, used_seconds

_NAMESPACES = 10
_STEP = 60
_SECONDS = 600.0


def past(pods: dict[str, tuple[str, int]], until: float) -> Iterator[str]:
    """Seven days of samples of each pod, a sample each minute. `pods` are namespaces and phases."""
    end = math.floor(until / _STEP) * _STEP
    yield f"# TYPE {GPU} gauge"
    for pod, (namespace, phase) in pods.items():
        for number in range(7 * 1440, 0, -1):
            at = end - number * _STEP
            hour = at % 86_400 / 3600 + phase
            load = 50 + 30 * math.sin(hour / 24 * 2 * math.pi)
            yield f'{GPU}{{namespace="{namespace}",pod="{pod}"}} {load:.2f} {at}'


def filled(found: Site, objects: int) -> dict[str, tuple[str, int]]:
    """Makes the Deployments, without pods. Returns a pod for each, which the exporter has."""
    cluster = found.cluster
    for number in range(_NAMESPACES):
        cluster.kubectl("create", "namespace", f"tenant-{number}")
    where = {f"app-{number}": f"tenant-{number % _NAMESPACES}" for number in range(objects)}
    cluster.apply(
        *(
            scenes.deployment(namespace, name, "nobody", replicas=0, gpus=0)
            for name, namespace in where.items()
        )
    )

    def replica_sets() -> dict[str, str]:
        items = json.loads(cluster.kubectl("get", "rs", "-A", "-o", "json"))["items"]
        made = {
            each["metadata"]["ownerReferences"][0]["name"]: each["metadata"]["name"]
            for each in items
        }
        return made if len(made) == objects else {}

    made = found.until(replica_sets, 120, "the ReplicaSets")
    return {
        f"{made[name]}-abcde": (namespace, number % 24)
        for number, (name, namespace) in enumerate(where.items())
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=100, metavar="N")
    parser.add_argument("--minutes", type=int, default=3, metavar="N")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, site("bench", Path(folder)) as found:
        pods = filled(found, options.objects)
        lines = list(past(pods, time.time()))
        for namespace in {namespace for namespace, _ in pods.values()}:
            own = {pod: 50.0 for pod, (where, _) in pods.items() if where == namespace}
            found.exporter.set(namespace, own)
        leader = found.leader()
        idle = resident_mib(leader.pid())
        with found.prometheus(lines):
            begun, spent = time.monotonic(), used_seconds(leader.pid())
            found.cluster.apply(
                *(ahpa(where, _owner(pod), _owner(pod)) for pod, (where, _) in pods.items())
            )
            found.until(lambda: forecast(found) == options.objects, _SECONDS, "all forecasts")
            first = time.monotonic() - begun
            first_core = used_seconds(leader.pid()) - spent
            before, at = used_seconds(leader.pid()), time.monotonic()
            time.sleep(60 * options.minutes)
            a_minute = (used_seconds(leader.pid()) - before) / (time.monotonic() - at) * 60
            mib = resident_mib(leader.pid())
    row = {
        "objects": str(options.objects),
        "until all have a forecast, s": f"{first:.0f}",
        "of a core for that, s": f"{first_core:.1f}",
        "of a core for each later minute, s": f"{a_minute:.1f}",
        "MiB idle": f"{idle:.0f}",
        "MiB": f"{mib:.0f}",
    }
    command = f"./dev bench autoscalers --objects {options.objects} --minutes {options.minutes}"
    title = "The predictive autoscaler with many objects"
    print(reports.write("autoscalers", title, command, {"One process": [row]}, row))


def _owner(pod: str) -> str:
    """The Deployment's name."""
    return pod.rpartition("-")[0].rpartition("-")[0]


def forecast(found: Site) -> int:
    """How many objects have one."""
    items = json.loads(found.cluster.kubectl("get", "ahpa", "-A", "-o", "json"))["items"]
    return sum(
        condition["status"] == "True"
        for each in items
        for condition in each.get("status", {}).get("conditions", ())
        if condition["type"] == "ModelAvailable"
    )


if __name__ == "__main__":
    main()
