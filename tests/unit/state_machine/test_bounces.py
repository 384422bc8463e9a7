"""Plugs that bounce, vehicles that chatter, controllers that flap."""

from __future__ import annotations

import pytest

from evse_node.state_machine import events as e
from evse_node.state_machine.effects import (
    CloseContactor,
    ClosingsLimited,
    EnergyTransferStopped,
    EvConnected,
    EvNotDetected,
    OpenContactor,
)
from evse_node.state_machine.enums import State, StoppedReason
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.state import EvseSettings
from tests.unit.state_machine.machine import ENABLE, A, B, C, E, Machine

CARD = b"\x01\x02\x03\x04"


@pytest.fixture
def machine() -> Machine:
    return Machine(EvseSettings())


class TestPlug:
    def test_that_bounces_eight_times_is_one_session(self, machine: Machine) -> None:
        machine.put(A, ENABLE)
        for _ in range(8):
            machine.put(B)
            machine.wait(0.05)
            machine.put(A)
            machine.wait(0.05)
        machine.put(B)
        machine.wait(5)
        assert len(machine.find(EvConnected)) == 1
        assert machine.find(EvNotDetected) == []

    def test_that_bounces_while_charging_keeps_session_and_card(self) -> None:
        machine = Machine(EvseSettings(allowed_cards=frozenset({CARD})))
        machine.put(e.RfidTapped(CARD))
        machine.charge()
        machine.put(A)
        assert OpenContactor() in machine.take()
        machine.wait(0.1)
        machine.put(C)
        machine.wait(5)
        assert machine.is_closed
        assert machine.state.session is not None
        assert machine.state.session.id == 0
        assert machine.find(EvNotDetected) == []

    def test_that_is_pulled_ends_session_after_a_second(self, machine: Machine) -> None:
        machine.charge()
        machine.put(A)
        assert OpenContactor() in machine.effects
        stopped = machine.find(EnergyTransferStopped)
        assert [each.reason for each in stopped] == [StoppedReason.OTHER]
        assert machine.state.state is State.PLUGGED_IN_NO_DEMAND
        machine.wait(0.9)
        assert machine.find(EvNotDetected) == []
        machine.wait(0.2)
        assert len(machine.find(EvNotDetected)) == 1
        assert machine.state.state is State.NOT_PLUGGED_IN

    def test_that_is_pulled_during_fault_ends_session(self, machine: Machine) -> None:
        machine.charge()
        machine.put(E, A)
        machine.wait(0.5)
        assert machine.state.fault is FaultState.PILOT_SHORT_CIRCUIT
        machine.wait(1)
        assert machine.state.faults == ()
        assert machine.state.state is State.NOT_PLUGGED_IN
        assert len(machine.find(EvNotDetected)) == 1

    def test_whose_fault_is_acknowledged_before_the_end_ends_session(
        self, machine: Machine
    ) -> None:
        machine.charge()
        machine.put(e.FaultRaised(FaultState.GROUND_FAULT), A, e.FaultCleared())
        assert machine.state.state is State.PLUGGED_IN_NO_DEMAND
        machine.wait(1)
        assert machine.state.state is State.NOT_PLUGGED_IN
        assert len(machine.find(EvNotDetected)) == 1


class TestClosings:
    def test_of_chattering_vehicle_are_bounded(self, machine: Machine) -> None:
        machine.charge()
        times = set(machine.state.outputs.closed_at)
        for _ in range(3_000):  # ten minutes
            machine.put(B)
            machine.wait(0.1)
            machine.put(C)
            machine.wait(0.1)
            times.update(machine.state.outputs.closed_at)
        assert max(sum(start <= each < start + 60 for each in times) for start in times) == 6
        assert len(times) > 30

    def test_are_reported_when_bounded(self, machine: Machine) -> None:
        machine.charge()
        for _ in range(20):
            machine.put(B)
            machine.wait(0.1)
            machine.put(C)
            machine.wait(0.1)
        assert len(machine.find(ClosingsLimited)) == 1
        assert machine.state.is_closing_limited
        assert machine.state.state is State.PLUGGED_IN_DEMAND
        stopped = len(machine.find(EnergyTransferStopped))
        assert stopped == 6

    def test_resume_when_vehicle_has_calmed_down(self, machine: Machine) -> None:
        machine.charge()
        for _ in range(20):
            machine.put(B)
            machine.wait(0.1)
            machine.put(C)
            machine.wait(0.1)
        assert not machine.is_closed
        machine.wait(61)
        assert machine.is_closed
        assert not machine.state.is_closing_limited

    def test_of_flapping_controller_are_bounded(self, machine: Machine) -> None:
        machine.charge()
        count = 0
        for _ in range(120):
            machine.put(e.FaultRaised(FaultState.OTHER))
            machine.wait(0.5)
            machine.put(e.FaultCleared(FaultState.OTHER))
            machine.wait(4.5)
            count += len(machine.find(CloseContactor))
            machine.take()
        assert 30 < count <= 60

    def test_are_bounded_by_setting(self) -> None:
        machine = Machine(EvseSettings(closings_per_minute=2)).charge()
        for _ in range(20):
            machine.put(B)
            machine.wait(0.1)
            machine.put(C)
            machine.wait(0.1)
        assert len(machine.find(CloseContactor)) == 1  # and the first one of `charge`
