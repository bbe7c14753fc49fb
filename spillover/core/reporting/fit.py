"""Which nodes a pod fits on, for explanations to users. The module predicts the answers of the
scheduler's own plugins, as far as pods and nodes alone determine them. It does not check volumes,
resource claims, topology spread and affinity between pods.

Source: k8s.io/kubernetes, plugins NodeUnschedulable, NodeAffinity, NodePorts and NodeResourcesFit.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from spillover.api.kubernetes import (
    ConstrainedPod,
    ContainerPort,
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
_ANY_IP = "0.0.0.0"  # noqa: S104 - compared with, not bound to
PORT_TAKEN = "with a host port of the pod taken"
MISMATCH = "not matched by the pod's node selector or affinity"


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a node offers to pods. Amounts are in the units of Requests."""

    name: str
    labels: Mapping[str, str]
    cordoned: bool
    allocatable: Mapping[str, int]


Ports = tuple[ContainerPort, ...]


@dataclass(frozen=True, slots=True)
class Use:
    """What other pods take of a node."""

    amounts: Mapping[str, int]
    """Requests, and the number of pods as `pods`."""
    ports: Ports = ()
    """Host ports."""


NOT_USED = Use({})


def host_ports(constraints: ConstrainedPod) -> Ports:
    """The ports of the node that the pod takes. Sidecars count, other init containers do not."""
    spec = constraints.spec
    sidecars = (each for each in spec.init_containers or () if each.restart_policy == "Always")
    return tuple(
        port
        for container in (*(spec.containers or ()), *sidecars)
        for port in container.ports or ()
        if port.host_port
    )


def capacity_of(name: str, labels: Mapping[str, str], wire: NodeCapacity) -> Capacity:
    allocatable = wire.status.allocatable or {}
    return Capacity(
        name=name,
        labels=labels,
        cordoned=wire.spec.unschedulable,
        allocatable={key: amount_of(key, text) for key, text in allocatable.items()},
    )


def in_use(pods: Iterable[tuple[Pod, Ports]]) -> dict[str, Use]:
    """What the unfinished pods take of each node."""
    amounts: dict[str, Amounts] = {}
    ports: dict[str, list[ContainerPort]] = {}
    for pod, own in pods:
        if pod.node and not pod.finished:
            there = amounts.setdefault(pod.node, Counter())
            there.update(dict(pod.requests))
            there["pods"] += 1
            ports.setdefault(pod.node, []).extend(own)
    return {name: Use(there, tuple(ports[name])) for name, there in amounts.items()}


def misfit(pod: Pod, constraints: ConstrainedPod, node: Capacity, used: Use | None) -> str | None:
    """Why the pod does not fit on the node, or None. `used` is what other pods take there. None if
    that is not known: free capacity and ports are then not checked."""
    if node.cordoned and not any(_tolerates_cordon(each) for each in pod.tolerations):
        return CORDONED
    if not _matches(constraints, node):
        return MISMATCH
    if used is None:
        return None
    if any(_conflicts(own, other) for own in host_ports(constraints) for other in used.ports):
        return PORT_TAKEN
    lacking = _lacking(pod.requests, node, used.amounts)
    return f"without enough free {', '.join(lacking)}" if lacking else None


def _conflicts(one: ContainerPort, other: ContainerPort) -> bool:
    ips = {port.host_ip or _ANY_IP for port in (one, other)}
    return (one.protocol, one.host_port) == (other.protocol, other.host_port) and (
        len(ips) == 1 or _ANY_IP in ips
    )


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
