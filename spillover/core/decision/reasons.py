"""The reasons that the scheduler gets for a rejected pod: one for each node.

The text of a reason stays the same as long as the decision does.
"""

import re
from collections.abc import Mapping, Sequence, Set
from functools import partial
from typing import Protocol

from spillover.core.decision.demand import Demand
from spillover.core.decision.outcomes import Assignment, AtMax, Blocked, Reasons, Rejected
from spillover.core.model.nodes import Names
from spillover.core.model.policy import InvalidPolicy, LoadedPolicy, NodePool, Policy, Unit

UNTOLERATED_TAINT = "node(s) had untolerated taint(s)"
"""The text of the TaintToleration plugin, so that the scheduler's message stays the usual one."""

UNKNOWN_NODE = "node(s) not known to Spillover yet"
UNKNOWN_OWNER = "the replicas that the pod's owner wants are not known to Spillover yet"

UNTOLERATED_SPREAD = (
    "the pod's topology spread honors taints: it waits until Spillover has given it tolerations of"
    " the virtual nodes' taints"
)

EDITS_PENDING = (
    "edits of policies in this namespace are being taken in by Spillover: the pod waits until then"
)
NOT_FIRST_CHOICE = "node(s) were nominated, and are not the pod's first choice"

_LONGEST_ERROR = 300
"""Most characters of a policy's error in a reason. A reason is sent once for each offered node."""

_MOST_PARTS = 4
"""Most parts in one node's reason."""
_MORE_PARTS = "other units"
"""Stands for the further parts of a node's reason."""
_MOST_GROUPS = 128
"""Units that do not overlap need fewer groups: a policy has at most 100 units."""


class PoolView(Protocol):
    def names(self) -> Set[str]: ...

    def members(self, pool: NodePool) -> Set[str]: ...


def reasons_by_node(
    found: Assignment, offered: Names, policy: LoadedPolicy | None, nodes: PoolView
) -> Reasons:
    """The reason for every offered node. The nodes of a unit share one reason."""
    if isinstance(found.outcome, Blocked):
        return Reasons.same(offered, found.outcome.reason)
    names, known = offered.known, nodes.names()
    there = names if names <= known else names & known
    missing: Set[str] = names - there if there is not names else frozenset()
    if not isinstance(policy, Policy):
        return Reasons([(UNKNOWN_NODE, missing), (UNTOLERATED_TAINT, there)])
    of_unit = {
        verdict.unit.identity: verdict.reason if isinstance(verdict, AtMax) else ""
        for verdict in found.passed
    }
    held = found.stays.reason if found.stays is not None else ""
    outside = (
        (held or UNTOLERATED_TAINT)
        if policy.open
        else f"node(s) belong to no unit of ResourcePolicy {policy.key.name}"
    )
    pools = _texts_by_pool(policy, of_unit, held)
    groups = _in_groups(there, pools, nodes)
    if groups is None:
        groups = _one_by_one(there, pools, nodes)
    told = ((" and ".join(parts) or outside, group) for parts, group in groups)
    return Reasons([(UNKNOWN_NODE, missing), *told])


_Parts = tuple[str, ...]
"""The parts of one node's reason: one part for each unit that the node belongs to, without
duplicates. The number of parts is limited to what people read."""


def _texts_by_pool(
    policy: Policy, of_unit: Mapping[str, str], held: str
) -> dict[NodePool, list[str]]:
    """The distinct reasons against the units, by the nodes that the units have. They are told in
    the order of the first unit with these nodes."""
    found: dict[NodePool, list[str]] = {}
    for unit in policy.units:
        text = (of_unit[unit.identity] or UNTOLERATED_TAINT) if unit.identity in of_unit else held
        texts = found.setdefault(unit.pool, [])
        if text not in texts:
            texts.append(text)
    return found


def _joined(parts: _Parts, texts: Sequence[str]) -> _Parts:
    """With more parts, as far as people read them."""
    for text in texts:
        if text in parts or len(parts) > _MOST_PARTS:
            continue
        parts = (*parts, text if len(parts) < _MOST_PARTS else _MORE_PARTS)
    return parts


