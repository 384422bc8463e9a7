"""Tests of the desired state and the orders that follow from it."""

from __future__ import annotations

import pytest

from evse_node.hal.external.desired_state import DesiredState
from evse_node.hal.external.link import ControllerOrders
from evse_node.units import Milliamps

MA_10, MA_16 = Milliamps(10_000), Milliamps(16_000)


def offering_state() -> DesiredState:
    """Return the state with an offer and a confirmed open contactor."""
    desired = DesiredState()
    desired.offer(MA_16)
    desired.is_opening = False
    assert desired.orders(1_000) == ControllerOrders(is_enabled=True, current_ma=MA_16)
    return desired


def charging_state() -> DesiredState:
    desired = offering_state()
    desired.close()
    assert desired.is_closed
    return desired


def open_and_confirm(desired: DesiredState, *, is_ready: bool) -> None:
    desired.open(is_ready=is_ready)
    assert not desired.is_closed
    assert desired.orders(1_000).must_open
    assert not desired.orders(1_000).is_enabled
    desired.is_opening = False


def test_initial_orders_open_despite_offer() -> None:
    desired = DesiredState()
    assert not desired.is_closed
    least = ControllerOrders(is_enabled=False, current_ma=Milliamps(6_000), must_open=True)
    assert desired.orders(1_000) == least
    desired.offer(MA_16)
    assert desired.orders(1_000).must_open
    assert not desired.orders(1_000).is_enabled


@pytest.mark.parametrize(("step_ma", "current_ma"), [(1, 16_499), (100, 16_400), (1_000, 16_000)])
def test_current_is_rounded_down_to_steps(step_ma: int, current_ma: int) -> None:
    desired = offering_state()
    desired.offer(Milliamps(16_499))
    assert desired.orders(step_ma).current_ma == current_ma


def test_withdraw_disables_without_opening_at_once() -> None:
    desired = charging_state()
    desired.withdraw()
    assert desired.is_closed
    orders = desired.orders(1_000)
    assert (orders.is_enabled, orders.must_open, orders.is_unavailable) == (False, False, False)


def test_state_f_opens_until_next_order() -> None:
    for end in (DesiredState.withdraw, lambda desired: desired.offer(MA_10)):
        desired = charging_state()
        desired.signal_unavailable()
        assert not desired.is_closed
        assert desired.orders(1_000).is_unavailable
        assert not desired.orders(1_000).is_enabled
        end(desired)
        assert not desired.orders(1_000).is_unavailable


def test_opening_for_ready_vehicle_outlasts_changed_offer() -> None:
    desired = charging_state()
    open_and_confirm(desired, is_ready=True)
    desired.offer(MA_10)
    assert desired.orders(1_000).must_open
    assert not desired.orders(1_000).is_enabled


@pytest.mark.parametrize("is_ready", [True, False])
def test_opening_without_offer_does_not_cut_next_offer(is_ready: bool) -> None:
    desired = DesiredState()
    open_and_confirm(desired, is_ready=is_ready)
    desired.offer(MA_16)
    assert desired.orders(1_000).is_enabled


def test_opening_without_ready_vehicle_keeps_offer() -> None:
    desired = charging_state()
    open_and_confirm(desired, is_ready=False)
    assert desired.orders(1_000).is_enabled


def test_cut_ends_with_close_or_new_offer() -> None:
    desired = charging_state()
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


def test_revoke_holds_until_close() -> None:
    desired = charging_state()
    desired.revoke()
    assert not desired.is_closed
    assert desired.is_opening
    desired.is_opening = False
    desired.offer(MA_10)
    assert desired.orders(1_000).must_open
    desired.close()
    assert desired.orders(1_000).is_enabled


def test_revoke_without_offer_keeps_cut_unchanged() -> None:
    desired = DesiredState()
    desired.revoke()
    desired.is_opening = False
    assert not desired.orders(1_000).must_open
    desired.cut()
    desired.revoke()
    desired.is_opening = False
    assert desired.orders(1_000).must_open


def test_self_test_opens_and_disables() -> None:
    desired = offering_state()
    desired.is_testing = True
    assert desired.orders(1_000).must_open
    assert not desired.orders(1_000).is_enabled
