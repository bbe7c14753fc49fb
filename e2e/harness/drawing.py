"""Draws a dashboard's panels as Grafana would."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from math import floor, isnan, nan
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.panels import Panel, Query
from harness.prometheus import Series

_WIDTH = 1600
_CELL, _GAP, _MARGIN, _HEADER = 38, 8, 16, 52  # pixels, as are the numbers below
_TITLE, _AXIS_LEFT, _AXIS_BOTTOM, _LEGEND_LINE = 34, 62, 24, 19
_DPI = 100
_PAGE, _BOX, _EDGE, _GRID = "#111217", "#181b1f", "#25282e", "#2b2f36"
_TEXT, _FAINT = "#d5d7de", "#8e93a0"
_COLOURS = (
    "#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#c0d8ff",
    "#37872d", "#fade2a", "#447ebc", "#c15c17", "#ca95e5", "#96d98d", "#ffb357", "#e0b400",
)  # fmt: skip
_SECONDS = ((1.0, "s", 1.0), (1e-3, "ms", 1e3), (0.0, "µs", 1e6))


@dataclass(frozen=True)
class Answered:
    """A panel with the series that each of its queries has given."""

    panel: Panel
    series: tuple[tuple[Series, ...], ...]


@dataclass(frozen=True)
class Span:
    """The time on the horizontal axes: seconds since 1970, a point every `step` seconds."""

    start: float
    end: float
    step: float

    def values(self, series: Series) -> list[float]:
        """A value for each point, NaN where the series has none."""
        found = {round((at - self.start) / self.step): value for at, value in series.points}
        return [found.get(index, nan) for index in range(len(self.times()))]

    def times(self) -> list[float]:
        count = floor((self.end - self.start) / self.step + 1e-6) + 1
        return [self.start + index * self.step for index in range(count)]


@dataclass(frozen=True)
class _Line:
    name: str
    colour: str
    query: Query
    values: list[float]


def draw(title: str, answered: Sequence[Answered], span: Span, target: Path) -> None:
    """Writes all panels, placed as on the dashboard, into a PNG file."""
    rows = max(each.panel.y + each.panel.height for each in answered)
    page = _Page(_HEADER + rows * _CELL + _MARGIN)
    page.text(_MARGIN, 30, title, size=14, weight="bold")
    page.text(_WIDTH - _MARGIN, 30, _period(span), colour=_FAINT, align="right")
    for each in answered:
        _draw_panel(page, each, span)
    page.save(target)


class _Page:
    """A figure that is measured in pixels from its upper left corner."""

    def __init__(self, height: int) -> None:
        self.height = height
        self.figure = Figure(figsize=(_WIDTH / _DPI, height / _DPI), dpi=_DPI, facecolor=_PAGE)

    def box(self, x: float, y: float, width: float, height: float) -> None:
        box = FancyBboxPatch(
            (x, self.height - y - height), width, height,
            boxstyle="round,pad=0,rounding_size=3", facecolor=_BOX, edgecolor=_EDGE,
            linewidth=1, transform=None, zorder=-1,
        )  # fmt: skip
        self.figure.add_artist(box)

    def text(
        self, x: float, y: float, text: str, *, size: float = 9, weight: str = "normal",
        colour: str = _TEXT, align: str = "left",
    ) -> None:  # fmt: skip
        self.figure.text(
            x / _WIDTH, 1 - y / self.height, text, fontsize=size, fontweight=weight, color=colour,
            ha=align, va="center",
        )  # fmt: skip

    def dash(self, x: float, y: float, width: float, line: _Line) -> None:
        """A line's sample in a legend."""
        sample = Line2D(
            [x / _WIDTH, (x + width) / _WIDTH], [1 - y / self.height] * 2,
            color=line.colour, linewidth=2.5, transform=self.figure.transFigure,
        )  # fmt: skip
        if line.query.style.dashed:
            sample.set_linestyle((0, (1.2, 0.8)))
        self.figure.add_artist(sample)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        place = (
            x / _WIDTH, 1 - (y + height) / self.height, width / _WIDTH, height / self.height,
        )  # fmt: skip
        return self.figure.add_axes(place, facecolor=_BOX)

    def save(self, target: Path) -> None:
        # No version of the library inside: the same picture is the same file.
        self.figure.savefig(target, dpi=_DPI, format="png", metadata={"Software": None})


