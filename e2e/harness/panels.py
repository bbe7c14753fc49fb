"""What a Grafana dashboard's JSON says: its panels, their queries and how these are drawn. Of the
format only what ours uses."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.places import MONITORING

Object = dict[str, Any]

DASHBOARD = MONITORING / "dashboard.json"
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True)
class Style:
    """How the series of a query are drawn. `width` in pixels, `fill` from 0 to 1."""

    width: float
    fill: float
    stacked: bool
    stepped: bool
    dashed: bool


@dataclass(frozen=True)
class Query:
    """`expression` has Grafana's variables in it, `legend` names of labels in {{ }}."""

    expression: str
    legend: str
    style: Style

    def name(self, labels: Mapping[str, str]) -> str:
        """Of a series in the legend."""
        return _LABEL.sub(lambda match: labels.get(match[1], ""), self.legend)


@dataclass(frozen=True)
class Panel:
    """`x`, `y`, `width` and `height` are in cells of a grid that is 24 wide. The vertical axis
    begins at `least` and reaches `soft_most` at least, where they are given."""

    title: str
    unit: str
    x: int
    y: int
    width: int
    height: int
    least: float | None
    soft_most: float | None
    queries: tuple[Query, ...]


def load(file: Path = DASHBOARD) -> tuple[Panel, ...]:
    """The panels of a dashboard, in its order."""
    return tuple(map(_panel, json.loads(file.read_text())["panels"]))


def templates(file: Path = DASHBOARD) -> list[str]:
    """The queries that the values of its variables come from."""
    return [
        variable["query"]["query"]
        for variable in json.loads(file.read_text())["templating"]["list"]
        if variable["type"] == "query"
    ]


def substituted(text: str, variables: Mapping[str, str]) -> str:
    """The text with values for $name and ${name}. Raises KeyError for a variable without one."""
    return _VARIABLE.sub(lambda match: variables[match[1] or match[2]], text)


def variables(rate_interval_seconds: int) -> dict[str, str]:
    """Values for every variable of our dashboard: all policies of all namespaces."""
    return {
        "namespace": ".*",
        "policy": ".*",
        "__rate_interval": f"{rate_interval_seconds}s",
    }


def _panel(panel: Object) -> Panel:
    defaults = panel["fieldConfig"]["defaults"]
    place = panel["gridPos"]
    return Panel(
        title=panel["title"],
        unit=defaults["unit"],
        x=place["x"],
        y=place["y"],
        width=place["w"],
        height=place["h"],
        least=defaults.get("min"),
        soft_most=defaults["custom"].get("axisSoftMax"),
        queries=tuple(
            Query(
                target["expr"],
                target["legendFormat"],
                _style({**defaults["custom"], **_overrides(panel, target["refId"])}),
            )
            for target in panel["targets"]
        ),
    )


def _overrides(panel: Object, ref: str) -> Object:
    """What is said of one query's series alone."""
    return {
        entry["id"].removeprefix("custom."): entry["value"]
        for override in panel["fieldConfig"]["overrides"]
        if override["matcher"] == {"id": "byFrameRefID", "options": ref}
        for entry in override["properties"]
    }


def _style(custom: Object) -> Style:
    return Style(
        width=custom["lineWidth"],
        fill=custom["fillOpacity"] / 100,
        stacked=custom["stacking"]["mode"] == "normal",
        stepped=custom["lineInterpolation"] == "stepAfter",
        dashed=custom.get("lineStyle", {}).get("fill") == "dash",
    )
