"""Until when we may bind, and what a takeover must do about those who led before."""

from math import inf

import pytest

from spillover.core.takeover import (
    DRAINED,
    MARGIN_SECONDS,
    OPEN,
    SWEEPING,
    EpochRecord,
    Lease,
    Plan,
    Tenure,
    plan,
)

WALL = 1_000_000.0
SECONDS = 15.0


class World:
    def __init__(self) -> None:
        self.now = 100.0
        self.wall = WALL
        self.tenure = Tenure("us", lambda: self.now, lambda: self.wall)

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds

    def see(self, holder: str, renewed: float = 0.0, acquired: float = 0.0) -> None:
        """Times are before now."""
        self.tenure.see(Lease(holder, self.wall - acquired, self.wall - renewed, SECONDS))

    def left(self) -> float:
        return self.tenure.deadline - self.now

    def plan(self, record: EpochRecord | None) -> Plan:
        return plan(record, "me", self.tenure, self.now)


@pytest.mark.parametrize(
    ("renewed", "left"),
    [
        pytest.param(0.0, SECONDS - MARGIN_SECONDS, id="at once"),
        pytest.param(4.0, SECONDS - MARGIN_SECONDS - 4, id="a watch that is late"),
        pytest.param(-3600.0, SECONDS - MARGIN_SECONDS, id="a wall clock that was set back"),
        pytest.param(3600.0, SECONDS - MARGIN_SECONDS - 3600, id="one that was set forward"),
    ],
)
def test_the_deadline_is_that_of_the_renewal_and_never_more_than_the_lease(
    renewed: float, left: float
) -> None:
    world = World()
    world.see("us_1", renewed=renewed)
    assert world.left() == pytest.approx(left)
    world.wall += 1e6  # a step afterwards changes nothing
    assert world.left() == pytest.approx(left)


@pytest.mark.parametrize(
    "after", [Lease("them_1", WALL, WALL, SECONDS), Lease("", 0, WALL, 1), None]
)
def test_there_is_none_while_the_lease_is_not_ours(after: Lease | None) -> None:
    world = World()
    world.see("us_1")
    assert world.tenure.acquisition == ("us_1", WALL)
    world.tenure.see(after)
    assert world.tenure.deadline == -inf
    assert not world.tenure.acquisition


def test_a_turn_that_is_back_at_once_is_another_spell() -> None:
    world = World()
    world.see("us_1", acquired=5)
    before = world.tenure.transitions
    world.see("us_1", acquired=5, renewed=-1)
    assert world.tenure.transitions == before
    world.see("thief_1")
    world.see("us_1", acquired=5)
    assert world.tenure.transitions > before


def test_others_may_bind_until_the_lease_is_over_in_which_they_were_last_seen() -> None:
    world = World()
    world.see("them_1")
    world.pass_(5)
    world.tenure.see(Lease("", 0.0, world.wall, 1.0))  # released
    world.see("us_1")
    assert world.tenure.others_until() == world.now + SECONDS - 5
    assert world.tenure.others_until(besides="them") == -inf


def test_a_lease_from_a_list_tells_nothing_of_who_had_it_just_before() -> None:
    world = World()
    world.see("us_1", acquired=3600)
    world.tenure.may_have_missed()
    record = EpochRecord("them", "x", None, OPEN)
    assert world.plan(record) == Plan(True, world.now + SECONDS)


def test_nor_does_a_list_without_it() -> None:
    world = World()
    world.tenure.see(None)
    world.tenure.may_have_missed()
    world.see("us_1")
    record = EpochRecord("them", "x", None, OPEN)
    assert world.plan(record) == Plan(True, world.now + SECONDS)


def test_nobody_has_led_before() -> None:
    world = World()
    world.see("us_1")
    world.tenure.may_have_missed()
    assert world.plan(None) == Plan(sweep=True)


def test_who_has_drained_need_not_be_swept() -> None:
    world = World()
    world.see("them_1")
    world.see("us_1")
    assert world.plan(EpochRecord("them", "x", None, DRAINED)) == Plan(sweep=False)


def test_but_others_who_had_the_lease_since_must_be() -> None:
    world = World()
    world.see("third_1")
    world.see("us_1")
    until = world.now + SECONDS
    assert world.plan(EpochRecord("them", "x", None, DRAINED)) == Plan(True, until)
    world.pass_(SECONDS)
    assert world.plan(EpochRecord("them", "x", None, DRAINED)) == Plan(sweep=False)


@pytest.mark.parametrize("state", [SWEEPING, OPEN, ""])
def test_who_has_not_drained_is_swept_once_its_deadline_is_over(state: str) -> None:
    world = World()
    world.see("them_1")
    world.pass_(3)
    world.see("us_1")
    found = world.plan(EpochRecord("them", "x", ("them_1", 1.0), state))
    assert found == Plan(True, world.now + SECONDS - 3)


def test_an_heir_of_the_same_turn_sweeps_at_once() -> None:
    world = World()
    world.see("us_1", acquired=2)
    world.tenure.may_have_missed()
    acquisition = world.tenure.acquisition
    assert world.plan(EpochRecord("us", "dead", acquisition, OPEN)) == Plan(sweep=True)
    # Not so if the dead process had not finished to take over.
    until = world.now + SECONDS
    assert world.plan(EpochRecord("us", "dead", acquisition, SWEEPING)) == Plan(True, until)


def test_a_process_that_never_lost_it_goes_on() -> None:
    world = World()
    world.see("us_1")
    assert world.plan(EpochRecord("us", "me", ("us_0", 1.0), OPEN)) == Plan(sweep=False)
