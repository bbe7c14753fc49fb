"""What goes wrong while the components start: no API server, and no time on the processor."""

import time

from harness import install
from harness.install import NAMESPACE
from harness.node.cluster import NodeCluster
from harness.watch import is_ready

AWAY_SECONDS = 60
"""Without a startup probe, liveness gives up 45 s after a start."""


def test_nobody_is_restarted_while_it_is_away_or_a_start_is_slow(own_node: NodeCluster) -> None:
    """All processes of Spillover end, and start again while there is no API server. The kubelet
    goes on with what it knows. One of the new processes gets no time at all, as on a node under
    load. When all that is over, each container has been restarted once: by us."""
    before = containers(own_node)
    old = {container for _, container in before.values()}
    running = own_node.running()
    others = running - old
    own_node.stop("kube-apiserver")
    paused = ""
    try:
        for container in old:
            own_node.kill(container)
        own_node.wait("a new container", lambda: bool(own_node.running() - running))
        one = min(own_node.running() - running)
        own_node.pause(one)
        paused = one
        own_node.wait(
            "new containers",
            lambda: len(own_node.running() - others - old) == len(old) - 1,
        )
        began = time.monotonic()
        own_node.wait(
            "the end of the time without an API server",
            lambda: time.monotonic() - began >= AWAY_SECONDS,
        )
    finally:
        if paused:
            own_node.resume(paused)
        own_node.start_again("kube-apiserver")
    own_node.wait("the API server", own_node.is_api_server_ready)
    own_node.wait("ready Pods", lambda: _all_started_again(own_node, before), 120)
    after = {key: count for key, (count, _) in containers(own_node).items()}
    print(f"no API server for {AWAY_SECONDS} s; restarts: {after}")
    assert after == {key: count + 1 for key, (count, _) in before.items()}


def containers(cluster: NodeCluster) -> dict[tuple[str, str], tuple[int, str]]:
    """How often each has been restarted, and its id, by Pod and name."""
    return {
        (pod["metadata"]["name"], status["name"]): (
            status["restartCount"],
            status["containerID"].removeprefix("containerd://"),
        )
        for component in install.DEPLOYMENTS
        for pod in install.pods(cluster, component)
        for status in pod["status"]["containerStatuses"]
    }


def _all_started_again(
    cluster: NodeCluster, before: dict[tuple[str, str], tuple[int, str]]
) -> bool:
    """The kubelet has told so: until then the Pods' old status stands."""
    now = containers(cluster)
    pods = cluster.items("pods", "-n", NAMESPACE)
    return (
        now.keys() == before.keys()
        and all(now[key][0] > before[key][0] for key in before)
        and all(map(is_ready, pods))
    )
