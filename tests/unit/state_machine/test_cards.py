"""Authorization by cards."""

from __future__ import annotations

import pytest

from evse_node.state_machine import events as e
from evse_node.state_machine.effects import RfidRead
from evse_node.state_machine.enums import State
from evse_node.state_machine.state import EvseSettings
from tests.unit.state_machine.machine import ENABLE, A, B, C, Machine

MINE, THEIRS = b"\x01\x02\x03\x04", b"\x09\x09\x09\x09"
TAP = e.RfidTapped(MINE)


@pytest.fixture
def machine() -> Machine:
    machine = Machine(EvseSettings(allowed_cards=frozenset({MINE})))
    machine.put(ENABLE)
    return machine


def test_no_card_is_required_without_list() -> None:
    machine = Machine()
    machine.put(TAP)
    assert not machine.state.is_authorized
    machine.charge()


def test_card_starts_and_ends_charging(machine: Machine) -> None:
    machine.put(C)
    assert machine.state.state is State.PLUGGED_IN_DEMAND
    assert machine.state.is_card_awaited
    machine.put(TAP)
    assert machine.state.state is State.PLUGGED_IN_CHARGING
    machine.wait(1)
    assert machine.is_closed
    machine.put(TAP)
    assert machine.state.state is State.PLUGGED_IN_DEMAND
    machine.wait(7)
    assert not machine.is_closed


def test_unknown_card_is_only_notified(machine: Machine) -> None:
    machine.take()
    machine.put(C, e.RfidTapped(THEIRS))
    assert machine.state.state is State.PLUGGED_IN_DEMAND
    assert RfidRead(THEIRS) in machine.effects


def test_card_before_vehicle_is_valid(machine: Machine) -> None:
    machine.put(A, TAP)
    machine.wait(59)
    machine.put(B)
    machine.wait(60)
    machine.put(C)
    assert machine.state.state is State.PLUGGED_IN_CHARGING


def test_card_without_vehicle_expires(machine: Machine) -> None:
    machine.put(A, TAP)
    machine.wait(60)
    machine.put(C)
    assert machine.state.state is State.PLUGGED_IN_DEMAND


def test_each_session_requires_card(machine: Machine) -> None:
    machine.put(B, TAP, C, B, A)
    machine.wait(1)
    machine.put(C)
    assert machine.state.state is State.PLUGGED_IN_DEMAND
