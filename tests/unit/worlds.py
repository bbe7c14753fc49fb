"""The world of tests of decisions: a scheduler that leads, what it knows, and a clock."""

from collections.abc import Iterable
from typing import Any

from builders import leading, pod
from spillover.core.cache.cluster import ClusterCache
from spillover.core.cache.unschedulable import DEFAULT_BOUNDS, Bounds
from spillover.core.decision.outcomes import Placement
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.nodes import Node
from spillover.core.model.pods import Pod
from spillover.core.model.policy import LoadedPolicy
from spillover.core.scheduler import Scheduler


class World:
    """`now` is set by the test, in seconds; the wall clock is `wall` seconds ahead of it. `jitter`
    is there in place of chance."""

    def __init__(
        self,
        policies: Iterable[LoadedPolicy],
        nodes: Iterable[Node],
        *,
        jitter: float = 0.0,
        wall: float = 0.0,
        bounds: Bounds = DEFAULT_BOUNDS,
    ) -> None:
        self.now = 0.0
        self.version = 10
        self.cluster = ClusterCache(
            NodeConventions(), lambda: self.now, lambda: wall + self.now, lambda: jitter, bounds
        )
        self.scheduler = leading(Scheduler(self.cluster))
        for node in nodes:
            self.cluster.put_node(node)
        for policy in policies:
            self.cluster.put_policy(policy)

    def put(self, name: str, **fields: Any) -> Pod:
        """A newer version of the pod, as the watch shows it."""
        self.version += 1
        seen = pod(name, version=self.version, **fields)
        self.cluster.put_pod(seen)
        return seen

    def delete(self, name: str) -> None:
        self.version += 1
        self.cluster.drop_pod(name, self.version)

    def filter(self, who: Pod, *offered: str) -> str:
        """The unit's title, or the reason of the first node."""
        decision = self.scheduler.place(who, offered)
        if isinstance(decision, Placement):
            return decision.unit.title if decision.unit else "outside"
        return decision.reasons[offered[0]]

    def nudged(self) -> list[str]:
        """The pods that are nudged now."""
        return [each.name for each in self.scheduler.due_nudges()]
