"""The chart of a workload: one HTML page with two figures, the load and the pods.

Everything is in the page: no script, font or style from elsewhere. The figures are SVG.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from html import escape
from math import ceil, floor, isfinite, log10

WIDTH, HEIGHT = 1000, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 16, 40
_TICKS = 5

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --faint: #d0d7de; --paper: #ffffff;
  --actual: #0969da; --predicted: #1a7f37; --goal: #bc4c00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --faint: #30363d; --paper: #0d1117;
  --actual: #58a6ff; --predicted: #3fb950; --goal: #f0883e; } }
body { margin: 1.5rem; background: var(--paper); color: var(--ink);
  font: 14px/1.5 system-ui, sans-serif; max-width: 68rem; }
h1 { font-size: 1.25rem; } h2 { font-size: 1rem; margin: 1.5rem 0 0; }
svg { width: 100%; height: auto; }
text { fill: var(--ink); font-size: 12px; }
.grid { stroke: var(--faint); stroke-width: 1; }
.actual, .predicted, .goal { fill: none; stroke-width: 1.5; }
.actual { stroke: var(--actual); } .predicted { stroke: var(--predicted); }
.goal { stroke: var(--goal); stroke-dasharray: 6 4; }
table { border-collapse: collapse; } td, th { padding: 0.1rem 1rem 0.1rem 0; text-align: left; }
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a figure, with the same distance between all its points."""

    name: str
    style: str
    """actual, predicted or goal."""
    start: float
    """Time of the first point in seconds since 1970."""
    step: float
    """Seconds between two points."""
    values: Sequence[float]
    """NaN is a gap."""


@dataclass(frozen=True, slots=True)
class Figure:
    title: str
    unit: str
    lines: Sequence[Line]


@dataclass(frozen=True, slots=True)
class Page:
    """What is shown of one object."""

    title: str
    facts: Sequence[tuple[str, str]]
    """Pairs of a name and a value, as a table."""
    figures: Sequence[Figure]


def page(content: Page, zone: tzinfo) -> str:
    """The page. Times are shown in `zone`."""
    facts = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in content.facts
    )
    figures = "".join(
        f"<h2>{escape(figure.title)}</h2>{_svg(figure, zone)}" for figure in content.figures
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(content.title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escape(content.title)}</h1><table>{facts}</table>{figures}</body></html>\n"
    )


def _svg(figure: Figure, zone: tzinfo) -> str:
    lines = [line for line in figure.lines if any(map(isfinite, line.values))]
    if not lines:
        return "<p>There is nothing to show yet.</p>"
    begin = min(line.start for line in lines)
    end = max(line.start + line.step * max(len(line.values) - 1, 1) for line in lines)
    most = max(value for line in lines for value in line.values if isfinite(value))
    ticks = _ticks(most)
    frame = _Frame(begin, end, ticks[-1])
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(figure.title)}</title>',
        *_level_ticks(frame, ticks, figure.unit),
        *_time_ticks(frame, zone),
        *(_path(frame, line) for line in lines),
        *_legend(lines),
        "</svg>",
    ]
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class _Frame:
    begin: float
    end: float
    most: float

    def x(self, time: float) -> float:
        share = (time - self.begin) / (self.end - self.begin)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - value / self.most * (HEIGHT - _TOP - _BOTTOM)


def _ticks(most: float) -> list[float]:
    """Round numbers from 0 to at least `most`."""
    rough = max(most, 1e-9) / (_TICKS - 1)
    power = 10.0 ** floor(log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.9999)
    return [step * number for number in range(ceil(most / step - 1e-9) + 1)] or [0.0, step]


def _level_ticks(frame: _Frame, ticks: Sequence[float], unit: str) -> Iterable[str]:
    for tick in ticks:
        y = frame.y(tick)
        yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        label = f"{tick:g}{escape(unit)}"
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'


def _time_ticks(frame: _Frame, zone: tzinfo) -> Iterable[str]:
    """One tick for each eighth of the time, which is a day for eight days."""
    pattern = "%m-%d %H:%M" if frame.end - frame.begin > _LONG_SECONDS else "%H:%M:%S"
    for number in range(8):
        time = frame.begin + number * (frame.end - frame.begin) / 8
        shown = datetime.fromtimestamp(time, UTC).astimezone(zone).strftime(pattern)
        x, bottom = frame.x(time), HEIGHT - _BOTTOM
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 16}">{shown}</text>'


_LONG_SECONDS = 2 * 86_400


def _path(frame: _Frame, line: Line) -> str:
    """The line as SVG: it is interrupted where a value is missing."""
    commands, is_drawn = [], False
    for number, value in enumerate(line.values):
        if not isfinite(value):
            is_drawn = False
            continue
        x, y = frame.x(line.start + number * line.step), frame.y(value)
        commands.append(f"{'L' if is_drawn else 'M'}{x:.1f} {y:.1f}")
        is_drawn = True
    return f'<path class="{line.style}" d="{"".join(commands)}"/>'


def _legend(lines: Sequence[Line]) -> Iterable[str]:
    x = _LEFT
    for line in lines:
        y = HEIGHT - 8
        yield f'<path class="{line.style}" d="M{x} {y - 4}h24"/>'
        yield f'<text x="{x + 30}" y="{y}">{escape(line.name)}</text>'
        x += 40 + 8 * len(line.name)
