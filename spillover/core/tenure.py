"""What the scheduler's Lease says: whether its holder is the scheduler beside us, until when we may
bind, and until when somebody else may.

The scheduler and its extender share a Pod, so the Lease's holder tells by its host whose extender
is to bind. We hold no Lease of our own: we may bind while the scheduler's runs, less a margin, for
two schedulers overlap by about two seconds when one has lost touch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

MARGIN_SECONDS = 2.0
UNKNOWN_SECONDS = 15.0
"""Of a Lease that nobody has: kube-scheduler's default."""

Turn = tuple[str, float]
"""One uninterrupted time of one holder: its identity, and when it acquired the Lease."""


@dataclass(frozen=True, slots=True)
class Lease:
    """`holder` is `<host>_<id>`, or "" once released. `acquired` and `renewed` are in seconds since
    1970 by the holder's clock; the holder has it for `seconds` after a renewal."""

    holder: str
    acquired: float
    renewed: float
    seconds: float

    @property
    def host(self) -> str:
        return self.holder.rsplit("_", 1)[0]


class Tenure:
    """`host` is our own hostname. `spell` grows with every change of `turn`, also of one that is
    back at once. `listed_until` is until when those may bind who had the Lease before it was last
    read from a list. `clock` gives seconds, never goes back, and runs on while the machine sleeps;
    `wall_clock` gives those since 1970. The clocks are compared once for each renewal, when it is
    seen: a step of the wall clock afterwards changes nothing."""

    def __init__(
        self, host: str, clock: Callable[[], float], wall_clock: Callable[[], float]
    ) -> None:
        self._host = host
        self._clock = clock
        self._wall_clock = wall_clock
        self.spell = 0
        self.listed_until = -inf
        self._lease: Lease | None = None
        self._deadline = -inf
        self._others: dict[str, float] = {}

    def see(self, lease: Lease | None) -> None:
        """The Lease as the watch shows it; None once it is deleted."""
        now, before = self._clock(), self.turn
        self._lease = lease
        if self.turn != before:
            self.spell += 1
        self._deadline = -inf
        self._others = {host: until for host, until in self._others.items() if until > now}
        if lease is None or not lease.holder:
            return
        if lease.host == self._host:
            # Never more than all of it, however far apart the clocks are.
            left = min(lease.renewed + lease.seconds - self._wall_clock(), lease.seconds)
            self._deadline = now + left - MARGIN_SECONDS
        else:
            self._others[lease.host] = now + lease.seconds

    def may_have_missed(self) -> None:
        """The Lease was read from a list, or found missing: others may have had it until just
        now."""
        seconds = self._lease.seconds if self._lease is not None else 0.0
        self.listed_until = self._clock() + max(seconds, UNKNOWN_SECONDS)

    @property
    def turn(self) -> Turn | None:
        """Ours, or None while the Lease is not."""
        lease = self._lease
        if lease is None or not lease.holder or lease.host != self._host:
            return None
        return (lease.holder, lease.acquired)

    @property
    def deadline(self) -> float:
        """Until when we may bind, in seconds of the clock."""
        return self._deadline

    def others_until(self, besides: str | None = None) -> float:
        """Until when an extender on another host may bind, in seconds of the clock. `besides` is a
        host of which it is known that it does not."""
        return max((until for host, until in self._others.items() if host != besides), default=-inf)


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """Who binds, as written on the epoch object. `state` is sweeping, open or drained: in order, no
    binding of this process is under way any more, nor of any before it."""

    host: str
    process: str
    turn: Turn | None
    state: str


SWEEPING, OPEN, DRAINED = "sweeping", "open", "drained"


@dataclass(frozen=True, slots=True)
class Plan:
    """How to take over: whether to sweep, and when its last pass may begin, on the clock."""

    sweep: bool
    last_pass_from: float = -inf


def plan(record: EpochRecord | None, process: str, tenure: Tenure, now: float) -> Plan:
    """What a takeover must do about those who had the Lease before, in a turn of ours. `record` is
    what the epoch object says; None: nobody ever led, or nobody can tell."""
    if record is None:
        return Plan(sweep=True, last_pass_from=tenure.others_until())  # nobody has ever led
    mine = record.process == process
    clean = record.state == DRAINED or (mine and record.state == OPEN)
    if clean and tenure.others_until(besides=record.host) <= now:
        return Plan(sweep=False)
    if record.turn == tenure.turn and record.state == OPEN:
        # An earlier process in this Pod, which has ended, took over from all others.
        return Plan(sweep=True)
    return Plan(True, last_pass_from=max(tenure.others_until(), tenure.listed_until))
