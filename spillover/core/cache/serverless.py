"""The implicit policy of pods that ask for serverless capacity by label and are under no other
policy. Its single unit has the virtual nodes, limited to the region that the pod names."""

from collections.abc import Mapping

from cachetools import LRUCache

from spillover.core.model.conventions import REGION, asks_for_serverless
from spillover.core.model.policy import IMPLICIT_GROUP, NodeKind, NodePool, Policy, PolicyKey, Unit
from spillover.core.model.selectors import Operator, Requirement

NAME = "serverless"
TOPOLOGY_REGION = "topology.kubernetes.io/region"
MOST_REGIONS = 64
"""The number of regions whose units are kept. The least recently used unit is forgotten first."""


class ServerlessPolicies:
    """`marks` are the labels by which pods ask for serverless capacity. `wanted` is the label of
    the namespaces whose pods may ask. If it is None, pods of every namespace may ask."""

    def __init__(
        self, marks: frozenset[tuple[str, str]], wanted: tuple[str, str] | None = None
    ) -> None:
        self._marks = marks
        self._wanted = wanted
        self._open: set[str] = set()
        self._units: LRUCache[str, Unit] = LRUCache(MOST_REGIONS)

    def for_pod(self, namespace: str, labels: Mapping[str, str]) -> Policy | None:
        if not asks_for_serverless(labels, self._marks):
            return None
        if self._wanted is not None and namespace not in self._open:
            return None
        region = labels.get(REGION, "")
        name = f"{NAME}-{region}" if region else NAME
        return Policy(
            key=PolicyKey(IMPLICIT_GROUP, namespace, name),
            uid="",
            created="",
            selector={},
            units=(self._unit(region),),
        )

    def put_namespace(self, name: str, labels: Mapping[str, str]) -> bool:
        """Returns whether the permission of the namespace's pods has changed."""
        was = name in self._open
        may = self._wanted is not None and labels.get(self._wanted[0]) == self._wanted[1]
        if may:
            self._open.add(name)
        else:
            self._open.discard(name)
        return was != may

    def open_namespaces(self) -> frozenset[str]:
        return frozenset(self._open)

    def _unit(self, region: str) -> Unit:
        unit = self._units.get(region)
        if unit is None:
            wanted = Requirement(TOPOLOGY_REGION, Operator.IN, (region,))
            pool = NodePool(NodeKind.VIRTUAL, (wanted,) if region else ())
            unit = Unit(identity=NAME, title=f"{NAME}({region})" if region else NAME, pool=pool)
            self._units[region] = unit
        return unit
