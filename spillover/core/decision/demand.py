"""The demand: the part of a pod that a decision reads.

Under one policy, pods with equal demands get the same decision.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from spillover.api.kubernetes import Toleration
from spillover.core.decision.wait_annotation import Waits, waits_of
from spillover.core.model.pods import Pod
from spillover.core.model.policy import LoadedPolicy, Policy, Preempt
from spillover.core.model.resources import Requests


class Demand(NamedTuple):
    """The part of a pod that a decision reads. Units are named by their identity."""

    tolerations: tuple[Toleration, ...]
    requests: Requests = ()
    """Only requests for resources that the policy limits."""
    group: tuple[str, ...] = ()
    """Values of the labels that matchLabelKeys names."""
    missing: str = ""
    """A key of matchLabelKeys that the pod lacks, else ""."""
    owner: str = ""
    """Uid of the pod's owner. Set only under a policy with a ratio."""
    untolerated: bool = False
    """The pod lacks tolerations without which kube-scheduler leaves virtual nodes out of the
    domains of the pod's topology spread."""
    waits: Waits = ()
    """The pod's waits so far. Set only under a policy with timed waits."""
    priority: int | None = None
    """None for a pod that may not preempt other pods."""
    eager: bool = False
    """The pod may preempt in a unit before the next unit is tried."""
    tried: frozenset[str] = frozenset()
    """Units in which an eager pod has asked for preemption."""
    nominated: str = ""
    """The unit in which preemption was granted, or ""."""


@dataclass(frozen=True, slots=True)
class History:
    """What earlier decisions started for a waiting pod. Units are named by their identity."""

    waits: Waits = ()
    ended: frozenset[str] = frozenset()
    """Units that have been at a limit since the pod's wait there began. The annotation may still
    have the wait."""
    tried: frozenset[str] = frozenset()
    nominated: str = ""

    def with_wait(self, unit: str, since: float) -> "History":
        if unit in dict(self.waits):
            return self
        waits = tuple(sorted((*self.waits, (unit, since))))
        return replace(self, waits=waits, ended=self.ended - {unit})

    def without_wait(self, unit: str) -> "History":
        waits = tuple(each for each in self.waits if each[0] != unit)
        return replace(self, waits=waits, ended=self.ended | {unit})


NO_HISTORY = History()


def demand_of(
    pod: Pod,
    policy: LoadedPolicy | None,
    history: History = NO_HISTORY,
    *,
    untolerated: bool = False,
) -> Demand:
    if not isinstance(policy, Policy):
        return Demand(pod.tolerations)
    timed = policy.waits_for_a_time
    eager = pod.may_preempt and policy.preempt is Preempt.BEFORE_NEXT_UNIT
    limited = policy.limited_resources
    return Demand(
        tolerations=pod.tolerations,
        requests=tuple(each for each in pod.requests if each[0] in limited) if limited else (),
        group=group_of(pod, policy),
        missing=next((key for key in policy.match_label_keys if key not in pod.labels), ""),
        owner=pod.owner if policy.has_ratio else "",
        untolerated=untolerated,
        waits=_merged(history, waits_of(pod), policy) if timed else (),
        priority=pod.priority if pod.may_preempt else None,
        eager=eager,
        tried=history.tried if eager else frozenset(),
        nominated=history.nominated,
    )


def group_of(pod: Pod, policy: Policy) -> tuple[str, ...]:
    """The values of the labels that the policy counts by."""
    return tuple(pod.labels.get(key, "") for key in policy.match_label_keys)


def _merged(ours: History, written: Waits, policy: Policy) -> Waits:
    """The waits in units that the policy still has. What is in memory (`ours`) overrides the
    annotation (`written`), because Spillover wrote it there already or will write it."""
    units = {unit.identity for unit in policy.units}
    known: dict[str, float] = dict(_within(written, units - ours.ended))
    known.update(_within(ours.waits, units))
    return tuple(sorted(known.items()))


def _within(waits: Waits, units: set[str]) -> Iterable[tuple[str, float]]:
    return ((unit, since) for unit, since in waits if unit in units)
