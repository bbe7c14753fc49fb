"""The metric series of units and policies, in the text format of Prometheus.

The lines of a policy are made when its counts change and not at each scrape: with a thousand
policies a scrape would block the answers to the scheduler.
"""

from collections.abc import Callable, Iterable

from spillover.controller.objects import dialect_of
from spillover.core.model.policy import PolicyKey
from spillover.core.reporting.status import PolicyReport

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
    """The lines of all policies. `is_told` is called at each scrape: only the leader has series."""

    def __init__(self, is_told: Callable[[], bool]) -> None:
        self._is_told = is_told
        self._lines: dict[PolicyKey, dict[str, str]] = {}

    def put(self, report: PolicyReport) -> None:
        lines: dict[str, list[str]] = {family: [] for family in _FAMILIES}
        for family, labels, value in _samples(report):
            lines[family].append(f"{family}{{{labels}}} {value}\n")
        key = report.policy.key
        self._lines[key] = {family: "".join(each) for family, each in lines.items()}

    def drop(self, key: PolicyKey) -> None:
        self._lines.pop(key, None)

    def clear(self) -> None:
        self._lines.clear()

    def text(self) -> bytes:
        """All lines. Empty on a replica that is not the leader."""
        if not self._is_told():
            return b""
        parts = []
        for family, text in _FAMILIES.items():
            parts += [f"# HELP {family} {text}\n", f"# TYPE {family} gauge\n"]
            parts += [lines[family] for lines in self._lines.values()]
        return "".join(parts).encode()


def _samples(report: PolicyReport) -> Iterable[tuple[str, str, int]]:
    """The metric family, the labels in the text format, and the value of each sample."""
    key = report.policy.key
    policy = _written(namespace=key.namespace, policy=key.name, dialect=dialect_of(key))
    for unit in report.units:
        labels = f"{policy},{_written(unit=unit.title)}"
        count = unit.count
        yield "spillover_unit_pods", f'{labels},state="assigned"', count.assigned
        yield "spillover_unit_pods", f'{labels},state="pending"', count.pending
        yield "spillover_unit_pods", f'{labels},state="ready"', count.ready
        yield "spillover_unit_pods", f'{labels},state="terminating"', count.terminating
        if unit.max is not None:
            yield "spillover_unit_max", labels, unit.max
            yield "spillover_unit_over_max", labels, unit.over
    total = report.total()
    pending = total.pending + report.unscheduled
    yield "spillover_policy_pods", f'{policy},state="ready"', total.ready
    yield "spillover_policy_pods", f'{policy},state="pending"', pending
    yield "spillover_policy_pods", f'{policy},state="unscheduled"', report.unscheduled
    yield "spillover_policy_pods", f'{policy},state="terminating"', total.terminating


def _written(**labels: str) -> str:
    return ",".join(f'{key}="{value.translate(_ESCAPES)}"' for key, value in labels.items())
