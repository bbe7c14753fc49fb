"""./dev demo federation: three members under a stand-in for KubeAdmiral, by weight."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from federation.fleet import (
    MEMBERS,
    NAMESPACE,
    POSTPAID,
    WORKLOAD,
    Running,
    fleet,
    override,
    propagation,
    workload,
)
from federation.states import told
from harness.client import ClusterError
from harness.watch import Watch, is_live, node_of, scheduling_message

NAME = "demo"
_STEP_SECONDS = 60.0
_LOOK_SECONDS = 3.0
"""How long each outcome stays on a terminal before the next step."""
_STEPS = (
    (10, 2, "2/2/0 2/2/0 2/0/0", "10 replicas, by weight: 4, 4 and 2."),
    (15, 2, "2/2/2 2/2/2 2/1/0", "15 replicas: both VKE clusters are full."),
    (
        20, 2, "2/2/2+2 2/2/2+2 2/2/4",
        "20 replicas: 4 pods fit in no VKE cluster. After 10 s KubeAdmiral runs copies in ACK.",
    ),
    (20, 4, "2/4/2 2/4/2 2/2/0", "The VKE clusters may use 4 virtual pods: the copies go."),
    (10, 4, "2/2/0 2/2/0 2/0/0", "Back to 10: the dearest capacity is given back first."),
)  # fmt: skip
"""Replicas, the virtual units' maximum in the VKE clusters, what follows, and what to learn."""
_UNITS = ("prepaid-", "virtual-", "postpaid-")


def demo() -> int:
    """Runs the demo on clusters of its own. Returns the exit status."""
    console = Console(highlight=False)
    console.print("[dim]starting a hub and three members: about half a minute[/dim]")
    with fleet(NAME) as found, ExitStack() as stack:
        pods = {
            name: stack.enter_context(Watch(cluster, f"/api/v1/namespaces/{NAMESPACE}/pods"))
            for name, cluster in found.members.items()
        }
        found.hub.apply(propagation("by-weight"), override("annotations"))
        found.hub.apply(workload(_STEPS[0][0], "by-weight", "annotations"))
        console.print(
            "\nWeights 40, 40 and 20. Each cluster: 2 prepaid GPUs, then a virtual node, at most 2"
            "\npods there, then pay-as-you-go GPUs: 2 in each VKE cluster, 10 in ACK.\n",
            soft_wrap=True,
        )
        stack.enter_context(Running(found))
        for replicas, most, state, moral in _STEPS:
            found.set_virtual_max(most, *MEMBERS[:2])
            found.scale(replicas)
            title = f"kubectl scale deployment {WORKLOAD} --replicas={replicas}"
            with _shown(console, title, pods) as show:
                _settle(pods, state, show)
            console.print(f"[green]{moral}[/green]\n", soft_wrap=True)
            if console.is_terminal:
                time.sleep(_LOOK_SECONDS)
    console.print("The clusters are gone. A fleet of your own: docs/federation.md", markup=False)
    return 0


def _settle(pods: Mapping[str, Watch], state: str, show: Callable[[], None]) -> None:
    deadline = time.monotonic() + _STEP_SECONDS
    while (now := " ".join(told(list(watch.objects.values())) for watch in pods.values())) != state:
        show()
        if time.monotonic() > deadline:
            raise ClusterError(f"the pods are {now}, and not {state}")
        time.sleep(0.05)
    show()


@contextmanager
def _shown(console: Console, title: str, pods: Mapping[str, Watch]) -> Iterator[Callable[[], None]]:
    """Gives a function that shows the present state: live on a terminal, else once at the end."""
    if not console.is_terminal:
        yield lambda: None
        console.print(_picture(title, pods), soft_wrap=True)
        return
    with Live(_picture(title, pods), console=console, refresh_per_second=10) as live:
        yield lambda: live.update(_picture(title, pods))


def _picture(title: str, pods: Mapping[str, Watch]) -> RenderableType:
    table = Table(box=None)
    for heading in ("member", "prepaid", "virtual", "pay-as-you-go", "waiting"):
        table.add_column(heading, no_wrap=True)
    reasons = set()
    for member, watch in pods.items():
        live = list(filter(is_live, watch.objects.values()))
        counts = [sum(node_of(pod).startswith(prefix) for pod in live) for prefix in _UNITS]
        waiting = [pod for pod in live if not node_of(pod)]
        reasons |= {scheduling_message(pod).partition(". ")[0] for pod in waiting} - {""}
        cells = [f"{count} [cyan]{'■' * count}[/cyan]" for count in counts]
        cells[2] += f" of {POSTPAID[member]}"
        table.add_row(member, *cells, f"{len(waiting)} [red]{'■' * len(waiting)}[/red]")
    return Group(
        Text(f"$ {title}", style="bold"),
        table,
        *(Text(f"   why: {reason}", style="yellow") for reason in sorted(reasons)),
    )
