import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_node.matter.timers import Deadline, Timer, Timers


def test_timers_run_in_order_of_time_then_of_creation() -> None:
    timers = Timers()
    calls: list[str] = []
    timers.call_at(2.0, lambda now: calls.append("b"))
    timers.call_at(1.0, lambda now: calls.append("a"))
    timers.call_at(2.0, lambda now: calls.append("c"))
    timers.call_at(3.0, lambda now: calls.append("late"))
    assert timers.deadline() == 1.0
    timers.run(2.5)
    assert calls == ["a", "b", "c"]
    assert timers.deadline() == 3.0


def test_timer_callback_receives_now_of_run() -> None:
    timers = Timers()
    seen: list[float] = []
    timers.call_at(1.0, seen.append)
    timers.run(7.0)
    assert seen == [7.0]


def test_timer_cancelled_by_an_earlier_callback_does_not_run() -> None:
    timers = Timers()
    calls: list[str] = []
    second: list[Timer] = []
    timers.call_at(1.0, lambda now: second[0].cancel())
    second.append(timers.call_at(1.0, lambda now: calls.append("second")))
    timers.run(1.0)
    assert calls == []
    assert timers.deadline() is None


def test_timer_added_by_a_callback_waits_for_the_next_run() -> None:
    timers = Timers()
    calls: list[float] = []

    def nested(now: float) -> None:
        timers.call_at(0.0, calls.append)

    timers.call_at(1.0, nested)
    timers.run(1.0)
    assert calls == []
    assert timers.deadline() == 0.0
    timers.run(1.0)
    assert calls == [1.0]


def test_timers_after_a_raising_callback_run_next_time() -> None:
    timers = Timers()
    calls: list[float] = []

    def fail(now: float) -> None:
        raise RuntimeError("callback")

    timers.call_at(1.0, fail)
    timers.call_at(1.0, calls.append)
    with pytest.raises(RuntimeError):
        timers.run(1.0)
    assert timers.deadline() == 1.0
    timers.run(2.0)
    assert calls == [2.0]


def test_cancelled_timers_are_purged_from_the_queue() -> None:
    timers = Timers()
    keep = timers.call_at(5e6, lambda now: None)
    for index in range(10_000):
        timers.call_at(1e6 + index, lambda now: None).cancel()
    assert len(timers._heap) < 200
    assert len(timers) == 1
    assert timers.deadline() == keep.when


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from(["set", "cancel", "run"]))))
def test_timers_behave_like_a_sorted_list(operations: list[tuple[int, str]]) -> None:
    timers = Timers()
    fired: list[int] = []
    live: dict[int, tuple[float, Timer]] = {}
    expected: list[int] = []
    for serial, (value, kind) in enumerate(operations):
        if kind == "set":

            def fire(now: float, serial: int = serial) -> None:
                fired.append(serial)

            live[serial] = (float(value), timers.call_at(float(value), fire))
        elif kind == "cancel" and live:
            key = sorted(live)[value % len(live)]
            live.pop(key)[1].cancel()
        elif kind == "run":
            due = sorted((when, key) for key, (when, _) in live.items() if when <= value)
            for _, key in due:
                del live[key]
                expected.append(key)
            timers.run(float(value))
        assert fired == expected
        assert len(timers) == len(live)
        assert timers.deadline() == min((when for when, _ in live.values()), default=None)
        assert timers._cancelled == sum(1 for e in timers._heap if e[2].callback is None)


class TestDeadline:
    def test_fires_at_the_time_it_was_moved_to(self) -> None:
        timers = Timers()
        calls: list[float] = []
        deadline = Deadline(timers, calls.append)
        for when in (5.0, 2.0, 3.0):
            deadline.set(when)
        timers.run(2.5)
        assert calls == []
        timers.run(3.0)
        timers.run(9.0)
        assert calls == [3.0]

    def test_does_not_fire_after_set_to_none(self) -> None:
        timers = Timers()
        calls: list[float] = []
        deadline = Deadline(timers, calls.append)
        deadline.set(2.0)
        deadline.set(None)
        timers.run(9.0)
        assert calls == []

    def test_keeps_its_timer_when_set_to_the_same_time(self) -> None:
        timers = Timers()
        deadline = Deadline(timers, lambda now: None)
        deadline.set(2.0)
        deadline.set(2.0)
        assert len(timers._heap) == 1

    def test_fires_again_when_set_to_the_same_time_after_firing(self) -> None:
        timers = Timers()
        calls: list[float] = []
        deadline = Deadline(timers, calls.append)
        for _ in range(2):
            deadline.set(2.0)
            timers.run(2.0)
        assert calls == [2.0, 2.0]

    def test_never_fires_without_timers(self) -> None:
        Deadline(None, lambda now: pytest.fail("called")).set(0.0)
