"""Pods that ask for serverless capacity by label and are under no policy: they have one of a single
unit, the virtual nodes, narrowed to the region that they name."""

from collections.abc import Mapping

from cachetools import LRUCache

from spillover.core.admission import REGION, asks_for_serverless
from spillover.core.nodes import NodeIndex
from spillover.core.policy import IMPLICIT_GROUP, NodeKind, NodePool, Policy, PolicyKey, Unit
from spillover.core.selectors import Operator, Requirement

NAME = "serverless"
TOPOLOGY_REGION = "topology.kubernetes.io/region"
MOST_REGIONS = 64
"""Whose nodes are kept together; the longest unused is forgotten first."""


class _HeldUnits(LRUCache[str, Unit]):
    """Lets go of a unit's pool with the unit."""

    def __init__(self, nodes: NodeIndex) -> None:
        super().__init__(MOST_REGIONS)
        self._nodes = nodes

    def popitem(self) -> tuple[str, Unit]:
        region, unit = super().popitem()
        self._nodes.release(unit.pool)
        return region, unit


class ServerlessPolicies:
    """`marks` are the labels by which pods ask."""

    def __init__(self, nodes: NodeIndex, marks: frozenset[tuple[str, str]]) -> None:
        self._nodes = nodes
        self._marks = marks
        self._units = _HeldUnits(nodes)

    def for_pod(self, namespace: str, labels: Mapping[str, str]) -> Policy | None:
        if not asks_for_serverless(labels, self._marks):
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

    def _unit(self, region: str) -> Unit:
        unit = self._units.get(region)
        if unit is None:
            wanted = Requirement(TOPOLOGY_REGION, Operator.IN, (region,))
            pool = NodePool(NodeKind.VIRTUAL, (wanted,) if region else ())
            unit = Unit(identity=NAME, title=f"{NAME}({region})" if region else NAME, pool=pool)
            self._nodes.hold(pool)
            self._units[region] = unit
        return unit
