"""./dev demo ahpa: days of 24 minutes. A service is observed first, then scaled ahead of its load,
beside one that is scaled by the present load only, as an HPA does it.

A pod needs 10 s until it works: 10 minutes of a real day. The HPA of Kubernetes looks every 15 s,
which would be a quarter of an hour here; so its rule is applied by the strategy `reactive`, every
second.
"""

import base64
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ahpa.objects import Object, ahpa, past
from ahpa.site import Site, site
from harness import scenes

NAME = "demo"
CHART = "spillover-ahpa-chart.html"
_NAMESPACE = "default"
_DAY = 1440.0
"""Seconds."""
_START_SECONDS = 10.0
_TARGET = 60
_LEAST, _MOST = 2, 30
_CALM, _BUSY = 100.0, 1000.0
_BEFORE_SECONDS, _AFTER_SECONDS = 45.0, 35.0
"""Of the morning, in which the load grows."""
_LOOK_SECONDS = 0.5
_NAMES = ("ahead", "behind")


@dataclass
class Served:
    """One service: how many of its pods work, and what it could not take."""

    replica_set: str
    asked: list[tuple[float, int]] = field(default_factory=list)
    """When how many replicas were asked for."""
    saturated: float = 0.0
    """Seconds."""
    paid: float = 0.0
    """Seconds times replicas."""
    most: int = 0

    def step(self, now: float, replicas: int, load: float, seconds: float) -> dict[str, float]:
        """The utilisation of each pod that works."""
        self.asked.append((now, replicas))
        old = [number for at, number in self.asked if at <= now - _START_SECONDS][-1:]
        ready = max(1, min([*old, *(n for at, n in self.asked if at > now - _START_SECONDS)]))
        self.saturated += seconds * (load > 100 * ready)
        self.paid += seconds * replicas
        self.most = max(self.most, replicas)
        each = min(100.0, load / ready)
        return {f"{self.replica_set}-{number:05}": each for number in range(ready)}


def demo() -> int:
    """Runs the demo on a cluster of its own. Returns the exit status."""
    console = Console(highlight=False)
    console.print("[dim]starting a cluster, Prometheus and the autoscaler: half a minute[/dim]")
    with (
        tempfile.TemporaryDirectory() as folder,
        site(NAME, Path(folder), "--period=1", f"--season={int(_DAY)}") as found,
    ):
        _play(found, console)
    console.print("The cluster is gone. Your own: docs/predictive-autoscaling.md", markup=False)
    return 0


def _play(found: Site, console: Console) -> None:
    cluster = found.cluster
    cluster.apply(scenes.node("worker", gpus=0))
    served = {name: Served(_deployed(found, name)) for name in _NAMES}
    begun = time.time()
    morning = (begun + _BEFORE_SECONDS + 25) % _DAY / _DAY

    def load(part: float) -> float:
        """By the part of the day."""
        since = (part - morning) % 1
        rising = min(1.0, since * 40)
        falling = min(1.0, max(0.0, (0.5 - since) * 20))
        return _CALM + (_BUSY - _CALM) * min(rising, falling)

    lines: list[str] = []
    for each in served.values():
        own = past(_NAMESPACE, f"{each.replica_set}-00000", load, 1, begun)
        lines += own if not lines else list(own)[1:]
    _tell(found, served, load)
    with found.prometheus(lines):
        cluster.apply(_object("ahead", "observer"), _object("behind", "reactive"))
        console.print("\nSeven days are in Prometheus. First, the service is observed:\n")
        until = time.time() + 15
        for _ in _following(found, served, load, until):
            pass
        console.print(cluster.kubectl("get", "ahpa", "-o", "wide"), markup=False, soft_wrap=True)
        cluster.apply(_object("ahead", "auto"))
        wait = (morning * _DAY - time.time()) % _DAY
        console.print(f"Then it is scaled. The morning comes in {wait:.0f} s:\n")
        _show(found, served, load, time.time() + wait + _AFTER_SECONDS, console)
        path = Path(tempfile.gettempdir()) / CHART
        path.write_text(_chart(found))
    table = Table(box=None)
    for heading in ("", "load too high for", "replicas at most", "replicas paid, mean"):
        table.add_column(heading, no_wrap=True)
    seconds = time.time() - begun
    for name, title in (("ahead", "forecast and load"), ("behind", "load only, as an HPA")):
        one = served[name]
        row = (f"{one.saturated:.0f} s", str(one.most), f"{one.paid / seconds:.1f}")
        table.add_row(title, *row)
    console.print(table)
    console.print(f"\nThe chart is in {path}", markup=False)


def _deployed(found: Site, name: str) -> str:
    """Makes the Deployment, and returns the name of its ReplicaSet."""
    found.cluster.apply(
        scenes.deployment(_NAMESPACE, name, "default-scheduler", replicas=_LEAST, gpus=0)
    )

    def replica_set() -> str:
        return found.cluster.kubectl(
            "get", "rs", "-l", f"app={name}", "-o", "jsonpath={.items[0].metadata.name}",
            check=False,
        )  # fmt: skip

    return str(found.until(replica_set, 30, "the ReplicaSet"))


def _object(name: str, strategy: str) -> Object:
    metric = {"name": "gpu", "target": {"type": "Utilization", "averageUtilization": _TARGET}}
    return ahpa(
        _NAMESPACE, name, name, scaleStrategy=strategy, minReplicas=_LEAST, maxReplicas=_MOST,
        stabilizationWindowSeconds=5, metrics=[{"type": "Resource", "resource": metric}],
        prediction={"quantile": 95, "scaleUpForward": int(_START_SECONDS) + 3},
    )  # fmt: skip


def _tell(found: Site, served: dict[str, Served], load: Callable[[float], float]) -> None:
    """One step: reads how many replicas are asked for, and sets what the exporter shows."""
    now = time.time()
    values: dict[str, float] = {}
    items = json.loads(found.cluster.kubectl("get", "deployments", "-o", "json"))["items"]
    replicas = {each["metadata"]["name"]: each["spec"]["replicas"] for each in items}
    for name, each in served.items():
        seconds = now - each.asked[-1][0] if each.asked else 0.0
        values |= each.step(now, replicas[name], load(now % _DAY / _DAY), seconds)
    found.exporter.set(_NAMESPACE, values)


def _following(
    found: Site, served: dict[str, Served], load: Callable[[float], float], until: float
) -> Iterator[None]:
    """Steps until then; yields after each."""
    while time.time() < until:
        _tell(found, served, load)
        yield
        time.sleep(_LOOK_SECONDS)


def _show(
    found: Site,
    served: dict[str, Served],
    load: Callable[[float], float],
    until: float,
    console: Console,
) -> None:
    """A line each ten seconds."""
    told = 0.0
    for _ in _following(found, served, load, until):
        now = time.time()
        if now - told < _START_SECONDS:
            continue
        told = now
        wanted = load(now % _DAY / _DAY)
        numbers = ", ".join(f"{name} {each.asked[-1][1]:2}" for name, each in served.items())
        bar = "■" * round(wanted / 50)
        console.print(f"load {wanted:5.0f} %  replicas: {numbers}  [cyan]{bar}[/cyan]")
    console.print()


def _chart(found: Site) -> str:
    path = "/apis/metrics.alibabacloud.com/v1beta1/namespaces/default/predictionsobserver/ahead"
    answer = json.loads(found.cluster.kubectl("get", "--raw", path))
    return base64.b64decode(answer["content"]).decode()
