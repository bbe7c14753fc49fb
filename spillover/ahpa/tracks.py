"""What is remembered of an object between two looks, and the decision that follows from a look."""

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from math import inf

from spillover.ahpa.histories import Reading
from spillover.core.autoscaling.autoscaler import Autoscaler, Strategy
from spillover.core.autoscaling.bounds import Bounds
from spillover.forecast.decision import Decision, Load, Needed, Rules, decide
from spillover.forecast.season import Forecast, Missing, fit, slot_seconds

REFIT_SLOTS = 3
"""A forecast is made anew after so many slots: a quarter of an hour."""
_MOST_NEEDED = 6000
"""Numbers that are kept for the stabilization window: a day's, for periods of 15 s and more."""


@dataclass(slots=True)
class Track:
    """Of one object. With another target or metric it is another object: `basis`."""

    basis: Hashable
    needed: deque[Needed] = field(default_factory=lambda: deque(maxlen=_MOST_NEEDED))
    forecast: Forecast | Missing = Missing.HISTORY
    fitted_at: float = -inf
    fitted_for: float = 0.0
    """The quantile."""
    wanted: int | None = None
    """The last number that was decided on."""
    answered_at: float = -inf
    """When Prometheus last had the load, in seconds that never go back."""
    raised_at: float = -inf
    """When the number was last raised, likewise."""

    def fit(self, autoscaler: Autoscaler, reading: Reading, load: Load, now: float) -> None:
        """Makes a new forecast, if it is time. `now` is in seconds since 1970."""
        fresh_seconds = REFIT_SLOTS * slot_seconds(reading.history)
        is_due = not 0 <= now - self.fitted_at < fresh_seconds
        if is_due or self.fitted_for != autoscaler.quantile:
            self.forecast = fit(reading.history, autoscaler.quantile, capacity=load.capacity)
            self.fitted_at, self.fitted_for = now, autoscaler.quantile

    def decide(
        self,
        autoscaler: Autoscaler,
        bounds: Bounds,
        loads: Sequence[Load],
        pods: int,
        replicas: int,
        now: float,
        clock: float,
    ) -> Decision:
        """Decides by the last forecast. `replicas` were asked for last."""
        if self.needed and self.needed[-1].time > now:
            self.needed.clear()  # the wall clock has gone back
        if not self.needed and autoscaler.strategy is not Strategy.OBSERVER:
            # Whether fewer were enough before is not known.
            self.needed.append(Needed(now, float(replicas)))
        rules = Rules(autoscaler.strategy, bounds, autoscaler.forward, autoscaler.window)
        forecast = self.forecast if isinstance(self.forecast, Forecast) else None
        found = decide(
            now, loads, pods, replicas, rules, forecast, self.needed, clock - self.raised_at
        )
        self.needed.append(found.needed)
        return found
