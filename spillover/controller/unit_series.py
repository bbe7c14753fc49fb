"""The series of units and policies, in Prometheus' text format.

A policy's lines are made when its counts change, not when they are asked for: with a thousand
policies that would keep the scheduler waiting.
"""

from collections.abc import Callable, Iterable

from spillover.controller.objects import dialect_of
from spillover.core.policy import PolicyKey
from spillover.core.status import PolicyReport

_FAMILIES = {
    "spillover_unit_pods": "Pods bound to a unit, by state: assigned (not terminating), and of "
    "these pending and ready; terminating.",
    "spillover_unit_max": "Most pods in a unit now, for each group of pods (matchLabelKeys).",
    "spillover_unit_over_max": "Pods above a unit's maximum: bound by others, or before it was so.",
    "spillover_policy_pods": "Pods of a policy, by state: pending, of these unscheduled; ready; "
    "terminating.",
}
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class UnitSeries:
    """`is_told` is asked each time: only the replica that leads tells."""

    def __init__(self, is_told: Callable[[], bool]) -> None:
        self._is_told = is_told
        self._lines: dict[PolicyKey, dict[str, str]] = {}

    def put(self, report: PolicyReport) -> None:
        lines: dict[str, list[str]] = {family: [] for family in _FAMILIES}
        for family, labels, value in _samples(report):
            text = ",".join(f'{key}="{each.translate(_ESCAPES)}"' for key, each in labels.items())
            lines[family].append(f"{family}{{{text}}} {value}\n")
        key = report.policy.key
        self._lines[key] = {family: "".join(each) for family, each in lines.items()}

    def drop(self, key: PolicyKey) -> None:
        self._lines.pop(key, None)

    def clear(self) -> None:
        self._lines.clear()

    def text(self) -> bytes:
        """Nothing, on a replica that does not lead."""
        if not self._is_told():
            return b""
        parts = []
        for family, text in _FAMILIES.items():
            parts += [f"# HELP {family} {text}\n", f"# TYPE {family} gauge\n"]
            parts += [lines[family] for lines in self._lines.values()]
        return "".join(parts).encode()


def _samples(report: PolicyReport) -> Iterable[tuple[str, dict[str, str], int]]:
    key = report.policy.key
    policy = {"namespace": key.namespace, "policy": key.name, "dialect": dialect_of(key)}
    for unit in report.units:
        labels = {**policy, "unit": unit.title}
        count = unit.count
        states = {
            "assigned": count.assigned,
            "pending": count.pending,
            "ready": count.ready,
            "terminating": count.terminating,
        }
        for state, pods in states.items():
            yield "spillover_unit_pods", {**labels, "state": state}, pods
        if unit.max is not None:
            yield "spillover_unit_max", labels, unit.max
            yield "spillover_unit_over_max", labels, unit.over
    total = report.total()
    states = {
        "ready": total.ready,
        "pending": total.pending + report.unscheduled,
        "unscheduled": report.unscheduled,
        "terminating": total.terminating,
    }
    for state, pods in states.items():
        yield "spillover_policy_pods", {**policy, "state": state}, pods
