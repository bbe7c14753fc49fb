"""How many replicas a member lets the engine place there: the member's limit, pure.

    limit = bound pods + room        only where the last unit is bounded
    limit = bound pods               while the member's scheduler does not decide

Lowering never goes below what is bound, because the engine takes pods away at once. Raising a limit
that holds replicas back makes the engine take running pods away elsewhere in the same second, so it
goes in steps: the next one follows when the pods of the last one are bound here. Where replicas run
nowhere, the limit that lets them in is raised at once.

**One member is always without a limit.** If all had one, and their sum fell below the wanted
replicas, the engine would drop the rest without a word. The member without a limit is the overflow:
one that is not bounded, or else the last in the order of the policy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spillover.federation.member import WorkloadState

STEP = 1
"""Replicas that a raise brings home at a time."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the hub knows about one workload."""

    order: Sequence[str]
    """The members of the placement, the most preferred first."""
    states: Mapping[str, WorkloadState]
    """What the members with a live agent report."""
    limits: Mapping[str, int]
    """The limits in force, by member."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a member's limit is to be, and why."""

    limit: int | None
    """None: without a limit."""
    reason: str


def overflow_of(fleet: Fleet) -> str | None:
    """The member that stays without a limit. None if the placement is empty."""
    silent = [each for each in fleet.order if each not in fleet.states]
    if silent:
        return silent[-1]
    unbounded = [each for each in fleet.order if not fleet.states[each].bounded]
    found = unbounded or list(fleet.order)
    return found[-1] if found else None


def wish(member: str, fleet: Fleet, step: int = STEP, *, settled: bool = True) -> Wish:
    """The limit of a member. The member must be in the placement and have a state. `settled`: the
    engine has had the time to follow the limit in force. Before that, the member's replicas say
    nothing about this limit."""
    state, now = fleet.states[member], fleet.limits.get(member)
    if not state.bounded:
        return Wish(None, "its last unit may grow without a declared limit")
    if member == overflow_of(fleet):
        return Wish(None, "it takes the replicas that fit nowhere")
    if not any(each != member and each not in fleet.limits for each in fleet.order):
        return Wish(None, "every other member has a limit")
    capacity = state.bound if state.failing else state.bound + state.room
    why = "its scheduler does not decide" if state.failing else "its bound pods and its room"
    if now is None or capacity <= now or (settled and state.replicas < now):
        return Wish(capacity, why)
    others = (other for name, other in fleet.states.items() if name != member)
    homeless = sum(other.unschedulable for other in others) if settled else 0
    home_again = max(now, state.bound + step)
    wanted = min(capacity, max(home_again, now + homeless))
    return Wish(wanted, why if wanted == capacity else "running pods come home in steps")
