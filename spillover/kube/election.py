"""Elects one of several replicas: the holder of a Lease. Source: k8s.io/api/coordination/v1.

    Lease free, or not seen to change for its duration ─▶ take it ─▶ renew it every few seconds
    renewed by another replica ─▶ wait, and look again
    not renewed for `SURE_SECONDS` ─▶ this replica holds it no longer: no other one can have it yet

Only our own clock counts, so that other clocks may be wrong. After a clean end the Lease has no
holder, and the next replica takes it at once.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec

from spillover.api.kubernetes import ObjectMeta
from spillover.kube.session import ApiError, ApiSession, NoAnswerError

LEASE_SECONDS = 15.0
SURE_SECONDS = 10.0
"""For so long after a renewal was sent nobody else can have the Lease: less than its duration."""
_LOOK_SECONDS = 2.0
_REQUEST_SECONDS = 5.0

_log = logging.getLogger(__name__)


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    holder_identity: str | None = None
    renew_time: str | None = None


class _Lease(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    spec: _Spec = _Spec()


_LEASES = msgspec.json.Decoder(_Lease)


class Election:
    """Takes part in the election. `identity` is a name that no other process ever has."""

    def __init__(
        self,
        session: ApiSession,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._session = session
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._random = random
        self._renewed: float | None = None
        self._seen: _Lease | None = None
        self._since = 0.0
        """When the Lease was first seen as it is."""
        self._is_ending = False

    def holds(self) -> bool:
        """Whether this replica is the one that writes."""
        renewed = self._renewed
        return renewed is not None and self._clock() - renewed < SURE_SECONDS

    async def run(self) -> None:
        """Never returns. Tries again after each failure."""
        was_holding = False
        while not self._is_ending:
            try:
                await self._step()
            except (ApiError, NoAnswerError) as error:
                _log.warning("lease", extra={"lease": self._name, "reason": str(error)})
            if self.holds() != was_holding:
                was_holding = not was_holding
                _log.info("this replica leads" if was_holding else "this replica leads no longer")
            await asyncio.sleep(_LOOK_SECONDS * (0.75 + 0.5 * self._random.random()))
        await asyncio.Event().wait()  # the process ends

    async def release(self) -> None:
        """Gives the Lease up, so that the next replica need not wait. Errors are only logged."""
        self._is_ending = True
        if not self.holds() or self._seen is None:
            return
        try:
            await self._write("", self._seen.metadata.resource_version)
        except (ApiError, NoAnswerError) as error:
            _log.warning("lease not released", extra={"reason": str(error)})
        self._renewed = None

    async def _step(self) -> None:
        found = await self._read()
        if found != self._seen:
            self._seen, self._since = found, self._clock()
        holder = found.spec.holder_identity if found is not None else None
        is_stale = self._clock() - self._since >= LEASE_SECONDS
        if holder and holder != self._identity and not is_stale:
            self._renewed = None
            return
        await self._write(self._identity, found.metadata.resource_version if found else "")

    async def _read(self) -> _Lease | None:
        path = f"{self._collection}/{self._name}"
        try:
            return _LEASES.decode(
                await self._session.request("GET", path, seconds=_REQUEST_SECONDS)
            )
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        except msgspec.MsgspecError as error:
            raise NoAnswerError(f"{path}: {error}") from error

    @property
    def _collection(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self._namespace}/leases"

    async def _write(self, holder: str, version: str) -> None:
        metadata: dict[str, Any] = {"name": self._name, "namespace": self._namespace}
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": int(LEASE_SECONDS),
                "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }
        method, path = "POST", self._collection
        if version:
            metadata["resourceVersion"] = version
            method, path = "PUT", f"{self._collection}/{self._name}"
        sent = self._clock()
        try:
            content = await self._session.request(method, path, body=body, seconds=_REQUEST_SECONDS)
            written = _LEASES.decode(content)
        except ApiError as error:
            if error.status == 409:  # another replica was faster
                self._renewed = None
                return
            raise
        except msgspec.MsgspecError as error:
            raise NoAnswerError(f"{path}: {error}") from error
        self._renewed, self._seen, self._since = sent, written, sent
