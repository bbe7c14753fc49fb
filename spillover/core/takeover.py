"""What the scheduler's Lease says: whether the scheduler in our Pod holds it, until when this
extender may bind, and until when another extender may bind.

The scheduler and its extender share a Pod, so the host in the Lease's holder identity says which
extender may bind. The extender has no Lease of its own. It may bind while the Lease of its
scheduler runs, less a margin: two schedulers overlap by about two seconds when one of them has lost
the connection.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

MARGIN_SECONDS = 2.0
UNKNOWN_SECONDS = 15.0
"""The assumed duration of a Lease that does not exist: kube-scheduler's default."""

Acquisition = tuple[str, float]
"""One uninterrupted period of one holder: the holder's identity, and when it acquired the Lease."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The scheduler's Lease. Times are in seconds since 1970 by the holder's clock."""

    holder: str
    """`<host>_<id>`, or "" after a release."""
    acquired: float
    renewed: float
    seconds: float
    """How long the holder has the Lease after a renewal."""

    @property
    def host(self) -> str:
        return self.holder.rsplit("_", 1)[0]


class Tenure:
    """Until when this extender and others may bind. `host` is our own hostname. `clock` returns
    seconds, never goes back, and also runs while the machine sleeps. `wall_clock` returns seconds
    since 1970. The clocks are compared once for each renewal, when the watch shows it: a later step
    of the wall clock changes nothing."""

    def __init__(
        self, host: str, clock: Callable[[], float], wall_clock: Callable[[], float]
    ) -> None:
        self._host = host
        self._clock = clock
        self._wall_clock = wall_clock
        # Grows with every change of `acquisition`, even if the old value returns at once.
        self.transitions = 0
        # An extender whose scheduler held the Lease before the last list may bind until then.
        self.listed_until = -inf
        self._lease: Lease | None = None
        self._deadline = -inf
        self._others: dict[str, float] = {}

    def see(self, lease: Lease | None) -> None:
        """The watch shows this Lease. None if the Lease is deleted."""
        now, before = self._clock(), self.acquisition
        self._lease = lease
        if self.acquisition != before:
            self.transitions += 1
        self._deadline = -inf
        self._others = {host: until for host, until in self._others.items() if until > now}
        if lease is None or not lease.holder:
            return
        if lease.host == self._host:
            # Never more than the full duration, however far apart the two clocks are.
            left = min(lease.renewed + lease.seconds - self._wall_clock(), lease.seconds)
            self._deadline = now + left - MARGIN_SECONDS
        else:
            self._others[lease.host] = now + lease.seconds

    def may_have_missed(self) -> None:
        """The Lease was read from a list, or does not exist: another scheduler may have held the
        Lease until a moment ago."""
        seconds = self._lease.seconds if self._lease is not None else 0.0
        self.listed_until = self._clock() + max(seconds, UNKNOWN_SECONDS)

    @property
    def acquisition(self) -> Acquisition | None:
        """Our scheduler's acquisition. None while our scheduler does not hold the Lease."""
        lease = self._lease
        if lease is None or not lease.holder or lease.host != self._host:
            return None
        return (lease.holder, lease.acquired)

    @property
    def deadline(self) -> float:
        """Until when this extender may bind, in seconds of the clock."""
        return self._deadline

    def others_until(self, besides: str | None = None) -> float:
        """Until when an extender on another host may bind, in seconds of the clock. `besides` is a
        host whose extender is known not to bind."""
        return max((until for host, until in self._others.items() if host != besides), default=-inf)


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """Which extender binds, as the epoch object says."""

    host: str
    process: str
    acquisition: Acquisition | None
    state: str
    """SWEEPING, OPEN or DRAINED. DRAINED follows an orderly stop: no binding of this process or of
    an earlier process is in flight."""


SWEEPING, OPEN, DRAINED = "sweeping", "open", "drained"


@dataclass(frozen=True, slots=True)
class Plan:
    """How to take over."""

    sweep: bool
    last_pass_from: float = -inf
    """When the last pass of the sweep may begin, in seconds of the clock."""


def plan(record: EpochRecord | None, process: str, tenure: Tenure, now: float) -> Plan:
    """What a takeover must do about earlier holders of the Lease. Our scheduler must hold the
    Lease. `record` is what the epoch object says. None if no extender ever led, or if that is not
    known."""
    if record is None:
        return Plan(sweep=True, last_pass_from=tenure.others_until())
    mine = record.process == process
    clean = record.state == DRAINED or (mine and record.state == OPEN)
    if clean and tenure.others_until(besides=record.host) <= now:
        return Plan(sweep=False)
    if record.acquisition == tenure.acquisition and record.state == OPEN:
        # An earlier process in this Pod took over from all others, and that process has ended.
        return Plan(sweep=True)
    return Plan(True, last_pass_from=max(tenure.others_until(), tenure.listed_until))
