"""A namespace and nodes for one test, and their removal."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.client import ClusterError
from harness.cluster import Cluster
from harness.watch import Watch, is_waiting, node_of, scheduling_message

Object = dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """A place for one test. `pods` has every event in its namespace since the test began."""

    cluster: Cluster
    namespace: str
    pods: Watch

    def add(self, *objects: Object) -> None:
        self.cluster.create(*objects)

    def add_nodes(self, *nodes: Object) -> None:
        """Returns when those that kwok keeps are Ready."""
        self.cluster.add_nodes(*nodes)

    def add_unchecked(self, *policies: Object) -> None:
        """Policies that the webhook would refuse, as if they had been there before it was: the
        namespace opts out of it for a moment."""
        label = "spillover.dev/webhook"
        self.cluster.kubectl("label", "namespace", self.namespace, f"{label}=disabled")
        deadline = time.monotonic() + 30
        for policy in policies:
            # The API server's view of the namespace may be a moment old.
            while not self._created(policy):
                if time.monotonic() > deadline:
                    raise TimeoutError("the namespace is still checked")
        self.cluster.kubectl("label", "namespace", self.namespace, f"{label}-")

    def _created(self, policy: Object) -> bool:
        try:
            self.cluster.create(policy)
        except ClusterError as error:
            if "denied the request" in str(error):
                return False
            raise
        return True

    def scale(self, name: str, replicas: int) -> None:
        self.cluster.kubectl(
            "scale", f"deployment/{name}", "-n", self.namespace, f"--replicas={replicas}"
        )


def clear(cluster: Cluster, namespace: str) -> None:
    """Pods on nodes that nobody keeps would stay Terminating for ever: forced."""
    cluster.kubectl(
        "delete",
        "deployments,daemonsets",
        "--all",
        "-n",
        namespace,
        "--cascade=foreground",
        "--wait=false",
    )
    cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--force", "--wait=false")


def answered(count: int) -> Callable[[list[Object]], bool]:
    """A condition: there are `count` pods, and each is placed or refused."""
    return lambda pods: (
        len(pods) == count and all(node_of(pod) or scheduling_message(pod) for pod in pods)
    )


def placed_or_waiting(count: int) -> Callable[[list[Object]], bool]:
    """The same where so many wait that some are gated in the crowd, which nobody answers for."""
    return lambda pods: len(pods) == count and all(node_of(pod) or is_waiting(pod) for pod in pods)
