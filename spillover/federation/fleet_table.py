"""The fleet as one table: each workload in each member, and what moves next. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spillover.core.model.timestamps import instant_of
from spillover.federation.limits import Fleet, overflow_of
from spillover.federation.member import WorkloadState
from spillover.federation.memberreport import MemberReport


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One workload in one member."""

    workload: str
    """As namespace/name."""
    member: str
    replicas: int
    """As the member's Deployment wants them."""
    units: tuple[tuple[str, int], ...]
    """The pods in each unit of the member's policy."""
    bound: int
    unschedulable: int
    since: str
    """Since when the oldest unschedulable pod is so."""
    room: int | None
    """More pods that the member can hold. None: without a known end."""
    limit: int | None
    """The member's limit at the hub."""
    reasons: tuple[str, ...]
    next: str
    """What moves next, and why."""


def fleet_rows(
    wanted: Mapping[str, int],
    limits: Mapping[str, Mapping[str, int]],
    orders: Mapping[str, Sequence[str]],
    reports: Sequence[MemberReport],
    silent: Mapping[str, str],
) -> list[FleetRow]:
    """`wanted` are the replicas of the hub's workloads, `limits` the limits of their members, and
    `orders` the members of their placements, the most preferred first. `silent` are members whose
    agent does not live, with what is known of it."""
    found = []
    for workload in sorted(wanted):
        states = {
            report.member: (state, silent.get(report.member) or report.trouble)
            for report in reports
            if (state := report.states.get(workload)) is not None
        }
        order = orders.get(workload, ())
        fleet = Fleet(
            order, {member: state for member, (state, _) in states.items()}, limits[workload]
        )
        found += [
            _row(workload, member, *states[member], fleet, wanted[workload])
            if member in states
            else _unknown(workload, member, fleet)
            for member in (*order, *sorted(states.keys() - set(order)))
        ]
    return found


def _unknown(workload: str, member: str, fleet: Fleet) -> FleetRow:
    return FleetRow(
        workload=workload,
        member=member,
        replicas=0,
        units=(),
        bound=0,
        unschedulable=0,
        since="",
        room=None,
        limit=fleet.limits.get(member),
        reasons=(),
        next="the member's report has nothing of this workload, or there is no report",
    )


def _row(
    workload: str, member: str, state: WorkloadState, trouble: str, fleet: Fleet, wanted: int
) -> FleetRow:
    return FleetRow(
        workload=workload,
        member=member,
        replicas=state.replicas,
        units=tuple((unit.name, unit.bound) for unit in state.units),
        bound=state.bound,
        unschedulable=state.unschedulable,
        since=state.unschedulable_since,
        room=state.room if state.bounded else None,
        limit=fleet.limits.get(member),
        reasons=state.reasons,
        next=_next(member, state, trouble, fleet, wanted),
    )


def _next(member: str, state: WorkloadState, trouble: str, fleet: Fleet, wanted: int) -> str:
    if trouble:
        return f"the counts may be old: {trouble}"
    if state.failing:
        return "its scheduler does not work: in the mode limit, waiting pods move to other members"
    if state.unschedulable:
        others = [
            name
            for name, other in fleet.states.items()
            if name != member and (other.room or not other.bounded)
        ]
        why = "; ".join(state.reasons) or "no unit takes them"
        if others:
            where = ", ".join(sorted(others))
            return f"{state.unschedulable} pods can move to {where}: {why}"
        return f"{state.unschedulable} pods wait, no member has room: {why}"
    if state.waits_until is not None:
        return f"{state.waiting} pods wait until {instant_of(state.waits_until)} at the latest"
    if state.waiting:
        return f"{state.waiting} pods are being placed"
    limit = fleet.limits.get(member)
    if limit is not None and state.bound >= limit and state.room:
        return f"{state.room} more pods can run here: the agent raises the limit"
    missing = wanted - sum(each.replicas for each in fleet.states.values())
    if missing > 0 and member == overflow_of(fleet):
        return f"{missing} replicas are placed nowhere yet"
    return "-"
