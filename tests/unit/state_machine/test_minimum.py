"""The minimum of EnableCharging holds: a limit below it pauses charging."""

from __future__ import annotations

import pytest

from evse_node.state_machine import events as e
from evse_node.state_machine.enums import State
from evse_node.state_machine.limits import LimitSource
from evse_node.units import Milliamps
from tests.unit.state_machine.machine import B, C, Machine

MINIMUM = Milliamps(8_000)


@pytest.fixture
def machine() -> Machine:
    machine = Machine()
    machine.put(e.EnableCharging(None, MINIMUM, Milliamps(16_000)), B, C)
    machine.wait(1)
    assert machine.is_closed
    return machine


@pytest.mark.parametrize("source", [each for each in LimitSource if each.value != "command"])
def test_limit_below_minimum_pauses_charging(machine: Machine, source: LimitSource) -> None:
    before = machine.state.charge_limits.claim(source)
    machine.put(e.LimitClaimed(source, Milliamps(7_900)))
    machine.wait(8)
    assert not machine.is_closed
    assert machine.state.state is State.PLUGGED_IN_DEMAND
    machine.put(e.LimitClaimed(source, before))
    machine.wait(8)
    assert machine.is_closed


def test_limit_at_minimum_is_offered(machine: Machine) -> None:
    machine.put(e.LimitClaimed(LimitSource.GRID, MINIMUM))
    machine.wait(8)
    assert machine.is_closed
    assert machine.state.outputs.offered_ma == MINIMUM
