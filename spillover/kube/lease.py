"""Watches the Lease of our scheduler's leader election. Source: k8s.io/api/coordination/v1."""

from collections.abc import Callable, Set
from random import Random

import msgspec

from spillover.api.kubernetes import ObjectMeta
from spillover.core.model.timestamps import seconds_of
from spillover.core.takeover import Lease, Tenure
from spillover.kube.reading import Unreadable
from spillover.kube.reflector import Limits, Reflector
from spillover.kube.session import ApiError, ApiSession, NoAnswerError
from spillover.kube.signals import Signal


class _LeaseSpec(msgspec.Struct, frozen=True, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None


class _LeaseObject(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    spec: _LeaseSpec = _LeaseSpec()


_LEASES = msgspec.json.Decoder(_LeaseObject)
_LONGEST_SECONDS = 3600.0
_SILENCE_SECONDS = 10.0
_LONGEST_WAIT = 1.0
"""A Lease changes every second or two while it has a holder."""


class LeaseSink:
    """Passes the Lease to `tenure`. `changed` is notified of every change of holder or time."""

    def __init__(self, tenure: Tenure, changed: Signal) -> None:
        self._tenure = tenure
        self._changed = changed

    def put(self, item: Lease) -> None:
        self._see(item)

    def drop(self, item: Lease) -> None:  # noqa: ARG002 - a Sink's
        self._see(None)

    def key(self, item: Lease) -> str:
        return item.holder

    def keep(self, listed: Set[str], version: int) -> None:  # noqa: ARG002 - a Sink's
        if not listed:
            self._see(None)
        self._tenure.may_have_missed()

    def unreadable(self, found: Unreadable) -> None:  # noqa: ARG002 - a Sink's
        self._see(None)  # the holder is unknown

    def _see(self, lease: Lease | None) -> None:
        self._tenure.see(lease)
        self._changed.notify()


def lease_reflector(
    session: ApiSession,
    namespace: str,
    name: str,
    sink: LeaseSink,
    random: Random,
    clock: Callable[[], float],
) -> Reflector[Lease]:
    """The watch of this one Lease. Our Role allows no other Lease."""
    return Reflector(
        session,
        f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases",
        _lease,
        sink,
        random,
        clock,
        limits=Limits(silence=_SILENCE_SECONDS, longest_wait=_LONGEST_WAIT),
        select={"fieldSelector": f"metadata.name={name}"},
    )


async def read_lease(session: ApiSession, namespace: str, name: str) -> Lease | None:
    """Reads the current Lease; None if there is none. Raises ApiError and NoAnswerError."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"
    try:
        return _lease(await session.request("GET", path))
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    except msgspec.MsgspecError as error:
        raise NoAnswerError(f"{path}: {error}") from error


def _lease(raw: bytes | msgspec.Raw) -> Lease:
    spec = _LEASES.decode(raw).spec
    return Lease(
        holder=spec.holder_identity or "",
        # A time that does not parse counts as long ago: nobody may bind under such a Lease.
        acquired=seconds_of(spec.acquire_time or "") or 0.0,
        renewed=seconds_of(spec.renew_time or "") or 0.0,
        seconds=min(max(0.0, float(spec.lease_duration_seconds or 0)), _LONGEST_SECONDS),
    )