def _in_groups(
    names: Set[str], pools: Mapping[NodePool, Sequence[str]], nodes: PoolView
) -> list[tuple[_Parts, set[str]]] | None:
    """Groups of nodes with the same parts, found with set operations. None if the units overlap in
    so many ways that it is faster to look at each node."""
    groups: dict[_Parts, set[str]] = {(): set(names)}
    full: dict[_Parts, set[str]] = {}
    for pool, texts in pools.items():
        there = nodes.members(pool)
        split: dict[_Parts, set[str]] = {}
        for parts, group in groups.items():
            joined = _joined(parts, texts)
            if joined == parts:
                _add(split, parts, group)
                continue
            inside = group if group <= there else group & there
            if inside is not group:
                group.difference_update(inside)  # the cost depends on `inside`, not on `group`
                _add(split, parts, group)
            _add(full if len(joined) > _MOST_PARTS else split, joined, inside)
        groups = split
        if len(groups) + len(full) > _MOST_GROUPS:
            return None
    return [*full.items(), *groups.items()]


def _add(groups: dict[_Parts, set[str]], parts: _Parts, names: set[str]) -> None:
    if not names:
        return
    if parts in groups:
        groups[parts] |= names
    else:
        groups[parts] = names


def _one_by_one(
    names: Set[str], pools: Mapping[NodePool, Sequence[str]], nodes: PoolView
) -> list[tuple[_Parts, set[str]]]:
    parts: dict[str, _Parts] = dict.fromkeys(names, ())
    short = set(names)
    for pool, texts in pools.items():
        for name in short & nodes.members(pool):
            parts[name] = _joined(parts[name], texts)
            if len(parts[name]) > _MOST_PARTS:
                short.discard(name)
        if not short:
            break
    found: dict[_Parts, set[str]] = {}
    for name, told in parts.items():
        found.setdefault(told, set()).add(name)
    return list(found.items())


def is_told_in(message: str, policy: LoadedPolicy | None, unit: Unit | None) -> bool:
    """Whether the scheduler's message for a pod has a reason of Spillover against this unit of the
    policy as it is now. None: against any node. If it has none, the scheduler's own plugins have
    refused the unit's nodes before they asked Spillover, or the message is about another policy."""
    ours = ["Spillover", NOT_FIRST_CHOICE]
    if policy is not None:
        ours.append(f"ResourcePolicy {policy.key.name}")
    units = (unit,) if unit is not None else policy.units if isinstance(policy, Policy) else ()
    for each in units:
        ours += [
            f"{each.title} is at its max",
            f"{each.title} has no room for",
            f"waits for {each.title} until",
            f"waits for nodes of {each.title}",
            f"waits for terminating pods of {each.title}",
            f"waits for preempted pods to leave {each.title}",
            f"may preempt pods of lower priority in {each.title}",
        ]
    return any(map(partial(_has_words, message), ours))


def _has_words(message: str, text: str) -> bool:
    """Whether the text is in the message, and is no part of longer names."""
    return re.search(rf"(?<![\w.-]){re.escape(text)}(?![\w-]|\.\w)", message) is not None


def in_a_crowd(policy: LoadedPolicy | None, rejected: Rejected) -> str:
    """The short reason for a rejected pod when many pods of its namespace wait. Empty if the usual
    reason names no unit: if only nodes are missing, people read the words of the TaintToleration
    plugin."""
    if isinstance(policy, InvalidPolicy):
        return f"ResourcePolicy {policy.key.name} is invalid: see its condition Invalid"
    names_units = rejected.stays is not None or any(
        isinstance(each, AtMax) for each in rejected.passed
    )
    if policy is None or not names_units:
        return ""
    return (
        f"ResourcePolicy {policy.key.name} places no pod like this now, and many pods of the"
        " namespace wait: see spillover explain"
    )


def invalid(policy: InvalidPolicy) -> str:
    first, *others = policy.errors
    more = f" (and {len(others)} more)" if others else ""
    return f"ResourcePolicy {policy.key.name} is invalid: {str(first)[:_LONGEST_ERROR]}{more}"


def without_label(policy: Policy, demand: Demand) -> str:
    return (
        f"the pod lacks the label {demand.missing}, which ResourcePolicy {policy.key.name}"
        " counts by (matchLabelKeys)"
    )
