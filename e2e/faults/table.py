"""Faults, runs, overshoot and recovery, as a table in Markdown."""

import statistics
from collections.abc import Sequence

from faults.run import Outcome, overshoot


def table(outcomes: Sequence[Outcome]) -> str:
    """A run counts for each of its faults."""
    faults = sorted({fault for outcome in outcomes for fault in outcome.plan.faults})
    rows = [(fault, [o for o in outcomes if fault in o.plan.faults]) for fault in faults]
    rows.append(("**all**", list(outcomes)))
    lines = [
        "| fault | runs | overshoot | recovery, median | recovery, longest |",
        "|---|---|---|---|---|",
    ]
    for fault, found in rows:
        seconds = [outcome.recovery for outcome in found]
        most = max(overshoot(outcome.highest) for outcome in found)
        lines.append(
            f"| {fault} | {len(found)} | {most} | {statistics.median(seconds):.1f} s"
            f" | {max(seconds):.1f} s |"
        )
    return "\n".join(lines)
