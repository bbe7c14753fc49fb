"""./dev demo: the main job, for a newcomer."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.client import ClusterError
from harness.cluster import Cluster, Options
from harness.places import ROOT
from harness.watch import Watch, is_live, is_ready, node_of, scheduling_message

Object = dict[str, Any]

NAME = "demo"
FILES = ROOT / "e2e" / "demo"
STEPS = (3, 6, 8, 3)
EXPECTED = {3: [2, 1, 0], 6: [2, 2, 2], 8: [2, 2, 2]}
"""Pods in each unit, by replicas."""
_PLACES = 6
_STEP_SECONDS = 60.0
_LOOK_SECONDS = 3.0
"""How long each outcome stays on a terminal before the next step."""

_UNITS = (
    ("1", "prepaid", "prepaid-", "2 GPUs"),
    ("2", "virtual node", "virtual", "max 2"),
    ("3", "pay-as-you-go", "postpaid-", "2 GPUs"),
)


def demo(*, keep: bool) -> int:
    """Runs the demo on a cluster of its own. Returns the exit status."""
    console = Console(highlight=False)
    cluster = Cluster(NAME)
    cluster.up(Options(), lambda text: console.print(f"[dim]{text}[/dim]"))
    try:
        _play(cluster, console)
    finally:
        if not keep:
            cluster.down()
    _say_how_to_go_on(console, cluster, keep=keep)
    return 0


def _play(cluster: Cluster, console: Console) -> None:
    for name in ("nodes.yaml", "policy.yaml", "workload.yaml"):
        cluster.kubectl("apply", "-f", str(FILES / name))
    console.print("\n[bold]The policy[/bold]\n")
    console.print((FILES / "policy.yaml").read_text(), markup=False)
    cluster.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
    with Watch(cluster, "/api/v1/namespaces/default/pods") as watch:
        before = 0
        for replicas in STEPS:
            title = f"kubectl scale deployment inference --replicas={replicas}"
            with _shown(console, title, watch) as show:
                cluster.kubectl("scale", "deployment/inference", f"--replicas={replicas}")
                deadline = time.monotonic() + _STEP_SECONDS
                while not settled(list(watch.objects.values()), replicas):
                    show()
                    if time.monotonic() > deadline:
                        raise ClusterError(f"{replicas} replicas did not settle")
                    time.sleep(0.05)
                show()
            found = distribution(list(watch.objects.values()))
            if found != EXPECTED[replicas]:
                raise ClusterError(f"{replicas} replicas ended as {found}: {EXPECTED[replicas]}")
            console.print(_moral(before, replicas))
            before = replicas
            if console.is_terminal:
                time.sleep(_LOOK_SECONDS)


def settled(pods: list[Object], replicas: int) -> bool:
    """Whether the workload's pods are as many as wanted, and each is ready or says why it waits."""
    live = [pod for pod in pods if is_live(pod)]
    ready = [pod for pod in live if is_ready(pod)]
    waiting = [pod for pod in live if not node_of(pod) and scheduling_message(pod)]
    return (
        len(pods) == replicas
        and len(ready) == min(replicas, _PLACES)
        and len(ready) + len(waiting) == replicas
    )


def distribution(pods: list[Object]) -> list[int]:
    return [
        sum(is_live(pod) and node_of(pod).startswith(prefix) for pod in pods)
        for _, _, prefix, _ in _UNITS
    ]


def _moral(before: int, after: int) -> str:
    if after < before:
        return f"[green]Back to {after}: the dearest capacity was given back first.[/green]\n"
    if after > _PLACES:
        return "[green]Full: the rest waits, and each pod says why.[/green]\n"
    return f"[green]{after} pods, in the order of the policy.[/green]\n"


@contextmanager
def _shown(console: Console, title: str, watch: Watch) -> Iterator[Any]:
    """Gives a function that shows the present state: live on a terminal, else once at the end."""

    def picture() -> RenderableType:
        return _picture(title, list(watch.objects.values()))

    if not console.is_terminal:
        yield lambda: None
        console.print(picture(), soft_wrap=True)
        return
    with Live(picture(), console=console, refresh_per_second=10) as live:
        yield lambda: live.update(picture())


def _picture(title: str, pods: list[Object]) -> RenderableType:
    table = Table(box=None)
    for heading in ("", "unit", "has", "pods", ""):
        table.add_column(heading, no_wrap=True)
    live = sorted((pod for pod in pods if is_live(pod)), key=lambda pod: pod["metadata"]["name"])
    for number, unit, prefix, room in _UNITS:
        here = [pod for pod in live if node_of(pod).startswith(prefix)]
        names = " ".join(_short(pod) for pod in here)
        table.add_row(number, unit, room, str(len(here)), f"[cyan]{'■' * len(here)}[/cyan] {names}")
    waiting = [pod for pod in live if not node_of(pod)]
    names = " ".join(_short(pod) for pod in waiting)
    table.add_row("", "waiting", "", str(len(waiting)), f"[red]{'■' * len(waiting)}[/red] {names}")
    reasons = sorted({scheduling_message(pod).partition(". ")[0] for pod in waiting} - {""})
    return Group(
        Text(f"$ {title}", style="bold"),
        table,
        *(Text(f"   why: {reason}", style="yellow") for reason in reasons),
    )


def _short(pod: Object) -> str:
    return str(pod["metadata"]["name"]).rpartition("-")[2]


def _say_how_to_go_on(console: Console, cluster: Cluster, *, keep: bool) -> None:
    if keep:
        console.print(
            f"The cluster stays. Go on by hand:\n"
            f"  ./dev kubectl --name {NAME} get pods -o wide\n"
            f"  ./dev kubectl --name {NAME} scale deployment/inference --replicas=7\n"
            f"  ./dev logs --name {NAME} extender\n"
            f"  ./dev down --name {NAME}\n"
            f"KUBECONFIG={cluster.kubeconfig}",
            markup=False,
        )
    else:
        files = Path("e2e/demo")
        console.print(
            f"The cluster is gone. Go on by hand with one that stays:\n"
            f"  ./dev demo --keep\n"
            f"or from the same files:\n"
            f"  ./dev up --nodes {files}/nodes.yaml\n"
            f"  ./dev kubectl apply -f {files}/policy.yaml -f {files}/workload.yaml\n"
            f"  ./dev kubectl scale deployment/inference --replicas=6\n"
            f"  ./dev kubectl get pods -o wide\n"
            f"  ./dev down",
            markup=False,
        )
