"""Which nodes a pod fits on, for explanations to users. The module predicts the answers of the
scheduler's own plugins, as far as pods and nodes alone determine them. It does not check ports,
volumes, topology spread and affinity between pods.

Source: k8s.io/kubernetes, plugins NodeUnschedulable, NodeAffinity and NodeResourcesFit.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from spillover.api.kubernetes import (
    ConstrainedPod,
    NodeCapacity,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Toleration,
)
from spillover.core.model.pods import Pod
from spillover.core.model.resources import Amounts, Requests, amount_of
from spillover.core.model.selectors import Operator, Requirement, includes

_UNSCHEDULABLE = Toleration("node.kubernetes.io/unschedulable", "Exists", "", "NoSchedule")
CORDONED = "cordoned"
MISMATCH = "not matched by the pod's node selector or affinity"


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a node offers to pods. Amounts are in the units of Requests."""

    name: str
    labels: Mapping[str, str]
    cordoned: bool
    allocatable: Mapping[str, int]


def capacity_of(name: str, labels: Mapping[str, str], wire: NodeCapacity) -> Capacity:
    allocatable = wire.status.allocatable or {}
    return Capacity(
        name=name,
        labels=labels,
        cordoned=wire.spec.unschedulable,
        allocatable={key: amount_of(key, text) for key, text in allocatable.items()},
    )


def in_use(pods: Iterable[Pod]) -> dict[str, Amounts]:
    """The total requests of the unfinished pods on each node, with their number as `pods`."""
    used: dict[str, Amounts] = {}
    for pod in pods:
        if pod.node and not pod.finished:
            there = used.setdefault(pod.node, Counter())
            there.update(dict(pod.requests))
            there["pods"] += 1
    return used


def misfit(
    pod: Pod, constraints: ConstrainedPod, node: Capacity, used: Mapping[str, int] | None
) -> str | None:
    """Why the pod does not fit on the node, or None. `used` is what other pods request there. None
    if that is not known: free capacity is then not checked."""
    if node.cordoned and not any(_tolerates_cordon(each) for each in pod.tolerations):
        return CORDONED
    if not _matches(constraints, node):
        return MISMATCH
    lacking = _lacking(pod.requests, node, used) if used is not None else []
    return f"without enough free {', '.join(lacking)}" if lacking else None


def _tolerates_cordon(toleration: Toleration) -> bool:
    return (
        toleration.operator == "Exists"
        and toleration.key in ("", _UNSCHEDULABLE.key)
        and toleration.effect in ("", _UNSCHEDULABLE.effect)
    ) or (
        toleration.operator in ("", "Equal")
        and toleration.key == _UNSCHEDULABLE.key
        and not toleration.value
        and toleration.effect in ("", _UNSCHEDULABLE.effect)
    )


def _lacking(requests: Requests, node: Capacity, used: Mapping[str, int]) -> list[str]:
    wanted = (*requests, ("pods", 1))
    return [
        name
        for name, amount in wanted
        if amount and used.get(name, 0) + amount > node.allocatable.get(name, 0)
    ]


def _matches(constraints: ConstrainedPod, node: Capacity) -> bool:
    spec = constraints.spec
    if not includes(node.labels, spec.node_selector or {}):
        return False
    affinity = spec.affinity.node_affinity if spec.affinity is not None else None
    if affinity is None or affinity.required is None:
        return True
    return any(_term(term, node) for term in affinity.required.node_selector_terms or ())


def _term(term: NodeSelectorTerm, node: Capacity) -> bool:
    """An empty term matches nothing."""
    labels = term.match_expressions or []
    fields = term.match_fields or []
    if not labels and not fields:
        return False
    return _all(labels, node.labels) and _all(fields, {"metadata.name": node.name})


def _all(wanted: Sequence[NodeSelectorRequirement], values: Mapping[str, str]) -> bool:
    return all(
        Requirement(each.key, Operator(each.operator), tuple(each.values or ())).matches(values)
        for each in wanted
    )


Misfit = Callable[[str], str | None]
"""Returns for a node name why the pod does not fit there, or None."""
