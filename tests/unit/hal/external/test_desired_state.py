"""What a controller that closes by itself is told, from what the machine ordered before."""

from __future__ import annotations

import pytest

from evse_node.hal.external.desired_state import DesiredState
from evse_node.hal.external.link import ControllerOrders
from evse_node.units import Milliamps

MA_10, MA_16 = Milliamps(10_000), Milliamps(16_000)


def offering() -> DesiredState:
    """A vehicle has an offer, and the controller is known to be open."""
    desired = DesiredState()
    desired.offer(MA_16)
    desired.is_opening = False
    assert desired.orders(1_000) == ControllerOrders(is_enabled=True, current_ma=MA_16)
    return desired


def charging() -> DesiredState:
    desired = offering()
    desired.close()
    assert desired.is_closed
    return desired


def open_and_confirm(desired: DesiredState, *, is_ready: bool) -> None:
    desired.open(is_ready=is_ready)
    assert not desired.is_closed
    assert desired.orders(1_000).must_open
    assert not desired.orders(1_000).is_enabled
    desired.is_opening = False


def test_at_first_it_is_to_open_whatever_is_offered() -> None:
    desired = DesiredState()
    assert not desired.is_closed
    least = ControllerOrders(is_enabled=False, current_ma=Milliamps(6_000), must_open=True)
    assert desired.orders(1_000) == least
    desired.offer(MA_16)
    assert desired.orders(1_000).must_open
    assert not desired.orders(1_000).is_enabled


@pytest.mark.parametrize(("step_ma", "current_ma"), [(1, 16_499), (100, 16_400), (1_000, 16_000)])
def test_currents_are_rounded_down(step_ma: int, current_ma: int) -> None:
    desired = offering()
    desired.offer(Milliamps(16_499))
    assert desired.orders(step_ma).current_ma == current_ma


def test_a_withdrawn_offer_leaves_the_vehicle_its_time() -> None:
    desired = charging()
    desired.withdraw()
    assert desired.is_closed
    orders = desired.orders(1_000)
    assert (orders.is_enabled, orders.must_open, orders.is_unavailable) == (False, False, False)


def test_state_f_opens_and_ends_with_the_next_order() -> None:
    for end in (DesiredState.withdraw, lambda desired: desired.offer(MA_10)):
        desired = charging()
        desired.signal_unavailable()
        assert not desired.is_closed
        assert desired.orders(1_000).is_unavailable
        assert not desired.orders(1_000).is_enabled
        end(desired)
        assert not desired.orders(1_000).is_unavailable


def test_an_opening_of_a_ready_vehicle_outlasts_its_offer() -> None:
    desired = charging()
    open_and_confirm(desired, is_ready=True)
    desired.offer(MA_10)
    assert desired.orders(1_000).must_open
    assert not desired.orders(1_000).is_enabled


@pytest.mark.parametrize("is_ready", [True, False])
def test_without_an_offer_nothing_has_to_be_cut(is_ready: bool) -> None:
    desired = DesiredState()
    open_and_confirm(desired, is_ready=is_ready)
    desired.offer(MA_16)
    assert desired.orders(1_000).is_enabled


def test_a_vehicle_that_is_not_ready_keeps_its_offer() -> None:
    desired = charging()
    open_and_confirm(desired, is_ready=False)
    assert desired.orders(1_000).is_enabled


def test_a_cut_ends_with_an_order_to_close_or_a_new_offer() -> None:
    desired = charging()
    desired.cut()
    assert not desired.is_closed
    for is_ready in (True, False):
        open_and_confirm(desired, is_ready=is_ready)
        assert desired.orders(1_000).must_open
    desired.close()
    assert desired.orders(1_000).is_enabled
    desired.cut()
    desired.withdraw()
    assert desired.orders(1_000).must_open
    desired.offer(MA_16)
    assert desired.orders(1_000).is_enabled
    desired.cut()
    desired.signal_unavailable()
    desired.offer(MA_16)
    assert desired.orders(1_000).is_enabled


def test_what_is_revoked_has_to_be_allowed_anew() -> None:
    desired = charging()
    desired.revoke()
    assert not desired.is_closed
    assert desired.is_opening
    desired.is_opening = False
    desired.offer(MA_10)
    assert desired.orders(1_000).must_open
    desired.close()
    assert desired.orders(1_000).is_enabled


def test_revoking_nothing_cuts_nothing_and_ends_no_cut() -> None:
    desired = DesiredState()
    desired.revoke()
    desired.is_opening = False
    assert not desired.orders(1_000).must_open
    desired.cut()
    desired.revoke()
    desired.is_opening = False
    assert desired.orders(1_000).must_open


def test_a_self_test_is_done_with_an_open_contactor() -> None:
    desired = offering()
    desired.is_testing = True
    assert desired.orders(1_000).must_open
    assert not desired.orders(1_000).is_enabled
