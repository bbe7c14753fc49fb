"""What a benchmark found, as JSON for programs and as Markdown for people, in bench/reports/."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.build import KUBERNETES
from harness.places import ROOT

FOLDER = ROOT / "bench" / "reports"


def write(
    name: str,
    title: str,
    command: str,
    tables: Mapping[str, Sequence[Mapping[str, str]]],
    data: Mapping[str, Any],
    folder: Path = FOLDER,
) -> str:
    """Writes NAME.json and NAME.md. `tables` are rows of texts by the heading of their table;
    `data` is everything that was measured. Returns the Markdown."""
    machine = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "kubernetes": KUBERNETES,
        "on": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"command": command, "machine": machine, **data}
    (folder / f"{name}.json").write_text(json.dumps(whole, indent=1) + "\n")
    said = ", ".join(f"{key} {value}" for key, value in machine.items())
    parts = [f"# {title}", f"`{command}`, {said}"]
    for heading, rows in tables.items():
        parts += [f"## {heading}", _table(rows)]
    text = "\n\n".join(parts) + "\n"
    (folder / f"{name}.md").write_text(text)
    return text


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    if not rows:
        return "Nothing was measured."
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([row[head] for head in heads] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
