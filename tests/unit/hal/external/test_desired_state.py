"""What a controller that closes by itself is told, from what the machine ordered before."""

from __future__ import annotations

import pytest

from evse_node.hal.external.desired_state import DesiredState
from evse_node.hal.external.link import ControllerOrders
from evse_node.units import Milliamps

MA_10, MA_16 = Milliamps(10_000), Milliamps(16_000)


def offering() -> DesiredState:
    """A vehicle has an offer, and the controller is known to be open."""
    wishes = DesiredState()
    wishes.offer(MA_16)
    wishes.is_opening = False
    assert wishes.orders(1_000) == ControllerOrders(is_enabled=True, current_ma=MA_16)
    return wishes


def charging() -> DesiredState:
    wishes = offering()
    wishes.close()
    assert wishes.is_closed
    return wishes


def open_and_confirm(wishes: DesiredState, *, is_ready: bool) -> None:
    wishes.open(is_ready=is_ready)
    assert not wishes.is_closed
    assert wishes.orders(1_000).must_open
    assert not wishes.orders(1_000).is_enabled
    wishes.is_opening = False


def test_at_first_it_is_to_open_whatever_is_offered() -> None:
    wishes = DesiredState()
    assert not wishes.is_closed
    least = ControllerOrders(is_enabled=False, current_ma=Milliamps(6_000), must_open=True)
    assert wishes.orders(1_000) == least
    wishes.offer(MA_16)
    assert wishes.orders(1_000).must_open
    assert not wishes.orders(1_000).is_enabled


@pytest.mark.parametrize(("step_ma", "current_ma"), [(1, 16_499), (100, 16_400), (1_000, 16_000)])
def test_currents_are_rounded_down(step_ma: int, current_ma: int) -> None:
    wishes = offering()
    wishes.offer(Milliamps(16_499))
    assert wishes.orders(step_ma).current_ma == current_ma


def test_a_withdrawn_offer_leaves_the_vehicle_its_time() -> None:
    wishes = charging()
    wishes.withdraw()
    assert wishes.is_closed
    orders = wishes.orders(1_000)
    assert (orders.is_enabled, orders.must_open, orders.is_unavailable) == (False, False, False)


def test_state_f_opens_and_ends_with_the_next_order() -> None:
    for end in (DesiredState.withdraw, lambda wishes: wishes.offer(MA_10)):
        wishes = charging()
        wishes.signal_unavailable()
        assert not wishes.is_closed
        assert wishes.orders(1_000).is_unavailable
        assert not wishes.orders(1_000).is_enabled
        end(wishes)
        assert not wishes.orders(1_000).is_unavailable


def test_an_opening_of_a_ready_vehicle_outlasts_its_offer() -> None:
    wishes = charging()
    open_and_confirm(wishes, is_ready=True)
    wishes.offer(MA_10)
    assert wishes.orders(1_000).must_open
    assert not wishes.orders(1_000).is_enabled


@pytest.mark.parametrize("is_ready", [True, False])
def test_without_an_offer_nothing_has_to_be_cut(is_ready: bool) -> None:
    wishes = DesiredState()
    open_and_confirm(wishes, is_ready=is_ready)
    wishes.offer(MA_16)
    assert wishes.orders(1_000).is_enabled


def test_a_vehicle_that_is_not_ready_keeps_its_offer() -> None:
    wishes = charging()
    open_and_confirm(wishes, is_ready=False)
    assert wishes.orders(1_000).is_enabled


def test_a_cut_ends_with_an_order_to_close_or_a_new_offer() -> None:
    wishes = charging()
    wishes.cut()
    assert not wishes.is_closed
    for is_ready in (True, False):
        open_and_confirm(wishes, is_ready=is_ready)
        assert wishes.orders(1_000).must_open
    wishes.close()
    assert wishes.orders(1_000).is_enabled
    wishes.cut()
    wishes.withdraw()
    assert wishes.orders(1_000).must_open
    wishes.offer(MA_16)
    assert wishes.orders(1_000).is_enabled
    wishes.cut()
    wishes.signal_unavailable()
    wishes.offer(MA_16)
    assert wishes.orders(1_000).is_enabled


def test_what_is_revoked_has_to_be_allowed_anew() -> None:
    wishes = charging()
    wishes.revoke()
    assert not wishes.is_closed
    assert wishes.is_opening
    wishes.is_opening = False
    wishes.offer(MA_10)
    assert wishes.orders(1_000).must_open
    wishes.close()
    assert wishes.orders(1_000).is_enabled


def test_revoking_nothing_cuts_nothing_and_ends_no_cut() -> None:
    wishes = DesiredState()
    wishes.revoke()
    wishes.is_opening = False
    assert not wishes.orders(1_000).must_open
    wishes.cut()
    wishes.revoke()
    wishes.is_opening = False
    assert wishes.orders(1_000).must_open


def test_a_self_test_is_done_with_an_open_contactor() -> None:
    wishes = offering()
    wishes.is_testing = True
    assert wishes.orders(1_000).must_open
    assert not wishes.orders(1_000).is_enabled
