"""How many replicas a member lets the engine place there: the member's limit, pure.

    limit = bound pods + room        only where the last unit is bounded
    limit = bound pods               while the member's scheduler does not decide

Lowering never goes below what is bound, because the engine takes pods away at once. Raising a limit
that holds replicas back makes the engine take running pods away elsewhere in the same second, so it
goes in steps: the next one follows when the pods of the last one are bound here. Where replicas run
nowhere, the limit that lets them in is raised at once.

**One member is always without a limit, and without a maximum in the policy.** If all had one, and
their sum fell below the wanted replicas, the engine would drop the rest without a word. The member
without a limit is the overflow: one that is not bounded, or else the last in the order of the
policy.
"""

from collections.abc import Mapping, Sequence, Set
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
    capped: Set[str] = frozenset()
    """Members that cannot take the rest: the policy gives them a maximum or no weight, or the
    engine places nothing there now."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a member's limit is to be, and why."""

    limit: int | None
    """None: without a limit."""
    reason: str


def overflow_of(fleet: Fleet) -> str | None:
    """The member that stays without a limit. None if no member can take the rest."""
    found = [each for each in fleet.order if each not in fleet.capped]
    silent = [each for each in found if each not in fleet.states]
    unbounded = [each for each in found if each in fleet.states and not fleet.states[each].bounded]
    candidates = [*found, *silent, *unbounded]  # the last is the best
    well = [each for each in candidates if _is_well(fleet.states.get(each))]
    return (well or candidates)[-1] if candidates else None


def _is_well(state: WorkloadState | None) -> bool:
    return state is None or not (state.failing or state.on_trial)


def wish(member: str, fleet: Fleet, step: int = STEP, *, settled: bool = True) -> Wish:
    """The limit of a member. The member must be in the placement and have a state. `settled`: the
    engine has followed the limit in force. Before that, the number of replicas in the member does
    not show whether the limit holds replicas back."""
    state, now = fleet.states[member], fleet.limits.get(member)
    if not state.bounded and not state.failing:
        return Wish(None, "its last unit may grow without a declared limit")
    overflow = overflow_of(fleet)
    if overflow is None:
        return Wish(None, "no member of the placement can take the rest")
    if member == overflow:
        return Wish(None, "it takes the replicas that fit nowhere")
    if not _has_another_open(member, fleet):
        return Wish(None, "every other member has a limit")
    capacity = state.bound if state.failing else state.bound + state.room
    why = "its scheduler does not decide" if state.failing else "its bound pods and its room"
    settled = settled and not state.on_trial
    if now is None or capacity <= now or (settled and state.replicas < now):
        return Wish(capacity, why)
    homeless = _homeless(member, fleet) if settled else 0
    wanted = min(capacity, max(now, state.bound + step, now + homeless))
    return Wish(wanted, why if wanted == capacity else "running pods come home in steps")


def _has_another_open(member: str, fleet: Fleet) -> bool:
    return any(
        each != member and each not in fleet.limits and each not in fleet.capped
        for each in fleet.order
    )


def _homeless(member: str, fleet: Fleet) -> int:
    """Pods that run nowhere, for the first member of the order that can take any of them. The
    others raise their limits in steps."""
    for name in fleet.order:
        state, limit = fleet.states.get(name), fleet.limits.get(name)
        if state is None or limit is None or state.failing:
            continue
        if state.bound + state.room > limit:
            if name != member:
                return 0
            others = (other for each, other in fleet.states.items() if each != member)
            # The extra pods of a rolling update have no place of their own anywhere.
            return sum(
                min(other.unschedulable, max(0, other.replicas - other.bound)) for other in others
            )
    return 0
