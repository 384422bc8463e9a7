"""Pilot, contactor and lock with the timing of IEC 61851."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from evse_node.state_machine import events as e
from evse_node.state_machine.control_pilot import PilotOutput
from evse_node.state_machine.effects import (
    BeginDiagnostics,
    CloseContactor,
    FaultChanged,
    LockCable,
    OfferCurrent,
    OpenContactor,
    Refused,
    SetDischarge,
    SignalUnavailable,
    UnlockCable,
    WithdrawOffer,
)
from evse_node.state_machine.enums import State
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.state import ContactorState, EvseSettings
from evse_node.units import Milliamps
from tests.unit.state_machine.machine import ENABLE, GROUND, A, B, C, D, E, F, Machine, machine_in

OFFER_16 = OfferCurrent(Milliamps(16_000))
OFFER_10 = OfferCurrent(Milliamps(10_000))


def limit(current_ma: int) -> e.LimitClaimed:
    return e.LimitClaimed(LimitSource.USER, Milliamps(current_ma))


@pytest.fixture
def charging() -> Machine:
    return Machine().charge()


class TestOffer:
    def test_offer_requires_vehicle(self) -> None:
        machine = Machine()
        machine.put(A, ENABLE)
        assert machine.orders() == []
        machine.put(B)
        assert machine.orders() == [OFFER_16, LockCable()]

    def test_offer_requires_permission(self) -> None:
        machine = Machine()
        machine.put(B, C)
        assert machine.orders() == []

    def test_offer_has_duty_cycle(self) -> None:
        machine = Machine()
        for source in (LimitSource.HARDWARE, LimitSource.CIRCUIT):
            machine.put(e.LimitClaimed(source, Milliamps(80_000)))
        machine.put(replace(ENABLE, maximum_ma=Milliamps(52_000)), B)
        assert OfferCurrent(Milliamps(51_000)) in machine.orders()

    def test_offer_changes_at_most_every_five_seconds(self, charging: Machine) -> None:
        charging.put(limit(10_000))
        assert charging.orders() == []
        charging.put(limit(8_000))
        charging.wait(3.9)
        assert charging.orders() == []
        charging.wait(0.2)
        assert charging.orders() == [OfferCurrent(Milliamps(8_000))]
        charging.wait(100)
        charging.put(limit(10_000))
        assert charging.orders() == [OFFER_10]

    def test_reverted_change_is_not_ordered(self, charging: Machine) -> None:
        charging.put(limit(10_000), limit(16_000))
        charging.wait(10)
        assert charging.orders() == []

    def test_offer_ends_at_once_and_restarts_after_pause(self, charging: Machine) -> None:
        charging.put(limit(5_000))
        assert charging.orders() == [WithdrawOffer()]
        charging.put(limit(16_000))
        assert charging.state.state is State.PLUGGED_IN_CHARGING
        charging.wait(2.9)
        assert charging.orders() == []
        charging.wait(0.2)
        # The vehicle stayed in C during the grace period: the contactor never opened.
        assert charging.orders() == [OFFER_16]
        assert charging.is_closed

    def test_offer_ends_when_unplugged(self, charging: Machine) -> None:
        charging.put(A)
        assert charging.orders() == [WithdrawOffer(), OpenContactor()]


class TestContactor:
    def test_contactor_closes_within_step(self) -> None:
        machine = Machine()
        machine.put(ENABLE, B)
        machine.take()
        machine.put(C)
        assert machine.orders() == [CloseContactor()]
        machine.wait(0.1)
        assert machine.state.outputs.contactor is ContactorState.CLOSED

    def test_contactor_requires_pwm(self) -> None:
        machine = Machine()
        machine.put(B, C)
        machine.take()
        machine.put(ENABLE)
        # And a locked plug.
        assert machine.orders() == [OFFER_16, LockCable(), CloseContactor()]

    @pytest.mark.parametrize("pilot", [A, B, D, E, F])
    def test_contactor_opens_in_step_that_leaves_state_c(
        self, charging: Machine, pilot: object
    ) -> None:
        charging.put(pilot)  # type: ignore[arg-type]
        assert OpenContactor() in charging.orders()
        assert charging.state.timers.keys() & {e.Timer.STOP_GRACE} == set()

    def test_contactor_opens_in_step_of_fault(self, charging: Machine) -> None:
        charging.put(GROUND)
        assert OpenContactor() in charging.orders()

    def test_contactor_opens_after_grace_period(self, charging: Machine) -> None:
        charging.put(e.Disable())
        assert charging.orders() == [WithdrawOffer()]
        charging.wait(5.9)
        assert charging.is_closed
        charging.wait(0.2)
        assert not charging.is_closed
        assert charging.orders() == [OpenContactor(), UnlockCable()]

    def test_grace_period_ends_with_state_c(self, charging: Machine) -> None:
        charging.put(e.Disable())
        charging.wait(1)
        charging.take()
        charging.put(B)
        assert charging.orders() == [OpenContactor()]

    def test_grace_period_ends_with_fault(self, charging: Machine) -> None:
        charging.put(e.Disable())
        charging.take()
        charging.put(GROUND)
        assert charging.orders() == [OpenContactor()]

    def test_contactor_closes_again_only_once_open(self) -> None:
        machine = Machine(feedback_s=0.2).charge()
        machine.put(B)
        machine.take()
        machine.put(C)
        assert machine.orders() == []
        machine.wait(0.25)
        assert machine.orders() == [CloseContactor()]

    def test_missing_closure_is_dry_failure(self) -> None:
        machine = Machine(feedback_s=None)
        machine.put(ENABLE, B, C)
        machine.wait(0.49)
        assert machine.state.fault is FaultState.NO_ERROR
        machine.take()
        machine.wait(0.02)
        assert machine.state.fault is FaultState.CONTACT_DRY_FAILURE
        assert OpenContactor() in machine.orders()
        machine.wait(9)
        assert machine.state.outputs.contactor is ContactorState.OPEN
        assert machine.state.fault is FaultState.CONTACT_DRY_FAILURE

    def test_dry_failure_ends_with_unplugging(self) -> None:
        machine = Machine(feedback_s=None)
        machine.put(ENABLE, B, C)
        machine.wait(5)
        machine.put(A)
        assert machine.state.fault is FaultState.NO_ERROR

    def test_missing_opening_is_wet_failure(self, charging: Machine) -> None:
        charging.feedback_s = None
        charging.put(B)
        charging.wait(0.6)
        assert charging.state.fault is FaultState.CONTACT_WET_FAILURE
        # It cannot be cleared, and the contactor is not closed.
        charging.put(e.FaultCleared(), C)
        assert charging.state.fault is FaultState.CONTACT_WET_FAILURE
        assert CloseContactor() not in charging.orders()
        charging.put(e.ContactorReported(False))
        assert charging.state.fault is FaultState.CONTACT_WET_FAILURE
        charging.put(e.FaultCleared())
        assert charging.state.fault is FaultState.NO_ERROR

    def test_order_to_open_is_repeated(self, charging: Machine) -> None:
        charging.feedback_s = None
        charging.put(B)
        charging.wait(0.6)
        charging.take()
        charging.wait(0.8)
        assert charging.orders() == []
        charging.wait(0.3)
        assert charging.orders() == [OpenContactor()]
        charging.wait(3)
        assert charging.orders() == 3 * [OpenContactor()]

    def test_closing_without_order_is_wet_failure(self) -> None:
        machine = machine_in(State.PLUGGED_IN_NO_DEMAND)
        machine.put(e.ContactorReported(True))
        assert machine.state.fault is FaultState.CONTACT_WET_FAILURE
        assert OpenContactor() in machine.orders()

    def test_late_closure_after_order_to_open_is_ignored(self) -> None:
        machine = Machine(feedback_s=None)
        machine.put(ENABLE, B, C, B)
        machine.put(e.ContactorReported(True))
        assert machine.state.outputs.contactor is ContactorState.OPENING
        machine.put(e.ContactorReported(False))
        assert machine.state.outputs.contactor is ContactorState.OPEN
        assert machine.state.fault is FaultState.NO_ERROR


class TestBackendOpensByItself:
    def test_pilot_gives_reason(self, charging: Machine) -> None:
        charging.put(e.ContactorReported(False))
        assert charging.orders() == [OpenContactor()]
        charging.put(B)
        charging.wait(10)
        assert charging.state.fault is FaultState.NO_ERROR
        charging.put(C)
        assert CloseContactor() in charging.orders()

    def test_fault_gives_reason(self, charging: Machine) -> None:
        charging.put(e.ContactorReported(False), GROUND)
        charging.wait(10)
        assert [each.current for each in charging.find(FaultChanged)] == [FaultState.GROUND_FAULT]

    def test_opening_without_reason_is_dry_failure(self, charging: Machine) -> None:
        charging.put(e.ContactorReported(False))
        charging.wait(0.4)
        assert charging.state.fault is FaultState.NO_ERROR
        charging.wait(0.2)
        assert charging.state.fault is FaultState.CONTACT_DRY_FAILURE

    def test_opening_is_ordered_for_energised_coil(self, charging: Machine) -> None:
        charging.put(e.ContactorReported(False))
        assert charging.find(OpenContactor)
        charging.wait(0.6)
        assert CloseContactor() not in charging.orders()

    def test_opening_and_return_to_c_closes_again(self, charging: Machine) -> None:
        charging.put(e.ContactorReported(False), B, C)
        assert CloseContactor() in charging.orders()


class TestStateF:
    def test_fault_while_charging_signals_state_f_briefly(self, charging: Machine) -> None:
        charging.put(GROUND)
        assert charging.orders() == [SignalUnavailable(), OpenContactor()]
        charging.put(F)  # the board measures its own signal
        assert charging.state.fault is FaultState.GROUND_FAULT
        charging.wait(0.29)
        assert charging.orders() == []
        charging.wait(0.02)
        assert charging.orders() == [WithdrawOffer()]

    def test_fault_without_charging_signals_no_state_f(self) -> None:
        machine = machine_in(State.PLUGGED_IN_NO_DEMAND)
        machine.put(GROUND)
        assert SignalUnavailable() not in machine.orders()

    def test_welded_contactor_keeps_state_f(self, charging: Machine) -> None:
        charging.feedback_s = None
        charging.put(B)
        charging.wait(0.6)
        assert SignalUnavailable() in charging.orders()
        charging.wait(60)
        assert set(charging.orders()) == {OpenContactor()}
        assert charging.state.outputs.pilot is PilotOutput.F
        charging.put(e.ContactorReported(False))
        assert charging.orders() == [WithdrawOffer(), UnlockCable()]
        assert charging.state.outputs.pilot is PilotOutput.X1

    def test_state_f_can_be_omitted(self) -> None:
        machine = Machine(EvseSettings(state_f_s=0)).charge()
        machine.put(GROUND)
        assert machine.orders() == [WithdrawOffer(), OpenContactor()]

    def test_state_f_ends_with_fault(self, charging: Machine) -> None:
        charging.put(GROUND)
        charging.take()
        charging.put(e.FaultCleared())
        assert charging.orders() == [WithdrawOffer()]
        assert charging.state.outputs.pilot is PilotOutput.X1
        charging.wait(2.9)
        assert charging.orders() == []
        charging.wait(0.2)
        assert charging.orders() == [OFFER_16, CloseContactor()]


class TestLock:
    def test_plug_unlocks_only_once_contactor_is_open(self, charging: Machine) -> None:
        charging.put(A)
        assert UnlockCable() not in charging.orders()
        charging.wait(0.1)
        assert charging.orders() == [UnlockCable()]

    def test_plug_stays_locked_on_welded_contactor(self, charging: Machine) -> None:
        charging.feedback_s = None
        charging.put(A)
        charging.wait(100)
        assert UnlockCable() not in charging.orders()

    def test_plug_unlocks_five_seconds_after_fault(self, charging: Machine) -> None:
        charging.put(GROUND)
        charging.wait(4.9)
        assert UnlockCable() not in charging.orders()
        charging.wait(0.2)
        assert charging.orders() == [UnlockCable()]

    def test_plug_unlocks_when_disabled_before_charging(self) -> None:
        machine = Machine()
        machine.put(ENABLE, B)
        machine.take()
        machine.put(e.Disable())
        assert machine.orders() == [WithdrawOffer(), UnlockCable()]


class TestWakeUp:
    def test_wake_up_happens_once_per_offer(self) -> None:
        machine = Machine()
        machine.put(ENABLE, B)
        machine.take()
        machine.wait(29.9)
        assert machine.orders() == []
        machine.wait(0.2)
        assert machine.orders() == [WithdrawOffer()]
        assert machine.state.outputs.is_locked
        machine.wait(3.8)
        assert machine.orders() == []
        machine.wait(0.2)
        assert machine.orders() == [OFFER_16]
        machine.wait(1000)
        assert machine.orders() == []

    def test_no_wake_up_after_state_c(self, charging: Machine) -> None:
        charging.put(B)
        charging.wait(0.1)
        charging.take()
        charging.wait(1000)
        assert charging.orders() == []

    def test_wake_up_repeats_for_new_offer(self, charging: Machine) -> None:
        charging.put(B, e.Disable())
        charging.wait(10)
        charging.put(ENABLE)
        charging.take()
        charging.wait(31)
        assert charging.orders() == [WithdrawOffer()]

    def test_wake_up_ends_when_vehicle_responds(self) -> None:
        machine = Machine()
        machine.put(ENABLE, B)
        machine.wait(31)
        machine.take()
        machine.put(C)
        machine.wait(3)
        assert machine.orders() == [OFFER_16, CloseContactor()]


class TestDischarge:
    def test_discharge_follows_state_and_contactor(self) -> None:
        machine = Machine()
        machine.put(e.EnableDischarging(None, Milliamps(10_000)), B, C)
        assert machine.state.state is State.PLUGGED_IN_DISCHARGING
        assert SetDischarge(Milliamps(10_000)) not in machine.orders()
        machine.wait(0.1)
        assert machine.orders() == [SetDischarge(Milliamps(10_000))]
        machine.put(limit(8_000))
        assert SetDischarge(Milliamps(8_000)) in machine.orders()
        machine.put(B)
        assert SetDischarge(None) in machine.orders()


class TestSocket:
    def test_no_offer_without_known_cable(self) -> None:
        machine = Machine(EvseSettings(has_socket=True))
        machine.put(ENABLE, B, C)
        assert machine.orders() == []
        assert machine.state.state is State.PLUGGED_IN_DEMAND
        machine.put(e.CableChanged(Milliamps(13_000)))
        assert machine.orders() == [
            OfferCurrent(Milliamps(13_000)),
            LockCable(),
            CloseContactor(),
        ]

    def test_removed_cable_ends_offer(self) -> None:
        machine = Machine(EvseSettings(has_socket=True))
        machine.put(e.CableChanged(Milliamps(13_000)), ENABLE, B)
        machine.take()
        machine.put(e.CableChanged(None))
        assert machine.orders() == [WithdrawOffer(), UnlockCable()]

    def test_fixed_cable_need_not_be_known(self) -> None:
        machine = Machine(EvseSettings(has_socket=False))
        machine.put(ENABLE, B, C)
        assert CloseContactor() in machine.orders()


def test_self_test_is_refused_during_grace_period(charging: Machine) -> None:
    charging.put(e.Disable())
    assert charging.is_closed
    charging.put(e.StartDiagnostics())
    assert charging.find(BeginDiagnostics) == []
    assert charging.find(Refused) == [Refused("the contactor is not open")]
    charging.wait(7)
    charging.put(e.StartDiagnostics())
    assert charging.find(BeginDiagnostics) == [BeginDiagnostics()]


def test_self_test_is_ordered_once() -> None:
    machine = Machine()
    machine.put(A, e.StartDiagnostics(), e.StartDiagnostics())
    assert machine.orders() == [BeginDiagnostics()]
