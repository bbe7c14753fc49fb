"""Wires the background tasks of the extender: all that it does besides answering kube-scheduler."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from prometheus_client import Counter

from extender.decisions import DecisionLog
from extender.metrics import Metrics
from spillover.controller.controller import Controller
from spillover.controller.nudging import Nudger
from spillover.controller.pod_writer import PodWriter
from spillover.controller.reconciler import Reconciler
from spillover.controller.recorder import Recorder
from spillover.controller.spread_tolerations import SpreadTolerations
from spillover.controller.statuses import Statuses
from spillover.controller.unit_series import UnitSeries
from spillover.controller.unreadable import UnreadableObjects
from spillover.controller.unrouted_pods import UnroutedPods
from spillover.controller.wait_marks import WaitMarks
from spillover.core.scheduler import Scheduler
from spillover.kube.reflector import Reflector
from spillover.kube.session import ApiSession

_UPKEEP_AT_ONCE = 3
"""Maximum number of concurrent annotation writes. Bindings use the same API session."""


@dataclass(frozen=True, slots=True)
class Background:
    """The background tasks, and the parts that they share with the HTTP handlers."""

    controller: Controller
    """Runs only while this replica leads."""
    nudger: Nudger
    """Runs always, so that nudges of a past term are completed."""
    wait_marks: WaitMarks
    """Runs always, so that marks of a past term are completed."""
    decisions: DecisionLog
    series: UnitSeries


def background_tasks(
    scheduler: Scheduler,
    session: ApiSession,
    statuses: Statuses,
    metrics: Metrics,
    watches: Sequence[Reflector[Any]],
    leads: Callable[[], bool],
    clock: Callable[[], float],
    random: Random,
) -> Background:
    """Wires the background tasks. The watch of policies fills `statuses`. `leads` returns whether
    this replica leads."""
    cache = scheduler.cluster
    recorder = Recorder(session, _outcomes(metrics.events), clock, _now, random)
    series = UnitSeries(is_told=leads)
    writer = PodWriter(session, _outcomes(metrics.annotations), _UPKEEP_AT_ONCE)

    def failed(task: str) -> None:
        metrics.controller_failures.labels(task).inc()

    def reset() -> None:
        reconciler.reset()
        recorder.reset()

    reconciler = Reconciler(
        cache, statuses, series, writer, _outcomes(metrics.statuses), failed, clock, random
    )
    return Background(
        controller=Controller(
            {
                "rounds": reconciler.run,
                "events": recorder.run,
                "spread tolerations": SpreadTolerations(cache, session, random, clock).run,
                "unrouted pods": UnroutedPods(cache, session, _now).run,
                "unreadable objects": UnreadableObjects(watches, recorder).run,
            },
            reset=reset,
            failed=failed,
            clock=clock,
            random=random,
        ),
        nudger=Nudger(scheduler, PodWriter(session, _outcomes(metrics.nudges)), _now),
        wait_marks=WaitMarks(
            cache.attempts, PodWriter(session, _outcomes(metrics.wait_marks)), random
        ),
        decisions=DecisionLog(recorder, clock),
        series=series,
    )


def _outcomes(counter: Counter) -> Callable[[str], None]:
    return lambda outcome: counter.labels(outcome).inc()


def _now() -> datetime:
    return datetime.now(UTC)
