"""A moment's fault is retried after 10, 60 and 300 s, then latches."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evse_node.state_machine import events as e
from evse_node.state_machine.effects import FaultChanged, OpenContactor, UnlockCable
from evse_node.state_machine.enums import State
from evse_node.state_machine.faults import FAULT_CLASSES, FaultClass, FaultState
from evse_node.state_machine.state import ContactorState, EvseSettings
from evse_node.units import Milliamps
from tests.unit.state_machine.machine import A, B, C, E, F, Machine

WAITS = (10.0, 60.0, 300.0)
RESTART_S = 4.0
"""X1 pause and closing after the wait."""
SOCKET = EvseSettings(has_socket=True)


def glitch(machine: Machine) -> None:
    """Put the pilot at 0 V for 100 ms."""
    machine.put(E)
    machine.wait(0.1)
    machine.put(C)


def charging_machine(settings: EvseSettings | None = None) -> Machine:
    machine = Machine(settings)
    machine.put(e.CableChanged(Milliamps(32_000)))
    return machine.charge()


def lose_cable(machine: Machine) -> None:
    machine.put(e.CableChanged(None))
    machine.wait(0.3)
    machine.put(e.CableChanged(Milliamps(32_000)))


def drop_contactor(machine: Machine) -> None:
    """Let a brown-out drop the contactor."""
    machine.is_closed = False
    machine.put(e.ContactorReported(False))
    machine.wait(1.0)


def state_f(machine: Machine) -> None:
    machine.put(F)
    machine.wait(0.1)
    machine.put(C)


MOMENTS: dict[str, tuple[Callable[[Machine], None], FaultState]] = {
    "pilot at 0 V": (glitch, FaultState.PILOT_SHORT_CIRCUIT),
    "plug's resistor unseen": (lose_cable, FaultState.EV_DISCONNECTED),
    "contactor dropped": (drop_contactor, FaultState.CONTACT_DRY_FAILURE),
    "state F": (state_f, FaultState.OTHER),
    "diode unseen": (
        lambda machine: machine.put(e.FaultRaised(FaultState.OTHER, is_momentary=True)),
        FaultState.OTHER,
    ),
    "overcurrent": (
        lambda machine: machine.put(e.FaultRaised(FaultState.OVER_CURRENT, is_momentary=True)),
        FaultState.OVER_CURRENT,
    ),
}


@pytest.mark.parametrize(("act", "fault"), MOMENTS.values(), ids=MOMENTS)
class TestMomentaryFault:
    def test_opens_at_once_and_resumes_after_10_s(
        self, act: Callable[[Machine], None], fault: FaultState
    ) -> None:
        machine = charging_machine(SOCKET)
        began = machine.now
        act(machine)
        assert OpenContactor() in machine.effects
        assert machine.state.fault is fault
        machine.wait(began + 9.5 - machine.now)
        assert machine.state.fault is fault
        assert machine.state.outputs.contactor is ContactorState.OPEN
        machine.wait(2.5 + RESTART_S)
        assert machine.state.fault is FaultState.NO_ERROR
        assert machine.state.outputs.contactor is ContactorState.CLOSED
        assert machine.state.session is not None
        assert machine.state.session.id == 0

    def test_latches_after_third_retry_until_unplugged(
        self, act: Callable[[Machine], None], fault: FaultState
    ) -> None:
        machine = charging_machine(SOCKET)
        for wait_s in WAITS:
            act(machine)
            machine.wait(wait_s - 1)
            assert machine.state.fault is fault
            machine.wait(2 + RESTART_S)
            assert machine.is_closed
        act(machine)
        machine.wait(100_000)
        assert machine.state.fault is fault
        assert not machine.is_closed
        machine.put(A)
        machine.wait(2)
        assert machine.state.faults == ()
        machine.charge()
        act(machine)
        machine.wait(12 + RESTART_S)
        assert machine.is_closed

    def test_count_is_cleared_after_ten_minutes_of_charging(
        self, act: Callable[[Machine], None], fault: FaultState
    ) -> None:
        machine = charging_machine(SOCKET)
        for _ in range(10):
            act(machine)
            machine.wait(12 + RESTART_S)
            assert machine.is_closed
            machine.wait(600)


def test_count_is_kept_by_less_than_ten_minutes_of_charging() -> None:
    machine = Machine().charge()
    glitch(machine)
    machine.wait(10 + RESTART_S)
    machine.wait(590)
    glitch(machine)
    machine.wait(12 + RESTART_S)
    assert machine.state.fault is FaultState.PILOT_SHORT_CIRCUIT


def test_wait_begins_when_cause_ends() -> None:
    machine = Machine().charge()
    machine.put(E)
    machine.wait(3_600)
    assert machine.state.fault is FaultState.PILOT_SHORT_CIRCUIT
    machine.put(C)
    machine.wait(9.9)
    assert machine.state.fault is FaultState.PILOT_SHORT_CIRCUIT
    machine.wait(0.2)
    assert machine.state.fault is FaultState.NO_ERROR
    assert machine.state.retry_count == 1


def test_faults_of_one_incident_share_a_wait() -> None:
    machine = Machine().charge()
    glitch(machine)
    machine.put(e.FaultRaised(FaultState.OTHER, is_momentary=True))
    machine.wait(10.1)
    assert machine.state.faults == ()
    assert machine.state.retry_count == 1


def test_retry_reports_fault_and_its_end() -> None:
    machine = Machine().charge()
    glitch(machine)
    machine.wait(11)
    shown = [(each.previous, each.current) for each in machine.find(FaultChanged)]
    short = FaultState.PILOT_SHORT_CIRCUIT
    assert shown == [(FaultState.NO_ERROR, short), (short, FaultState.NO_ERROR)]


@pytest.mark.parametrize(
    "fault", [each for each, kind in FAULT_CLASSES.items() if kind is not FaultClass.RETRIED]
)
def test_other_fault_is_not_retried(fault: FaultState) -> None:
    machine = Machine().charge()
    machine.put(e.FaultRaised(fault, is_momentary=True))
    machine.wait(100_000)
    assert machine.state.faults == (fault,)


def test_fault_that_hardware_reports_as_lasting_is_not_retried() -> None:
    machine = Machine().charge()
    machine.put(e.FaultRaised(FaultState.OTHER, is_momentary=True))
    machine.put(e.FaultRaised(FaultState.OTHER))
    machine.wait(100_000)
    assert machine.state.faults == (FaultState.OTHER,)
    machine.put(e.FaultCleared(FaultState.OTHER))
    machine.wait(RESTART_S)
    assert machine.is_closed


def test_retry_leaves_other_faults() -> None:
    machine = Machine().charge()
    glitch(machine)
    machine.put(e.FaultRaised(FaultState.GROUND_FAULT))
    machine.wait(100)
    assert machine.state.faults == (FaultState.GROUND_FAULT,)
    assert machine.state.state is State.FAULT


def test_acknowledgement_clears_fault_and_count() -> None:
    machine = Machine(EvseSettings(closings_per_minute=100)).charge()
    for _ in range(5):
        glitch(machine)
        machine.put(e.FaultCleared())
        machine.wait(RESTART_S)
        assert machine.is_closed
    glitch(machine)
    machine.wait(10 + RESTART_S)
    assert machine.is_closed


def test_without_waits_every_fault_latches() -> None:
    machine = Machine(EvseSettings(retry_after_s=())).charge()
    glitch(machine)
    machine.wait(100_000)
    assert machine.state.fault is FaultState.PILOT_SHORT_CIRCUIT


def test_mirror_contact_that_bounces_on_a_drop_is_no_weld() -> None:
    machine = Machine().charge()
    for is_closed in (False, True, False):
        machine.put(e.ContactorReported(is_closed))
        machine.now += 0.01
    machine.is_closed = False
    machine.wait(10 + RESTART_S)
    assert machine.state.faults == ()
    assert machine.is_closed


def test_vehicle_without_demand_during_wait_resumes_on_demand() -> None:
    machine = Machine().charge()
    machine.put(E)
    machine.wait(0.1)
    machine.put(B)
    machine.wait(20)
    assert machine.state.state is State.PLUGGED_IN_NO_DEMAND
    machine.put(C)
    machine.wait(1)
    assert machine.is_closed


def test_every_fault_has_a_class() -> None:
    assert set(FAULT_CLASSES) == set(FaultState) - {FaultState.NO_ERROR}
    latched = {fault for fault, kind in FAULT_CLASSES.items() if kind is FaultClass.LATCHED}
    assert latched == {
        FaultState.GROUND_FAULT,
        FaultState.EMERGENCY_STOP,
        FaultState.CONTACT_WET_FAILURE,
    }


def test_unlocking_is_ordered_again_after_failed_order() -> None:
    machine = Machine(EvseSettings()).charge()
    machine.put(A)
    machine.wait(0.5)
    assert len(machine.find(UnlockCable)) == 1
    for _ in range(3):
        machine.put(e.FaultRaised(FaultState.OTHER, is_momentary=True))
        machine.take()
        machine.wait(61)
        assert UnlockCable() in machine.orders()
        assert machine.state.faults == ()
