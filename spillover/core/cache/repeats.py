"""A cache of rejections: the scheduler calls filter for a waiting pod every few seconds, and most
answers stay the same.

A rejection is kept with all its inputs: the policy, the pod's demand, the offered nodes, the known
nodes, and the usage of each unit. While these are equal, a new decision would give the same answer,
for this pod and for every other pod of equal demand.
"""

from dataclasses import dataclass

from cachetools import LRUCache

from spillover.core.decision import limits
from spillover.core.decision.demand import Demand
from spillover.core.decision.outcomes import Rejected
from spillover.core.model.policy import LoadedPolicy, Policy, PolicyKey, UnitKey

MOST_KEPT = 350_000
"""The size of all kept answers together, about 60 MB: for each node 2, and 1 more for each 150
characters of its reason. The reasons are also kept as they are sent."""

MOST_DEMANDS = 100_000
"""Demands that are remembered as rejected lately."""

_Key = tuple[PolicyKey, Demand, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Basis:
    """The inputs of a decision besides the pod's demand and the offered nodes."""

    policy: Policy
    nodes_revision: int
    taken: list[object]
    """What is taken of each unit."""


@dataclass(frozen=True, slots=True)
class _Kept:
    basis: Basis
    rejected: Rejected


class Repeats:
    """`ledger` and `workloads` are the inputs of decisions."""

    def __init__(self, ledger: limits.LedgerView, workloads: limits.WorkloadView) -> None:
        self._ledger = ledger
        self._workloads = workloads
        # Hashes: where two are equal by chance, an answer is looked for in vain.
        self._rejected: LRUCache[int, None] = LRUCache(MOST_DEMANDS)
        self._kept: LRUCache[_Key, _Kept] = LRUCache(
            MOST_KEPT, getsizeof=lambda kept: kept.rejected.reasons.size
        )

    def basis(
        self, uid: str, demand: Demand, policy: LoadedPolicy | None, nodes_revision: int
    ) -> Basis | None:
        """Must be read before the decision: time goes on meanwhile, and a reservation may end. None
        if no pod of this demand was rejected lately, as for most pods that are placed. None also if
        the answer depends on more: on the time, on a preemption that was granted to this pod, or on
        where other pods are bound."""
        if (
            not isinstance(policy, Policy)
            or policy.waits_for_a_time
            or demand.eager
            or demand.nominated
            or hash((policy.key, demand)) not in self._rejected
        ):
            return None
        return Basis(policy, nodes_revision, self._taken(uid, demand, policy))

    def answer(self, demand: Demand, offered: frozenset[str], basis: Basis) -> Rejected | None:
        kept = self._kept.get((basis.policy.key, demand, offered))
        return kept.rejected if kept is not None and kept.basis == basis else None

    def note(self, demand: Demand, policy: LoadedPolicy | None) -> None:
        """A pod of this demand is rejected: the next answer may be kept."""
        if isinstance(policy, Policy):
            self._rejected[hash((policy.key, demand))] = None

    def keep(
        self, demand: Demand, offered: frozenset[str], basis: Basis, rejected: Rejected
    ) -> None:
        if rejected.reasons.size <= MOST_KEPT:
            self._kept[basis.policy.key, demand, offered] = _Kept(basis, rejected)

    def _taken(self, uid: str, demand: Demand, policy: Policy) -> list[object]:
        taken: list[object] = []
        if policy.has_ratio:
            taken.append(self._workloads.desired(policy.key))
            taken.append(bool(demand.owner) and self._workloads.is_known(demand.owner))
        for unit in policy.units:
            used = self._ledger.usage(UnitKey(policy.key, unit.identity, demand.group), besides=uid)
            taken.append((used.pods, dict(used.resources)) if unit.max_resources else used.pods)
            if policy.awaits_terminating:
                taken.append(self._ledger.has_terminating(policy.key, unit.identity))
        return taken
