"""The decision: which unit a pod goes to, and which of the offered nodes it may use there.

`decide` decides a pod's unit, here and in everything that explains or predicts it; the very line is
in `find_placement`.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from spillover.api.kubernetes import Toleration
from spillover.core.pods import Pod
from spillover.core.policy import InvalidPolicy, LoadedPolicy, NodePool, Policy, Unit, UnitKey

UNTOLERATED_TAINT = "node(s) had untolerated taint(s)"
"""The words of the TaintToleration plugin, so that the scheduler's message reads as ever."""

_LONGEST_ERROR = 300
"""Characters of a policy's error in a reason, which is sent once for each offered node."""

UNKNOWN_NODE = "node(s) not known to Spillover yet"


class LedgerView(Protocol):
    def taken(self, unit: UnitKey, besides: str) -> int:
        """Slots of a unit in use, not counting what the pod of uid `besides` has reserved."""


class NodeView(Protocol):
    def names(self) -> Set[str]: ...

    def members(self, pool: NodePool) -> Set[str]: ...

    def admitting(
        self, names: Set[str], tolerations: Iterable[Toleration], *, to_virtual_unit: bool
    ) -> Set[str]: ...


@dataclass(frozen=True, slots=True)
class Placement:
    """Any of `nodes` will do. `policy` is None for a pod under no policy; `unit` is None for it and
    for one that an open policy lets onto nodes of no unit."""

    policy: Policy | None
    unit: Unit | None
    nodes: Set[str]

    @property
    def unit_key(self) -> UnitKey | None:
        if self.policy is None or self.unit is None:
            return None
        return UnitKey(self.policy.key, self.unit.identity)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A reason for every offered node. It stays the same as long as the decision does: the
    scheduler writes it into the pod, and a message that changes would make an endless loop."""

    reasons: Mapping[str, str]


Decision = Placement | Rejected


def decide(
    pod: Pod,
    offered: Sequence[str],
    policy: LoadedPolicy | None,
    ledger: LedgerView,
    nodes: NodeView,
) -> Decision:
    """Where `pod` goes among the `offered` nodes, all feasible for the rest of the scheduler."""
    placement = find_placement(pod, frozenset(offered), policy, ledger, nodes)
    if placement is not None:
        return placement
    match policy:
        case None:
            return _all_tainted(offered, nodes)
        case InvalidPolicy():
            return Rejected(dict.fromkeys(offered, _invalid_reason(policy)))
    full = [unit for unit in policy.units if _is_full(unit, policy, ledger, pod)]
    return Rejected({name: _reason(name, policy, full, nodes) for name in offered})


def find_placement(
    pod: Pod,
    offered: Set[str],
    policy: LoadedPolicy | None,
    ledger: LedgerView,
    nodes: NodeView,
) -> Placement | None:
    """The first unit with room and with an offered node whose taints the pod tolerates wins. None:
    there is none, and nothing else that the policy allows."""
    if policy is None:
        known = offered & nodes.names()
        free = nodes.admitting(known, pod.tolerations, to_virtual_unit=False)
        return Placement(None, None, free) if free else None
    if isinstance(policy, InvalidPolicy):
        return None
    for unit in policy.units:
        if _is_full(unit, policy, ledger, pod):
            continue
        usable = nodes.admitting(
            offered & nodes.members(unit.pool), pod.tolerations, to_virtual_unit=unit.virtual
        )
        if usable:
            return Placement(policy, unit, usable)
    if policy.open:
        inside = frozenset[str]().union(*(nodes.members(unit.pool) for unit in policy.units))
        outside = (offered & nodes.names()) - inside
        usable = nodes.admitting(outside, pod.tolerations, to_virtual_unit=False)
        if usable:
            return Placement(policy, None, usable)
    return None


def _is_full(unit: Unit, policy: Policy, ledger: LedgerView, pod: Pod) -> bool:
    if unit.max is None:
        return False
    return ledger.taken(UnitKey(policy.key, unit.identity), besides=pod.uid) >= unit.max


def _all_tainted(offered: Sequence[str], nodes: NodeView) -> Rejected:
    known = nodes.names()
    return Rejected(
        {name: UNTOLERATED_TAINT if name in known else UNKNOWN_NODE for name in offered}
    )


def _reason(name: str, policy: Policy, full: Sequence[Unit], nodes: NodeView) -> str:
    """Why this node is no place for the pod: one part for each unit that the node belongs to."""
    if name not in nodes.names():
        return UNKNOWN_NODE
    parts = [
        f"{unit.title} is at its max of {unit.max}" if unit in full else UNTOLERATED_TAINT
        for unit in policy.units
        if name in nodes.members(unit.pool)
    ]
    if parts:
        return " and ".join(dict.fromkeys(parts))
    if policy.open:
        return UNTOLERATED_TAINT
    return f"node(s) belong to no unit of ResourcePolicy {policy.key.name}"


def _invalid_reason(policy: InvalidPolicy) -> str:
    first, *others = policy.errors
    more = f" (and {len(others)} more)" if others else ""
    return f"ResourcePolicy {policy.key.name} is invalid: {str(first)[:_LONGEST_ERROR]}{more}"
