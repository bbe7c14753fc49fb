"""Renders reports as text for a terminal."""

from collections.abc import Iterable, Sequence

from spillover.core.reporting.explain import (
    Limit,
    PodExplanation,
    PolicyExplanation,
    UnitExplanation,
    Verdict,
)

_MOST_NAMES = 8


def render_pod(report: PodExplanation) -> str:
    lines = [
        f"Pod:       {report.namespace}/{report.pod}",
        f"Policy:    {report.policy or 'none selects it'}",
        f"Outcome:   {report.outcome}",
    ]
    if report.nodes and not report.node:
        lines.append(f"Nodes:     {_names(report.nodes)}")
    if report.units:
        lines += ["Units:", *table(_unit_rows(report.units))]
        remedies = [
            f"  {unit.unit}: {unit.remedy}" for unit in report.units if unit.reached and unit.remedy
        ]
        if remedies:
            lines += ["What would change it:", *remedies]
    if report.next_try:
        lines.append(f"Next try:  {report.next_try}")
    if report.last_word:
        lines.append(f"Scheduler: {report.last_word}")
    return "\n".join(lines)


def render_policy(report: PolicyExplanation) -> str:
    lines = [
        f"Policy:    {report.policy} in {report.namespace}",
        f"State:     {report.state}",
    ]
    if report.yields_to:
        lines.append(f"Yields to: {', '.join(report.yields_to)}, which are older")
    if report.units:
        rows = [
            [
                fill.unit + (f" [{', '.join(fill.group)}]" if any(fill.group) else ""),
                _limits(fill.limits, len(fill.held_by)),
                _nodes_in_all(fill.nodes),
                _names(fill.held_by),
            ]
            for fill in report.units
        ]
        lines += ["Units:", *table(rows)]
    if report.outside:
        lines.append(f"In none:   {_names(report.outside)}")
    if report.waiting:
        lines.append("Waiting:")
        lines += table([[pod, why] for pod, why in sorted(report.waiting.items())])
    return "\n".join(lines)


def _unit_rows(units: Iterable[UnitExplanation]) -> list[list[str]]:
    return [
        [
            str(number),
            unit.unit,
            str(unit.verdict) if unit.reached else "not reached",
            _limits(unit.limits, len(unit.held_by)),
            _nodes(unit),
            _why(unit) if unit.reached else "",
        ]
        for number, unit in enumerate(units, start=1)
    ]


def _why(unit: UnitExplanation) -> str:
    if unit.verdict is Verdict.FULL and unit.held_by:
        return f"{unit.reason}, held by {_names(unit.held_by)}"
    return unit.reason


def _nodes(unit: UnitExplanation) -> str:
    total = sum(map(len, unit.nodes.values()))
    parts = [f"{len(names)} {state}" for state, names in unit.nodes.items()]
    return _nodes_in_all(total) + (f": {', '.join(parts)}" if parts else "")


def _nodes_in_all(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _limits(limits: Sequence[Limit], pods: int) -> str:
    if not limits:
        return f"{pods} pods, no max"
    return ", ".join(f"{limit.taken} of {limit.most} {limit.of}" for limit in limits)


def _names(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """One line for each row, with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return ["  " + "  ".join(row).rstrip() for row in padded]
