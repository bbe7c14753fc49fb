"""An API server that is away while the components start."""

import time

import pytest

from harness import install
from harness.install import NAMESPACE
from harness.node.cluster import NodeCluster
from harness.watch import is_ready


@pytest.mark.timeout(400)
def test_nobody_is_restarted_while_it_is_away(own_node: NodeCluster, *, full: bool) -> None:
    """All processes of Spillover end, and start again while there is no API server. The kubelet
    goes on with what it knows. When the API server is back, each has been restarted once: by us."""
    seconds = 60 if full else 50  # liveness gives up after 45
    before = containers(own_node)
    old = {container for _, container in before.values()}
    number = len(own_node.running())
    own_node.stop("kube-apiserver")
    stopped = time.monotonic()
    try:
        for container in old:
            own_node.kill(container)
        own_node.wait(
            "new containers",
            lambda: len(running := own_node.running()) == number and not running & old,
        )
        own_node.wait(
            "the end of the time without an API server",
            lambda: time.monotonic() - stopped >= seconds,
        )
    finally:
        own_node.start_again("kube-apiserver")
    own_node.wait("the API server", own_node.is_api_server_ready)
    own_node.wait("ready Pods", lambda: _all_started_again(own_node, before), 120)
    after = {key: count for key, (count, _) in containers(own_node).items()}
    print(f"API server away for {time.monotonic() - stopped:.0f} s; restarts: {after}")
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
