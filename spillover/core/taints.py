"""Which taints a pod tolerates.

Source: k8s.io/api/core/v1 ToleratesTaint, plugin TaintToleration of kube-scheduler.
"""

from collections.abc import Iterable

from spillover.api.kubernetes import Taint, Toleration
from spillover.core.selectors import integer

_REPELLING = frozenset({"NoSchedule", "NoExecute"})


def repels(taint: Taint) -> bool:
    """Whether the taint keeps pods off a node at all (PreferNoSchedule only weighs)."""
    return taint.effect in _REPELLING


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether one toleration covers one taint.

    Lt and Gt compare the taint's value with the toleration's; the API server refuses them while its
    feature TaintTolerationComparisonOperators is off, so a stored one may always be used.
    """
    if toleration.effect not in ("", taint.effect) or toleration.key not in ("", taint.key):
        return False
    match toleration.operator:
        case "" | "Equal":
            return toleration.value == taint.value
        case "Exists":
            return True
        case "Lt" | "Gt":
            return _compares(toleration, taint)
        case _:
            return False


def tolerated(taints: Iterable[Taint], tolerations: Iterable[Toleration]) -> bool:
    """Whether every taint is covered by some toleration."""
    return all(any(tolerates(toleration, taint) for toleration in tolerations) for taint in taints)


def _compares(toleration: Toleration, taint: Taint) -> bool:
    ours, theirs = integer(toleration.value), integer(taint.value)
    if ours is None or theirs is None:
        return False
    return theirs < ours if toleration.operator == "Lt" else theirs > ours
