"""The agents' Leases on the hub: which agents live. Pure, but for `agent_lease`, which decodes.

Each agent renews a Lease with the name of its member. An agent lives while its Lease is seen to
change. Only our own clock counts, so that other clocks may be wrong. Time counts only while our own
renewals are seen, by the same watch: otherwise the hub is away, or the watch is slow.
"""

from collections.abc import Set
from dataclasses import dataclass
from math import inf

import msgspec

from spillover.api.kubernetes import ObjectMeta, parse_version

PREFIX = "spillover-agent-"
LEASE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class AgentLease:
    """One Lease. `member` is "" for a Lease of something else."""

    member: str
    holder: str
    version: int


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    holder_identity: str | None = None


class _Lease(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    spec: _Spec = _Spec()


_LEASES = msgspec.json.Decoder(_Lease)


def agent_lease(raw: bytes | msgspec.Raw) -> AgentLease:
    """From the JSON of a Lease. Raises msgspec.MsgspecError."""
    found = _LEASES.decode(raw)
    name = found.metadata.name
    return AgentLease(
        name.removeprefix(PREFIX) if name.startswith(PREFIX) else "",
        found.spec.holder_identity or "",
        parse_version(found.metadata.resource_version),
    )


class Leases:
    """The Leases as they are seen to change. `own` is our own member. Times are in seconds of one
    clock."""

    def __init__(self, own: str) -> None:
        self._own = own
        self._seen: dict[str, tuple[AgentLease, float]] = {}
        self._touched = -inf
        """When our own Lease was last seen to change: the watch works."""
        self._in_touch_since = inf

    def see(self, lease: AgentLease, now: float) -> None:
        before, _ = self._seen.get(lease.member, (None, -inf))
        if not lease.member or lease == before:
            return
        self._seen[lease.member] = (lease, now)
        if lease.member == self._own:
            if now - self._touched >= LEASE_SECONDS:
                self._in_touch_since = now
            self._touched = now

    def forget(self, member: str) -> None:
        self._seen.pop(member, None)

    def keep(self, members: Set[str]) -> None:
        self._seen = {each: seen for each, seen in self._seen.items() if each in members}

    def alive(self, now: float) -> frozenset[str]:
        """The members with an agent that lives."""
        return frozenset(
            member
            for member, (lease, seen) in self._seen.items()
            if lease.holder and self._silence(seen, now) < LEASE_SECONDS
        )

    def dead(self, now: float, seconds: float) -> frozenset[str]:
        """The members that had an agent, which has not renewed its Lease for so many seconds."""
        return frozenset(
            member
            for member, (_, seen) in self._seen.items()
            if self._silence(seen, now) >= seconds
        )

    def _silence(self, seen: float, now: float) -> float:
        """How long the Lease was not renewed while we would have seen a renewal."""
        if now - self._touched >= LEASE_SECONDS:
            now = self._touched
        return max(0.0, now - max(seen, self._in_touch_since))
