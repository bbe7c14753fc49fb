"""What the extender does beside its answers, put together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from prometheus_client import Counter

from extender.metrics import Metrics
from spillover.controller.controller import Controller
from spillover.controller.decisions import DecisionLog
from spillover.controller.earlier_pods import EarlierPods
from spillover.controller.nudging import Nudger
from spillover.controller.pod_writer import PodWriter
from spillover.controller.recorder import Recorder
from spillover.controller.rounds import Rounds
from spillover.controller.statuses import Statuses
from spillover.controller.unit_series import UnitSeries
from spillover.controller.unreadable import UnreadableObjects
from spillover.controller.wait_marks import WaitMarks
from spillover.core.cache import SchedulingCache
from spillover.kube.reflector import Reflector
from spillover.kube.session import ApiSession

_UPKEEP_AT_ONCE = 3
"""Bindings share the session."""


@dataclass(frozen=True, slots=True)
class Aside:
    """`controller` runs while we lead; `nudger` and `wait_marks` always, for what was begun."""

    controller: Controller
    nudger: Nudger
    wait_marks: WaitMarks
    decisions: DecisionLog
    series: UnitSeries


def beside_answers(
    cache: SchedulingCache,
    session: ApiSession,
    statuses: Statuses,
    metrics: Metrics,
    watches: Sequence[Reflector[Any]],
    leads: Callable[[], bool],
    clock: Callable[[], float],
    random: Random,
) -> Aside:
    """`statuses` is what the watch of policies tells; `leads` whether we do."""
    recorder = Recorder(session, _outcomes(metrics.events), clock, _now, random)
    series = UnitSeries(is_told=leads)
    upkeep = PodWriter(session, _outcomes(metrics.annotations), _UPKEEP_AT_ONCE)

    def failed(task: str) -> None:
        metrics.controller_failures.labels(task).inc()

    def reset() -> None:
        rounds.reset()
        recorder.reset()

    rounds = Rounds(
        cache, statuses, series, upkeep, _outcomes(metrics.statuses), failed, clock, random
    )
    return Aside(
        controller=Controller(
            {
                "rounds": rounds.run,
                "events": recorder.run,
                "earlier pods": EarlierPods(cache, session, _now).run,
                "unreadable objects": UnreadableObjects(watches, recorder).run,
            },
            reset=reset,
            failed=failed,
            clock=clock,
            random=random,
        ),
        nudger=Nudger(cache, PodWriter(session, _outcomes(metrics.nudges)), _now),
        wait_marks=WaitMarks(
            cache.histories, PodWriter(session, _outcomes(metrics.wait_marks)), random
        ),
        decisions=DecisionLog(recorder, clock),
        series=series,
    )


def _outcomes(counter: Counter) -> Callable[[str], None]:
    return lambda outcome: counter.labels(outcome).inc()


def _now() -> datetime:
    return datetime.now(UTC)
