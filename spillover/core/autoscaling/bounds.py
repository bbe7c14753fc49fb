"""How many replicas there may be, by time."""

from dataclasses import dataclass
from datetime import datetime

from spillover.core.autoscaling.cron import Cron


@dataclass(frozen=True, slots=True)
class Bounds:
    """Both ends are allowed."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class TimedBounds:
    """Bounds in the minutes of a cron expression."""

    cron: Cron
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Period:
    """Bounds between two times. None: without an end."""

    start: datetime | None
    """Without a zone: in that of the service."""
    end: datetime | None
    bounds: tuple[TimedBounds, ...]


def in_force(time: datetime, periods: tuple[Period, ...], otherwise: Bounds) -> Bounds:
    """The bounds at `time`, which is in the zone of the service and has no zone itself. The first
    that fit count."""
    for period in periods:
        if (period.start is None or period.start <= time) and (
            period.end is None or time <= period.end
        ):
            for timed in period.bounds:
                if timed.cron.matches(time):
                    return timed.bounds
    return otherwise
