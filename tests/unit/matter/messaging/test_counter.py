from hypothesis import given
from hypothesis import strategies as st

from evse_node.matter.messaging.counter import (
    GlobalCounter,
    GroupPeers,
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


def test_group_window_trusts_the_first_and_rolls_over() -> None:
    window = ReceiveWindow(is_synchronized=False)
    assert window.accept_group(MODULUS - 2)
    assert not window.accept_group(MODULUS - 2)
    assert window.accept_group(3)
    assert window.accept_group(MODULUS - 1)
    assert not window.accept_group(MODULUS - 1)
    assert not window.accept_group(MODULUS - 2)
    # Half of the number space ahead counts as behind.
    assert not window.accept_group((3 + (1 << 31)) % MODULUS)
    assert window.accept_group((3 + (1 << 31) - 1) % MODULUS)


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
def test_rolling_windows_match_set_model(start: int, steps: list[int]) -> None:
    group = ReceiveWindow(is_synchronized=False)
    unencrypted = ReceiveWindow(is_synchronized=False)
    assert group.accept_group(start)
    assert unencrypted.accept_unencrypted(start)
    seen, greatest = {0}, 0
    seen_open, greatest_open = {0}, 0
    for step in steps:
        counter = (start + step) % MODULUS
        assert group.accept_group(counter) is (step not in seen and step >= greatest - 32)
        seen.add(step)
        greatest = max(greatest, step)

        behind = step < greatest_open - 32
        assert unencrypted.accept_unencrypted(counter) is (behind or step not in seen_open)
        if behind:
            seen_open, greatest_open = {step}, step
        else:
            seen_open.add(step)
            greatest_open = max(greatest_open, step)
            seen_open = {value for value in seen_open if value >= greatest_open - 32}


def test_group_peers_are_separate_and_bounded() -> None:
    peers = GroupPeers(capacity=3)
    assert peers.accept(1, 10, 100)
    assert not peers.accept(1, 10, 100)
    assert peers.accept(2, 10, 100)
    assert peers.accept(1, 11, 100)
    assert not peers.accept(1, 10, 100)
    for node_id in range(100):
        assert peers.accept(3, node_id, 1)
    assert len(peers) == 3
    peers.remove_fabric(3)
    assert len(peers) == 0


def test_least_recently_heard_group_sender_is_evicted() -> None:
    peers = GroupPeers(capacity=2)
    for node_id, counter in ((10, 1), (11, 1), (10, 2), (12, 1)):
        assert peers.accept(1, node_id, counter)
    assert not peers.accept(1, 10, 2)
    assert peers.accept(1, 11, 1)


def test_replayed_group_message_is_rejected_despite_many_senders() -> None:
    peers = GroupPeers()
    assert peers.accept(1, 7, 1000)
    for node_id in range(100, 1000):
        assert peers.accept(1, node_id, 5)
    assert not peers.accept(1, 7, 1000)
    assert peers.accept(1, 7, 1001)
