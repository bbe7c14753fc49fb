"""Which taints a pod tolerates.

Source: k8s.io/api/core/v1 ToleratesTaint, plugin TaintToleration of kube-scheduler.
"""

import re
from collections.abc import Iterable

from spillover.api.kubernetes import Taint, Toleration

_DECIMAL_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
"""Stricter than ParseInt: no plus sign, no leading zeros (content.IsDecimalInteger)."""

_REPELLING = frozenset({"NoSchedule", "NoExecute"})


def repels(taint: Taint) -> bool:
    """Whether the taint keeps pods off a node. PreferNoSchedule only affects scores."""
    return taint.effect in _REPELLING


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether one toleration covers one taint.

    Lt and Gt compare the taint's value with the toleration's value. While the feature gate
    TaintTolerationComparisonOperators is off, the API server refuses these operators. A toleration
    that was stored before the feature gate was switched off still counts here.
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
    if not all(_DECIMAL_INTEGER.fullmatch(each.value) for each in (toleration, taint)):
        return False
    ours, theirs = int(toleration.value), int(taint.value)
    if not all(-(2**63) <= number < 2**63 for number in (ours, theirs)):
        return False
    return theirs < ours if toleration.operator == "Lt" else theirs > ours
