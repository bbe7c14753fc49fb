"""What a decision reads of a pod. Pods of equal demand under one policy are decided alike."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from spillover.api.kubernetes import Toleration
from spillover.core.pods import Pod
from spillover.core.policy import LoadedPolicy, Policy, Preempt
from spillover.core.resources import Requests
from spillover.core.waits import Waits, first_refused, waits_of


class Demand(NamedTuple):
    """`requests` are those of resources that the policy limits. `missing` is a key of
    matchLabelKeys that the pod lacks, else "". `owner` is only there for policies with a ratio,
    `refused` and `waits` for those with timed waits (seconds since 1970). `priority` is None for a
    pod that preempts nobody; an `eager` one does before the next unit is tried; `tried` are the
    units where that has been asked for; `nominated` is the one where preemption was granted.
    """

    tolerations: tuple[Toleration, ...]
    requests: Requests = ()
    group: tuple[str, ...] = ()
    missing: str = ""
    owner: str = ""
    waits: Waits = ()
    refused: float | None = None
    priority: int | None = None
    eager: bool = False
    tried: frozenset[str] = frozenset()
    nominated: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """What earlier decisions for a waiting pod have begun, in terms of units' identities."""

    waits: Waits = ()
    tried: frozenset[str] = frozenset()
    nominated: str = ""

    def with_wait(self, unit: str, since: float) -> "History":
        if unit in dict(self.waits):
            return self
        return replace(self, waits=tuple(sorted((*self.waits, (unit, since)))))


NO_HISTORY = History()


def demand_of(pod: Pod, policy: LoadedPolicy | None, history: History = NO_HISTORY) -> Demand:
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
        waits=_merged(history.waits, waits_of(pod), policy) if timed else (),
        refused=first_refused(pod) if timed else None,
        priority=pod.priority if pod.may_preempt else None,
        eager=eager,
        tried=history.tried if eager else frozenset(),
        nominated=history.nominated,
    )


def group_of(pod: Pod, policy: Policy) -> tuple[str, ...]:
    """The values of the labels that the policy counts by."""
    return tuple(pod.labels.get(key, "") for key in policy.match_label_keys)


def _merged(ours: Waits, written: Waits, policy: Policy) -> Waits:
    """Waits for units that the policy still has; what is in memory was written, or will be."""
    units = {unit.identity for unit in policy.units}
    known: dict[str, float] = dict(_within(written, units))
    known.update(_within(ours, units))
    return tuple(sorted(known.items()))


def _within(waits: Waits, units: set[str]) -> Iterable[tuple[str, float]]:
    return ((unit, since) for unit, since in waits if unit in units)
