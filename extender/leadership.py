"""Wires the parts that decide whether this extender may answer the scheduler."""

import asyncio
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
from spillover.core.cache.cluster import ClusterCache
from spillover.core.takeover import Lease, Tenure
from spillover.kube.epochs import Epochs
from spillover.kube.lease import LeaseSink, lease_reflector, read_lease
from spillover.kube.readiness import Readiness
from spillover.kube.reflector import Reflector
from spillover.kube.session import ApiSession
from spillover.kube.signals import Signal

NOT_CURRENT = "Spillover has lost touch with the policies"
_LOOK_SECONDS = 0.02


class TermAdmission:
    """Holds the scheduler's requests during a takeover, and while a watch of policies is broken. A
    pod must not be placed before Spillover knows every policy that is older than the pod."""

    def __init__(
        self,
        cache: ClusterCache,
        leading: Leading,
        policies: Sequence[Reflector[Any]],
        clock: Callable[[], float],
    ) -> None:
        self._cache = cache
        self._leading = leading
        self._policies = policies
        self._clock = clock

    async def of_pod(self, pod: PodObject, seconds: float) -> str | None:
        namespace = pod.metadata.namespace
        return await self._wait(lambda: self._cache.term.admits(namespace), seconds)

    async def of_known(self, uid: str, seconds: float) -> str | None:
        return await self._wait(lambda: self._cache.admits_known(uid), seconds)

    async def _wait(self, is_admitted: Callable[[], bool], seconds: float) -> str | None:
        deadline = self._clock() + seconds
        if not is_admitted():
            await self._leading.admitted(is_admitted, seconds)
        while not all(watch.is_current() for watch in self._policies):
            if self._clock() >= deadline:
                return NOT_CURRENT
            await asyncio.sleep(_LOOK_SECONDS)
        return None  # if the pod is still not admitted, the decision reports the obstacle


@dataclass(frozen=True, slots=True)
class Leadership:
    """The task that takes and gives up leadership, and its watches."""

    leading: Leading
    watches: Sequence[Reflector[Any]]
    """The watch of the Lease. Empty without leader election."""


def leadership(
    settings: Settings,
    session: ApiSession,
    cache: ClusterCache,
    ready: Readiness,
    clock: Callable[[], float],
    wall_clock: Callable[[], float],
    random: Random,
) -> Leadership:
    """Wires leader election. `ready` must cover the watches that decisions depend on."""
    host = settings.host_name or socket.gethostname()
    changed = Signal()
    for_ever = Lease(f"{host}_", acquired=0.0, renewed=inf, seconds=inf)

    async def read() -> Lease | None:
        if not settings.lease:
            return for_ever
        return await read_lease(session, settings.namespace, settings.lease)

    tenure = Tenure(host, clock, wall_clock)
    sweep = Sweep(cache, session, settings.schedulers, changed, clock, random)
    leading = Leading(
        state=cache,
        tenure=tenure,
        epochs=Epochs(session, settings.namespace),
        sweep=sweep,
        changed=changed,
        ready=ready,
        read_lease=read,
        host=host,
        process=uuid.uuid4().hex,
        clock=clock,
        random=random,
    )
    if not settings.lease:
        tenure.see(for_ever)
        return Leadership(leading, ())
    sink = LeaseSink(tenure, changed)
    watch = lease_reflector(session, settings.namespace, settings.lease, sink, random, clock)
    return Leadership(leading, (watch,))
