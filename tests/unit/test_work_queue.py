"""The controller's work queue."""

from hypothesis import given
from hypothesis import strategies as st

from spillover.controller.work_queue import WorkQueue


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_key_waits_once_and_not_before_its_time() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add("later", 2.0)
    queue.add("now")
    queue.add("now")
    assert queue.take(10) == ["now"]
    assert queue.take(10) == []
    clock.now = 2.0
    assert queue.take(10) == ["later"]
    assert len(queue) == 0


def test_the_earlier_time_holds() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add("a", 5.0)
    queue.add("a", 1.0)
    queue.add("a", 9.0)
    clock.now = 1.0
    assert queue.take(10) == ["a"]
    clock.now = 10.0
    assert queue.take(10) == []


def test_the_longest_due_comes_first_and_no_more_than_asked_for() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    for name, after in (("c", 1.0), ("a", 0.0), ("b", 0.0)):
        queue.add(name, after)
    clock.now = 1.0
    assert queue.take(2) == ["a", "b"]
    queue.add("a")
    assert queue.take(10) == ["c", "a"]


def test_after_a_clear_nothing_is_due() -> None:
    queue: WorkQueue[str] = WorkQueue(Clock())
    queue.add("a")
    queue.clear()
    assert queue.take(10) == []
    queue.add("a")
    assert queue.take(10) == ["a"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abcd"), st.sampled_from([0.0, 1.0, 2.0, 5.0])),
        st.tuples(st.just("take"), st.integers(0, 3), st.just(0.0)),
        st.tuples(st.just("wait"), st.just(0), st.sampled_from([0.5, 1.0, 3.0])),
    ),
    max_size=300,
)


@given(STEPS)
def test_it_does_what_a_simple_one_does(steps: list[tuple[str, str | int, float]]) -> None:
    """A dict of due times, walked through."""
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    due: dict[str, tuple[float, int]] = {}
    for number, (step, what, seconds) in enumerate(steps):
        match step:
            case "add":
                at = clock.now + seconds
                if str(what) not in due or at < due[str(what)][0]:
                    due[str(what)] = (at, number)
                queue.add(str(what), seconds)
            case "wait":
                clock.now += seconds
            case "take":
                ready = sorted((when, key) for key, when in due.items() if when[0] <= clock.now)
                expected = [key for _, key in ready[: int(what)]]
                for key in expected:
                    del due[key]
                assert queue.take(int(what)) == expected
        assert len(queue) == len(due)