def _draw_panel(page: _Page, answered: Answered, span: Span) -> None:
    panel = answered.panel
    cell = (_WIDTH - 2 * _MARGIN + _GAP) / 24
    x, y = _MARGIN + panel.x * cell, _HEADER + panel.y * _CELL
    width, height = panel.width * cell - _GAP, panel.height * _CELL - _GAP
    page.box(x, y, width, height)
    page.text(x + 10, y + 17, panel.title, size=10, weight="bold")
    lines = list(_lines(answered, span))
    legend_height = _legend(page, lines, x + 12, y + height - 12, width - 24)
    left = x + _AXIS_LEFT
    axes = page.axes(
        left,
        y + _TITLE,
        x + width - 14 - left,
        height - _TITLE - _AXIS_BOTTOM - legend_height - 10,
    )
    _dress(axes, panel, span)
    if not lines:
        axes.text(0.5, 0.5, "No data", color=_FAINT, ha="center", transform=axes.transAxes)
    _plot(axes, lines, span)
    low, high = axes.get_ylim()
    least = low if panel.least is None else panel.least
    axes.set_ylim(least, max(high, panel.soft_most or 0.0, least + 1e-9))


def _lines(answered: Answered, span: Span) -> Iterator[_Line]:
    """Those with any value. Colours go on from query to query, as Grafana's do."""
    colours = cycle(_COLOURS)
    for query, found in zip(answered.panel.queries, answered.series, strict=True):
        for series in sorted(found, key=lambda each: query.name(each.labels)):
            values = span.values(series)
            if not all(map(isnan, values)):
                yield _Line(query.name(series.labels), next(colours), query, values)


def _legend(page: _Page, lines: Sequence[_Line], x: float, bottom: float, width: float) -> float:
    """Draws it from left to right, in as many rows as it takes, and returns its height."""
    rows: list[list[tuple[float, _Line]]] = [[]]
    reached = 0.0
    for line in lines:
        wide = 34 + 6.4 * len(line.name)  # an estimate with room to spare
        if rows[-1] and reached + wide > width:
            rows.append([])
            reached = 0.0
        rows[-1].append((reached, line))
        reached += wide
    for number, row in enumerate(rows):
        y = bottom - (len(rows) - 1 - number) * _LEGEND_LINE
        for at, line in row:
            page.dash(x + at, y, 14, line)
            page.text(x + at + 19, y, line.name, size=8.5)
    return len(rows) * _LEGEND_LINE


def _dress(axes: Axes, panel: Panel, span: Span) -> None:
    axes.set_xlim(span.start, span.end)
    axes.grid(visible=True, color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(colors=_FAINT, labelsize=8, length=0, pad=5)
    whole = panel.unit == "short"
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=whole))
    axes.yaxis.set_major_formatter(FuncFormatter(_unit(panel.unit)))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=max(3, panel.width // 2), prune="both"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: _clock(at)))


def _plot(axes: Axes, lines: Sequence[_Line], span: Span) -> None:
    times = span.times()
    below = [0.0] * len(times)
    for line in lines:
        style = line.query.style
        values = line.values
        floor_ = [0.0] * len(times)
        if style.stacked:
            floor_ = below
            below = [
                base + (0.0 if isnan(value) else value)
                for base, value in zip(below, values, strict=True)
            ]
            values = [
                nan if isnan(value) else top for top, value in zip(below, values, strict=True)
            ]
        axes.plot(
            times,
            values,
            color=line.colour,
            linewidth=style.width * 1.3,
            linestyle=(0, (5, 3.5)) if style.dashed else "solid",
            drawstyle="steps-post" if style.stepped else "default",
            zorder=3,
        )
        if style.fill:
            axes.fill_between(
                times,
                floor_,
                values,
                color=line.colour,
                alpha=style.fill,
                step="post" if style.stepped else None,
                linewidth=0,
                zorder=2,
            )


def _unit(unit: str) -> Callable[[float, int], str]:
    """Writes values of one of Grafana's units. Raises KeyError for one that is not used here."""
    return {
        "short": lambda value, _: f"{value:g}",
        "percentunit": lambda value, _: f"{value * 100:g}%",
        "ops": lambda value, _: f"{value:g}/s",
        "s": lambda value, _: _duration(value),
    }[unit]


def _duration(seconds: float) -> str:
    if seconds == 0:
        return "0 s"
    name, factor = next((name, by) for least, name, by in _SECONDS if abs(seconds) >= least)
    return f"{seconds * factor:.3g} {name}"


def _period(span: Span) -> str:
    day = datetime.fromtimestamp(span.start, UTC).date()
    return f"namespace All   policy All   {day} {_clock(span.start)} to {_clock(span.end)} UTC"


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"
