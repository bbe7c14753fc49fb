"""Warnings about a policy before it is stored: doubtful settings, and the effects of an edit."""

from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import chain, islice
from typing import Any

import msgspec
from pydantic import BaseModel

from spillover.api import ack, vke
from spillover.api.resourcepolicy import parse
from spillover.core.model.conventions import AUTOSCALER_LABELS
from spillover.core.model.nodes import NodeIndex
from spillover.core.model.policy import LoadedPolicy, NodeKind, NodePool, Policy, Unit
from spillover.core.model.selectors import Operator, Requirement, includes

_AUTOSCALED = (
    NodePool(NodeKind.ELASTIC),
    *(
        NodePool(NodeKind.REAL, (Requirement(key, Operator.EXISTS),))
        for key in sorted(AUTOSCALER_LABELS)
    ),
)
"""The nodes that an autoscaler may have added."""

MOST_WARNINGS = 20
"""The API server cuts off warnings beyond 4,096 characters in total."""


def doubts(
    raw: Mapping[str, Any],
    policy: Policy,
    peers: Iterable[LoadedPolicy],
    nodes: NodeIndex,
) -> list[str]:
    """Warnings about a valid policy. `peers` are the other policies of its namespace."""
    members = {pool: nodes.members(pool) for pool in {unit.pool for unit in policy.units}}
    autoscaled = any(map(nodes.members, _AUTOSCALED))
    found = chain(
        _unknown_fields(raw, policy.key.group),
        _selector_doubts(policy, peers),
        (
            f"{path}: {doubt}"
            for path, unit in _paths(policy)
            for doubt in _unit_doubts(unit, policy, members[unit.pool], autoscaled=autoscaled)
        ),
    )
    return list(islice(found, MOST_WARNINGS))


def consequences(
    before: LoadedPolicy, after: Policy, status: Mapping[str, Any] | None
) -> list[str]:
    """What an edit does to the pods that run under the policy. The numbers come from the policy's
    status, because the callers list no pods. Empty if the status is of another generation."""
    running = _running(before, status)
    lost = sum(count for unit, count in running.items() if not after.unit(unit))
    found = []
    if lost:
        found.append(f"{_pods(lost)} would lose {'its' if lost == 1 else 'their'} unit")
    for path, unit in _paths(after):
        there = running.get(unit.identity, 0)
        if unit.max is not None and there > unit.max and not after.match_label_keys:
            above = f"{_pods(there - unit.max)} would be above its max of {unit.max}"
            found.append(f"{path}: {above}; no pod is evicted")
    return found


class _UnitStatus(msgspec.Struct):
    assigned: int = 0


class _Status(msgspec.Struct, rename="camel"):
    observed_generation: int = 0
    units: list[_UnitStatus] = []


def _running(before: LoadedPolicy, status: Mapping[str, Any] | None) -> dict[str, int]:
    """Number of bound pods, by the unit's identity."""
    try:
        read = msgspec.convert(status or {}, _Status)
    except msgspec.ValidationError:
        return {}  # a bad status misleads only users who may write it
    if not isinstance(before, Policy) or read.observed_generation != before.generation:
        return {}
    units = zip(before.units, read.units, strict=False)
    return {unit.identity: there.assigned for unit, there in units}


def _pods(count: int) -> str:
    return f"{count} pod" if count == 1 else f"{count} pods"


def _paths(policy: Policy) -> Iterator[tuple[str, Unit]]:
    units = "units" if policy.key.group == ack.GROUP else "subsets"
    for index, unit in enumerate(policy.units):
        yield f"spec.{units}[{index}]", unit


def _unit_doubts(
    unit: Unit, policy: Policy, members: Set[str], *, autoscaled: bool
) -> Iterator[str]:
    limit = "max" if policy.key.group == ack.GROUP else "maxReplicas"
    if unit.max == 0:
        yield f"{limit} 0 admits no pod"
    if not members:
        yield "no node belongs to it now"
    if unit.patience_seconds and not _may_scale(unit, autoscaled=autoscaled):
        yield "pods wait for nodes here, and no node of the cluster has a label of an autoscaler"


def _may_scale(unit: Unit, *, autoscaled: bool) -> bool:
    return (
        autoscaled
        or unit.pool.kind is NodeKind.ELASTIC
        or any(each.key in AUTOSCALER_LABELS for each in unit.pool.requirements)
    )


def _selector_doubts(policy: Policy, peers: Iterable[LoadedPolicy]) -> Iterator[str]:
    if not policy.selector:
        yield "spec.selector: is empty: the policy has every pod of its namespace"
    for peer in peers:
        # Selectors of which neither contains the other may well have no pod in common.
        overlaps = includes(policy.selector, peer.selector) or includes(
            peer.selector, policy.selector
        )
        if peer.key != policy.key and overlaps:
            yield (
                f"spec.selector: {peer.key} selects some of the same pods;"
                " the older of the two has all of these"
            )


def _unknown_fields(raw: Mapping[str, Any], group: str) -> Iterator[str]:
    model: type[BaseModel] = ack.ResourcePolicy if group == ack.GROUP else vke.ResourcePolicy
    parsed = parse(model, raw)
    spec = None if isinstance(parsed, list) else getattr(parsed, "spec", None)
    if isinstance(spec, BaseModel):
        yield from _extras("spec", spec)


def _extras(path: str, part: BaseModel) -> Iterator[str]:
    for name in part.model_extra or {}:
        yield f"{path}.{name}: unknown field, which has no effect"
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        there = f"{path}.{field.alias or name}"
        if isinstance(value, BaseModel):
            yield from _extras(there, value)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, BaseModel):
                    yield from _extras(f"{there}[{index}]", item)
