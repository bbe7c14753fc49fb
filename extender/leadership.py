"""Whether this extender may answer the scheduler: the parts that find it out, put together."""

import socket
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Any

from extender.settings import Settings
from spillover.api.kubernetes import PodObject
from spillover.controller.leading import Leading
from spillover.controller.sweep import Sweep
from spillover.core.cache import SchedulingCache
from spillover.core.tenure import Lease, Tenure
from spillover.kube.epochs import Epochs
from spillover.kube.lease import LeaseSink, lease_reflector
from spillover.kube.readiness import Readiness
from spillover.kube.reflector import Reflector
from spillover.kube.session import ApiSession
from spillover.kube.signals import Signal


class TermAdmission:
    """Holds the scheduler's requests while we take over."""

    def __init__(self, cache: SchedulingCache, leading: Leading) -> None:
        self._cache = cache
        self._leading = leading

    async def of_pod(self, pod: PodObject, seconds: float) -> None:
        namespace, labels = pod.metadata.namespace, pod.metadata.labels or {}
        if not self._cache.admits(namespace, labels):
            await self._leading.admitted(lambda: self._cache.admits(namespace, labels), seconds)

    async def of_known(self, uid: str, seconds: float) -> None:
        if not self._cache.admits_known(uid):
            await self._leading.admitted(lambda: self._cache.admits_known(uid), seconds)


@dataclass(frozen=True, slots=True)
class Leadership:
    """`watches` are those of the Lease: none without leader election."""

    leading: Leading
    watches: Sequence[Reflector[Any]]


def leadership(
    settings: Settings,
    session: ApiSession,
    cache: SchedulingCache,
    ready: Readiness,
    clock: Callable[[], float],
    wall_clock: Callable[[], float],
    random: Random,
) -> Leadership:
    """`ready` must know the watches that decisions rest on."""
    host = settings.host_name or socket.gethostname()
    changed = Signal()
    tenure = Tenure(host, clock, wall_clock)
    sweep = Sweep(cache, session, settings.schedulers, changed, clock, random)
    leading = Leading(
        state=cache,
        tenure=tenure,
        epochs=Epochs(session, settings.namespace),
        sweep=sweep,
        changed=changed,
        ready=ready,
        host=host,
        process=uuid.uuid4().hex,
        clock=clock,
        random=random,
    )
    if not settings.lease:
        tenure.see(Lease(f"{host}_", acquired=0.0, renewed=inf, seconds=inf))
        return Leadership(leading, ())
    sink = LeaseSink(tenure, changed)
    watch = lease_reflector(session, settings.namespace, settings.lease, sink, random, clock)
    return Leadership(leading, (watch,))
