"""A member's limit: never below what is bound, and one member is always without one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.planning import Policy as EnginePolicy
from federation.planning import Preference, Situation, planned
from spillover.federation.limits import Fleet, overflow_of, wish
from spillover.federation.member import WorkloadState

ORDER = ("vke1", "vke2", "ack")


def state(**fields: Any) -> WorkloadState:
    defaults: dict[str, Any] = {
        "policy": "p", "replicas": 0, "bound": 0, "waiting": 0, "unschedulable": 0, "room": 0,
        "bounded": True,
    }  # fmt: skip
    return WorkloadState(namespace="ns", name="app", **{**defaults, **fields})


def fleet(limits: dict[str, int] | None = None, **states: WorkloadState) -> Fleet:
    return Fleet(ORDER, states, limits or {})


OPEN = state(bounded=False)


def test_the_first_limit_is_what_is_bound_and_the_room() -> None:
    found = wish("vke1", fleet(vke1=state(replicas=4, bound=4, room=2), vke2=state(), ack=OPEN))
    assert (found.limit, found.reason) == (6, "its bound pods and its room")


def test_a_member_that_may_grow_has_no_limit() -> None:
    assert wish("ack", fleet(vke1=state(), vke2=state(), ack=OPEN)).limit is None


def test_a_member_without_an_agent_takes_the_rest() -> None:
    assert overflow_of(fleet(vke1=state(), vke2=state())) == "ack"


def test_where_all_are_bounded_the_last_has_no_limit() -> None:
    all_bounded = fleet(vke1=state(room=2), vke2=state(room=2), ack=state(room=2))
    assert overflow_of(all_bounded) == "ack"
    assert wish("ack", all_bounded).limit is None
    assert wish("vke1", all_bounded).limit == 2


def test_no_limit_is_added_where_every_other_member_has_one() -> None:
    limits = {"vke2": 3, "ack": 4}
    assert wish("vke1", fleet(limits, vke1=state(room=2), vke2=state(), ack=OPEN)).limit is None


def test_a_scheduler_that_does_not_decide_keeps_what_is_bound() -> None:
    stopped = state(replicas=6, bound=4, waiting=2, room=2, failing=True)
    found = wish("vke1", fleet({"vke1": 6}, vke1=stopped, vke2=state(), ack=OPEN))
    assert (found.limit, found.reason) == (4, "its scheduler does not decide")


def test_a_member_that_may_grow_is_left_too_if_its_scheduler_does_not_decide() -> None:
    stopped = state(replicas=6, bound=4, waiting=2, bounded=False, failing=True)
    one = fleet(vke1=state(room=2), vke2=state(room=2), ack=stopped)
    assert overflow_of(one) == "vke2"
    assert wish("ack", one).limit == 4


def test_on_trial_one_replica_comes_back() -> None:
    own = state(replicas=4, bound=4, room=4, on_trial=True)
    stuck = state(bounded=False, replicas=8, bound=4, waiting=4, unschedulable=4)
    assert wish("vke1", fleet({"vke1": 4}, vke1=own, vke2=state(), ack=stuck)).limit == 5


def test_a_limit_that_holds_nothing_back_rises_at_once() -> None:
    found = wish(
        "vke1", fleet({"vke1": 6}, vke1=state(replicas=4, bound=4, room=4), vke2=state(), ack=OPEN)
    )
    assert found.limit == 8


def test_a_limit_that_the_engine_does_not_follow_yet_is_no_reason_to_raise_it() -> None:
    """It was raised to 7 a moment ago."""
    own = state(replicas=6, bound=6, room=2)
    stuck = state(bounded=False, replicas=8, bound=6, waiting=2, unschedulable=2)
    one = fleet({"vke1": 7}, vke1=own, vke2=state(), ack=stuck)
    assert wish("vke1", one, settled=False).limit == 7
    assert wish("vke1", one).limit == 8


@pytest.mark.parametrize(("bound", "limit"), [(6, 7), (5, 6)], ids=["settled", "one is starting"])
def test_running_pods_come_home_one_at_a_time(bound: int, limit: int) -> None:
    own = state(replicas=6, bound=bound, waiting=6 - bound, room=8 - bound)
    found = wish("vke1", fleet({"vke1": 6}, vke1=own, vke2=state(), ack=OPEN))
    assert found.limit == limit


def test_pods_that_run_nowhere_are_let_in_at_once() -> None:
    own = state(replicas=6, bound=6, room=2)
    stuck = state(bounded=False, replicas=8, bound=6, waiting=2, unschedulable=2)
    assert wish("vke1", fleet({"vke1": 6}, vke1=own, vke2=state(), ack=stuck)).limit == 8


def each(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """One value for each member."""
    return st.fixed_dictionaries(dict.fromkeys(ORDER, values))


@given(
    capacity=each(st.integers(0, 8)),
    bounded=each(st.booleans()),
    weights=each(st.sampled_from([0, 1, 1, 2])),
    most=each(st.none() | st.none() | st.integers(0, 9)),
    turns=st.lists(
        st.tuples(st.sampled_from(ORDER), st.integers(0, 30), st.integers(0, 8)), max_size=25
    ),
)
def test_no_replica_vanishes_and_nothing_bound_is_taken_away(
    capacity: dict[str, int],
    bounded: dict[str, bool],
    weights: dict[str, int],
    most: dict[str, int | None],
    turns: list[tuple[str, int, int]],
) -> None:
    """Agents take turns, the user scales, capacities change, and the engine divides after each
    step. With limits, as many replicas are placed as without them, and a new limit is never below
    what is bound."""
    rules = EnginePolicy({name: Preference(weight=weights[name], max=most[name]) for name in ORDER})
    capped = {name for name in ORDER if most[name] is not None or not weights[name]}
    limits: dict[str, int] = {}
    placed: dict[str, int] = {}
    for member, replicas, room in turns:
        capacity[member] = max(room, min(placed.get(member, 0), capacity[member]))
        placed = planned(rules, "ns/app", Situation(replicas, placed, limited=limits))
        states = {}
        for name in ORDER:
            has = placed.get(name, 0)
            bound = min(has, capacity[name])
            states[name] = state(
                replicas=has,
                bound=bound,
                waiting=has - bound,
                unschedulable=has - bound,
                room=capacity[name] - bound,
                bounded=bounded[name],
            )
        found = wish(member, Fleet(ORDER, states, limits, capped))
        if found.limit is None:
            limits.pop(member, None)
        else:
            assert found.limit >= states[member].bound
            limits[member] = found.limit
        with_limits = planned(rules, "ns/app", Situation(replicas, placed, limited=limits))
        without = planned(rules, "ns/app", Situation(replicas, placed))
        assert sum(with_limits.values()) == sum(without.values()), (limits, with_limits, without)
        placed = with_limits


def test_the_member_that_takes_the_rest_has_no_maximum_and_a_weight() -> None:
    capped = Fleet(ORDER, {"vke1": state(room=2), "vke2": state(room=2), "ack": OPEN}, {}, {"ack"})
    assert overflow_of(capped) == "vke2"
    assert wish("vke1", capped).limit == 2
    all_capped = Fleet(ORDER, {"vke1": state(room=2)}, {}, set(ORDER))
    assert wish("vke1", all_capped).limit is None


def test_pods_that_run_nowhere_go_to_the_first_member_that_has_room() -> None:
    own = state(replicas=6, bound=6, room=4)
    stuck = state(bounded=False, replicas=8, bound=4, waiting=4, unschedulable=4)
    one = fleet({"vke1": 6, "vke2": 6}, vke1=own, vke2=own, ack=stuck)
    assert (wish("vke1", one).limit, wish("vke2", one).limit) == (10, 7)
