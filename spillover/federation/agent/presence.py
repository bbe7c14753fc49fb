"""The agent's own Lease on the hub: one agent for each member.

    Lease free, not renewed for its duration, or of an earlier process of this Pod
                                              ─▶ take it ─▶ renew it every few seconds
    Lease renewed by another agent ─▶ this agent is refused
    renewal refused because another agent has taken the Lease ─▶ this agent ends

After a clean end the Lease has no holder, and the next agent starts at once.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec

from spillover.federation.agent.leases import LEASE_SECONDS, PREFIX, AgentLease, agent_lease
from spillover.kube.backoff import Backoff
from spillover.kube.session import ApiError, ApiSession, NoAnswerError

_RENEW_SECONDS = 5.0
_SURE_SECONDS = 10.0
"""For so long after a renewal nobody else can have the Lease: less than its duration."""
_LOOK_SECONDS = 1.0
_REQUEST_SECONDS = 5.0
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 5.0
_CONFLICT = 409

_log = logging.getLogger(__name__)


class RefusedError(Exception):
    """Another agent with the name of this member runs."""


class Presence:
    """Keeps the Lease. `host` is the name of the Pod: only one process at a time runs there.
    `process` is the name of this process; no other process ever has it."""

    def __init__(
        self,
        session: ApiSession,
        namespace: str,
        member: str,
        host: str,
        process: str,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._session = session
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name = f"{PREFIX}{member}"
        self._namespace = namespace
        self._host = host
        self._holder = f"{host}_{process}"
        self._clock = clock
        self._random = random
        self._version = ""
        self._renewed: float | None = None
        """When the last renewal was sent."""
        self._is_ending = False

    def holds(self) -> bool:
        """Whether the Lease was renewed lately. Nothing is written to the hub otherwise."""
        renewed = self._renewed
        return renewed is not None and self._clock() - renewed < _SURE_SECONDS

    async def run(self) -> None:
        """Takes the Lease and renews it. Raises RefusedError; else it never returns."""
        backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT, self._random)
        is_outdated = False
        while not self._is_ending:
            try:
                if is_outdated:
                    await self._read_again()
                    is_outdated = False
                if self._renewed is None:
                    await self._take()
                else:
                    await self._write(self._holder)
                backoff.reset()
                await asyncio.sleep(_RENEW_SECONDS)
            except (ApiError, NoAnswerError) as error:
                is_outdated = isinstance(error, ApiError) and error.status == _CONFLICT
                _log.warning("lease not renewed", extra={"lease": self._name, "reason": str(error)})
                await asyncio.sleep(backoff.next())
        await asyncio.Event().wait()  # the process ends

    async def release(self) -> None:
        """Gives the Lease up, so that the next agent need not wait. Errors are only logged."""
        self._is_ending = True
        if not self.holds():
            return
        try:
            await self._write("")
        except (ApiError, NoAnswerError) as error:
            _log.warning("lease not released", extra={"lease": self._name, "reason": str(error)})
        self._renewed = None

    async def _take(self) -> None:
        """Waits until the Lease is free, and takes it."""
        found = await self._read()
        if found is not None and found.holder and found.holder.rpartition("_")[0] != self._host:
            first, begun = found, self._clock()
            while found == first and self._clock() - begun < LEASE_SECONDS:
                await asyncio.sleep(_LOOK_SECONDS)
                found = await self._read()
            if found is not None and found != first and found.holder:
                raise RefusedError(
                    f"another agent runs with the name {self._name.removeprefix(PREFIX)}:"
                    f" {found.holder}"
                )
        self._version = str(found.version) if found is not None else ""
        await self._write(self._holder)

    async def _read_again(self) -> None:
        """After a conflict: somebody else has written the Lease."""
        found = await self._read()
        if found is not None and found.holder not in ("", self._holder):
            raise RefusedError(f"another agent has taken the Lease {self._name}: {found.holder}")
        self._version = str(found.version) if found is not None else ""

    async def _read(self) -> AgentLease | None:
        try:
            path = f"{self._collection}/{self._name}"
            return agent_lease(await self._session.request("GET", path, seconds=_REQUEST_SECONDS))
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        except (msgspec.MsgspecError, ValueError) as error:
            raise NoAnswerError(f"{self._name}: {error}") from error

    async def _write(self, holder: str) -> None:
        metadata: dict[str, Any] = {"name": self._name, "namespace": self._namespace}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": int(LEASE_SECONDS),
                "renewTime": now,
            },
        }
        if self._version:
            metadata["resourceVersion"] = self._version
            method, path = "PUT", f"{self._collection}/{self._name}"
        else:
            method, path = "POST", self._collection
        sent = self._clock()
        content = await self._session.request(method, path, body=body, seconds=_REQUEST_SECONDS)
        self._version = str(agent_lease(content).version)
        self._renewed = sent
