"""Cron expressions, with the vendor's examples."""

from datetime import datetime

import pytest

from spillover.core.autoscaling.cron import Cron

TUESDAY = "2023-06-06"
SATURDAY = "2023-06-10"


@pytest.mark.parametrize(
    ("expression", "time", "matches"),
    [
        ("* 0-6 ?  * *", f"{TUESDAY} 06:59", True),
        ("* 0-6 ?  * *", f"{TUESDAY} 07:00", False),
        ("* 0-8 ? * MON-FRI", f"{TUESDAY} 03:00", True),
        ("* 0-8 ? * MON-FRI", f"{SATURDAY} 03:00", False),
        ("* 0-8 ? * mon-fri", f"{TUESDAY} 08:59", True),
        ("*/15 * * * *", f"{TUESDAY} 10:45", True),
        ("*/15 * * * *", f"{TUESDAY} 10:46", False),
        ("5/20 * * * *", f"{TUESDAY} 10:25", True),
        ("0,30 9 * JUN,DEC ?", f"{TUESDAY} 09:30", True),
        ("0,30 9 * JUL,DEC ?", f"{TUESDAY} 09:30", False),
        ("* * ? * FRI-SUN", f"{SATURDAY} 00:00", True),
        ("* * ? * 7", "2023-06-11 00:00", True),
        ("* * ? * 0", "2023-06-11 00:00", True),
        # Both days are restricted: one is enough, as for cron.
        ("* * 1 * SAT", f"{SATURDAY} 00:00", True),
        ("* * 1 * SAT", "2023-06-01 00:00", True),
        ("* * 1 * SAT", "2023-06-02 00:00", False),
        ("* * 1 * ?", f"{SATURDAY} 00:00", False),
    ],
)
def test_which_minutes(expression: str, time: str, *, matches: bool) -> None:
    assert Cron.parse(expression).matches(datetime.fromisoformat(time)) is matches


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("", "must have five fields"),
        ("* * * *", "must have five fields"),
        ("0 * * * * *", "must have five fields"),
        ("60 * * * *", "minute: 60 is not from 0 to 59"),
        ("* 24 * * *", "hour: 24 is not from 0 to 23"),
        ("* * 0 * *", "day of month: 0 is not from 1 to 31"),
        ("* * * FOO *", "month: 'FOO' is no name of it"),
        ("* * * * MON-XYZ", "day of week: 'XYZ' is no name of it"),
        ("* 8-3 * * *", "hour: '8-3' ends before it begins"),
        ("*/0 * * * *", "minute: '*/0' has a step of 0"),
        ("* * L * *", "day of month: 'L' is no number, name, range or step"),
        ("1,,2 * * * *", "minute: '' is no number, name, range or step"),
        ("* " * 200, "must have five fields"),
    ],
)
def test_what_is_none(expression: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}".replace("*", r"\*").replace("?", r"\?")):
        Cron.parse(expression)
