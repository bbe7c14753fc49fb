"""What is to be said of a policy before it is stored: errors, doubts, and what an edit would do."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain, islice
from typing import Any

from pydantic import BaseModel

from spillover.api import ack, vke
from spillover.api.resourcepolicy import parse
from spillover.core.claims import ACS_LABELS
from spillover.core.nodes import NodeIndex
from spillover.core.pods import POLICY_ANNOTATION, UNIT_ANNOTATION, Pod
from spillover.core.policy import LoadedPolicy, NodeKind, Policy, Unit

MOST_WARNINGS = 20
"""The API server cuts what is more than 4,096 characters in all."""


def doubts(
    raw: Mapping[str, Any],
    policy: Policy,
    peers: Iterable[LoadedPolicy],
    nodes: NodeIndex,
) -> list[str]:
    """Warnings about a valid policy. `peers` are the other policies of its namespace."""
    members = {pool: nodes.matching(pool) for pool in {unit.pool for unit in policy.units}}
    found = chain(
        _unknown_fields(raw, policy.key.group),
        _overlaps(policy, peers),
        (
            f"{path}: {doubt}"
            for path, unit in _paths(policy)
            for doubt in _unit_doubts(unit, policy, nodes, members[unit.pool])
        ),
    )
    return list(islice(found, MOST_WARNINGS))


def consequences(before: LoadedPolicy | None, after: Policy, pods: Sequence[Pod]) -> list[str]:
    """What an edit does to the pods of the policy's namespace that run under it."""
    own = [
        pod
        for pod in pods
        if pod.node
        and not (pod.finished or pod.terminating)
        and pod.annotations.get(POLICY_ANNOTATION) == str(after.key)
    ]
    fill = Counter(pod.annotations.get(UNIT_ANNOTATION, "") for pod in own)
    if isinstance(before, Policy):
        lost = sum(fill[unit.identity] for unit in before.units if not after.unit(unit.identity))
    else:
        lost = sum(count for unit, count in fill.items() if unit and not after.unit(unit))
    found = []
    if lost:
        found.append(f"{_pods(lost)} would lose {'its' if lost == 1 else 'their'} unit")
    for path, unit in _paths(after):
        there = fill[unit.identity]
        if unit.max is not None and there > unit.max and not after.match_label_keys:
            above = f"{_pods(there - unit.max)} would be above its max of {unit.max}"
            found.append(f"{path}: {above}; nobody is evicted")
    return found


def keys_set_by(policies: Iterable[LoadedPolicy]) -> dict[str, str]:
    """The label keys that policies give to pods, and the name of one that does."""
    return {
        key: policy.key.name
        for policy in policies
        if isinstance(policy, Policy)
        for unit in policy.units
        for key in (*unit.pod_labels, *(ACS_LABELS if unit.defaults_of_acs else ()))
    }


def _pods(count: int) -> str:
    return f"{count} pod" if count == 1 else f"{count} pods"


def _paths(policy: Policy) -> Iterator[tuple[str, Unit]]:
    units = "units" if policy.key.group == ack.GROUP else "subsets"
    for index, unit in enumerate(policy.units):
        yield f"spec.{units}[{index}]", unit


def _unit_doubts(unit: Unit, policy: Policy, nodes: NodeIndex, members: Set[str]) -> Iterator[str]:
    limit = "max" if policy.key.group == ack.GROUP else "maxReplicas"
    if unit.max == 0:
        yield f"{limit} 0 admits no pod"
    if not members:
        yield "no node belongs to it now"
    scales = unit.pool.kind is NodeKind.ELASTIC or any(map(nodes.is_elastic, members))
    if unit.patience_seconds and not scales:
        yield "pods wait for nodes here, and no autoscaler manages any of its nodes"


def _overlaps(policy: Policy, peers: Iterable[LoadedPolicy]) -> Iterator[str]:
    for peer in peers:
        shared = policy.selector.keys() & peer.selector.keys()
        if peer.key != policy.key and all(
            policy.selector[key] == peer.selector[key] for key in shared
        ):
            yield (
                f"spec.selector: {peer.key} may select the same pods;"
                " the older of the two has all of them"
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
