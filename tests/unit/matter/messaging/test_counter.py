from hypothesis import given
from hypothesis import strategies as st

from evse_node.matter.messaging.counter import (
    GlobalCounter,
    ReceiveWindow,
    initial_counter,
)

MODULUS = 1 << 32


def test_initial_counter_is_28_bit_and_not_zero() -> None:
    assert initial_counter(lambda size: bytes(size)) == 1
    assert initial_counter(lambda size: b"\xff" * size) == 1 << 28


def test_counter_of_unencrypted_messages_rolls_over() -> None:
    counter = GlobalCounter(MODULUS - 1)
    assert [counter.next(), counter.next(), counter.next()] == [MODULUS - 1, 0, 1]


def test_unicast_window_rejects_duplicates_and_old_counters() -> None:
    window = ReceiveWindow()
    assert not window.accept_unicast(0)
    assert window.accept_unicast(1000)
    assert not window.accept_unicast(1000)
    assert window.accept_unicast(1000 - 32)
    assert not window.accept_unicast(1000 - 33)
    assert not window.accept_unicast(1000 - 32)
    assert window.accept_unicast(1001)
    assert not window.accept_unicast(1000)
    assert window.accept_unicast(999)
    assert not window.accept_unicast(999)
    assert window.accept_unicast(MODULUS - 1)
    # No rollover: a small number is far behind.
    assert not window.accept_unicast(5)


def test_unencrypted_window_follows_a_peer_that_restarted() -> None:
    window = ReceiveWindow(is_synchronized=False)
    assert window.accept_unencrypted(5_000_000)
    assert not window.accept_unencrypted(5_000_000)
    assert window.accept_unencrypted(5_000_000 - 32)
    assert not window.accept_unencrypted(5_000_000 - 32)
    assert window.accept_unencrypted(7)
    assert not window.accept_unencrypted(7)
    assert window.accept_unencrypted(8)
    assert not window.accept_unencrypted(7)


@given(st.lists(st.integers(1, 200), max_size=80))
def test_unicast_window_matches_set_model(counters: list[int]) -> None:
    window = ReceiveWindow()
    seen: set[int] = set()
    greatest = 0
    for counter in counters:
        expected = counter > greatest or (counter not in seen and counter >= greatest - 32)
        if greatest == 0:
            expected = True
        assert window.accept_unicast(counter) is expected
        seen.add(counter)
        greatest = max(greatest, counter)


@given(st.integers(0, MODULUS - 1), st.lists(st.integers(-100, 100), max_size=80))
def test_rolling_window_matches_set_model(start: int, steps: list[int]) -> None:
    window = ReceiveWindow(is_synchronized=False)
    assert window.accept_unencrypted(start)
    seen, greatest = {0}, 0
    for step in steps:
        counter = (start + step) % MODULUS
        behind = step < greatest - 32
        assert window.accept_unencrypted(counter) is (behind or step not in seen)
        if behind:
            seen, greatest = {step}, step
        else:
            seen.add(step)
            greatest = max(greatest, step)
            seen = {value for value in seen if value >= greatest - 32}
