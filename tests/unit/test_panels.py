"""What is read of a Grafana dashboard, and its drawing."""

from pathlib import Path

import pytest

from harness.drawing import Answered, Span, draw
from harness.panels import load, substituted, variables
from harness.prometheus import Series

SPAN = Span(1000.0, 1060.0, 1.0)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ('up{job="$name"}', 'up{job="one"}'),
        ("rate(x[${interval}])", "rate(x[5s])"),
        ("$name$interval", "one5s"),
        ("1", "1"),
    ],
)
def test_variables_are_substituted(text: str, made: str) -> None:
    assert substituted(text, {"name": "one", "interval": "5s"}) == made


def test_an_unknown_variable_is_an_error() -> None:
    with pytest.raises(KeyError, match="other"):
        substituted("$other", {"name": "one"})


def test_the_dashboard_has_its_panels_side_by_side() -> None:
    cells = [
        (x, y)
        for panel in load()
        for x in range(panel.x, panel.x + panel.width)
        for y in range(panel.y, panel.y + panel.height)
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23


def test_a_maximum_is_dashed_and_stands_on_the_ground() -> None:
    units = next(panel for panel in load() if panel.title == "Pods in units")
    assigned, most = units.queries
    assert (assigned.style.stacked, assigned.style.dashed) == (True, False)
    assert (most.style.stacked, most.style.dashed, most.style.fill) == (False, True, 0)
    labels = {"policy": "inference", "unit": "eci"}
    assert [query.name(labels) for query in units.queries] == [
        "inference: eci",
        "inference: max of eci",
    ]


def test_every_variable_of_the_dashboard_is_known() -> None:
    for panel in load():
        for query in panel.queries:
            assert "$" not in substituted(query.expression, variables(10))


def test_gaps_are_gaps() -> None:
    series = Series({}, ((1001.0, 4.0), (1003.0, 5.0)))
    assert str(Span(1000.0, 1004.0, 1.0).values(series)) == "[nan, 4.0, nan, 5.0, nan]"


def test_a_picture_of_all_panels_is_drawn(tmp_path: Path) -> None:
    """Of series with values, without any, and of panels with no data."""
    labels = {"policy": "inference", "unit": "eci", "state": "ready", "place": "first"}
    full = Series(labels, tuple((at, at % 7) for at in SPAN.times()))
    torn = Series({}, ((1000.0, 1.0), (1001.0, float("nan")), (1010.0, 0.0003)))
    answered = [
        Answered(panel, tuple(() if number == 3 else (full, torn) for _ in panel.queries))
        for number, panel in enumerate(load())
    ]
    picture = tmp_path / "picture.png"
    draw("Spillover", answered, SPAN, picture)
    head = picture.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(head[16:20], "big") == 1600
