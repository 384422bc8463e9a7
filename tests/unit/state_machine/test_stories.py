"""Sequences of several steps."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from evse_node.state_machine import events as e
from evse_node.state_machine.effects import (
    EnergyTransferStarted,
    EnergyTransferStopped,
    EvConnected,
    EvNotDetected,
    FaultChanged,
    Refused,
    SessionChanged,
)
from evse_node.state_machine.enums import State, StoppedReason, SupplyState
from evse_node.state_machine.evse import step
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.state import EvseSettings
from evse_node.units import EpochSeconds, Milliamps, MilliwattHours
from tests.unit.state_machine.machine import (
    CHARGING,
    DEMAND,
    DISCHARGE,
    DISCHARGING,
    ENABLE,
    FAULT,
    GROUND,
    NO_DEMAND,
    NONE,
    USED_STATES,
    A,
    B,
    C,
    D,
    E,
    Machine,
    machine_in,
    meter,
    summary,
)

BOTH = EvseSettings(has_enabled_state=True)
NO_SUN = e.LimitClaimed(LimitSource.SOLAR, Milliamps(0), (e.Direction.CHARGE,))
EV, EVSE, OTHER = StoppedReason


def test_session_and_transfer_energies_are_notified() -> None:
    machine = Machine()
    machine.put(e.MeterRead(meter(1_000, 0)), ENABLE, B)
    machine.wait(10)
    machine.put(C)
    machine.wait(60)
    machine.put(e.MeterRead(meter(5_500, 0)))
    machine.take()
    machine.put(B)
    stopped = machine.find(EnergyTransferStopped)
    assert [event.energy_charged_mwh for event in stopped] == [4_500]
    machine.put(e.MeterRead(meter(5_600, 0)), C)
    machine.wait(5)
    machine.put(e.MeterRead(meter(6_000, 0)))
    machine.take()
    machine.put(A)
    [stopped_again] = machine.find(EnergyTransferStopped)
    assert (stopped_again.reason, stopped_again.energy_charged_mwh) == (OTHER, 400)
    [gone] = machine.find(EvNotDetected)
    assert gone == EvNotDetected(0, CHARGING, 75, MilliwattHours(5_000), MilliwattHours(0))


def test_started_has_limit_and_stopped_has_previous_state() -> None:
    machine = Machine()
    machine.put(B, C)
    machine.take()
    machine.put(ENABLE)
    assert machine.find(EnergyTransferStarted) == [
        EnergyTransferStarted(0, CHARGING, Milliamps(16_000))
    ]
    machine.put(e.Disable())
    assert machine.find(EnergyTransferStopped) == [
        EnergyTransferStopped(0, CHARGING, EVSE, MilliwattHours(0), MilliwattHours(0))
    ]


def test_unplugging_while_discharging_reports_discharged_energy() -> None:
    machine = machine_in(DISCHARGING)
    machine.put(e.MeterRead(meter(0, 700)))
    machine.put(A)
    [stopped] = machine.find(EnergyTransferStopped)
    assert (stopped.state, stopped.energy_discharged_mwh) == (DISCHARGING, 700)
    [gone] = machine.find(EvNotDetected)
    assert gone.energy_discharged_mwh == 700


def test_session_changes_are_notified_at_start_stop_and_end() -> None:
    machine = Machine().charge()
    for pilot in (B, A, B):
        machine.put(pilot)
        assert machine.find(SessionChanged) == [SessionChanged()]
        machine.take()


class TestPermissions:
    def test_permission_without_end_stays(self) -> None:
        machine = machine_in(CHARGING)
        machine.set_clock(0xFFFF_FFFF)
        assert machine.state.state is CHARGING

    def test_permission_expires(self) -> None:
        machine = machine_in(DEMAND)
        machine.put(replace(ENABLE, until=EpochSeconds(1_000)))
        machine.set_clock(999)
        assert machine.state.state is CHARGING
        machine.take()
        machine.set_clock(1_000)
        assert summary(machine) == "stop:EVSEStopped"
        assert machine.state.state is DEMAND
        assert machine.state.supply_state is SupplyState.DISABLED
        assert machine.state.charge_limits.current_ma == 0
        assert machine.state.minimum_charge_ma == 0

    def test_permission_until_past_time_expires_with_next_clock_reading(self) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(replace(ENABLE, until=EpochSeconds(5)))
        machine.set_clock(1_000)
        assert machine.state.supply_state is SupplyState.DISABLED

    def test_disable_resets_currents(self) -> None:
        machine = machine_in(CHARGING)
        machine.put(DISCHARGE, e.Disable())
        state = machine.state
        assert (state.charging, state.discharging, state.minimum_charge_ma) == (None, None, 0)
        assert state.charge_limits.current_ma == state.discharge_limits.current_ma == 0

    @pytest.mark.parametrize("command", [ENABLE, DISCHARGE, e.Disable()])
    @pytest.mark.parametrize("reason", [GROUND, e.StartDiagnostics()])
    def test_commands_are_refused_in_fault_or_self_test(
        self, command: e.Event, reason: e.Event
    ) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(reason)
        before = machine.state
        machine.take()
        machine.put(command)
        assert machine.state == before
        [effect] = machine.take()
        assert isinstance(effect, Refused)

    @pytest.mark.parametrize("before", [ENABLE, DISCHARGE, GROUND, e.StartDiagnostics()])
    def test_self_test_requires_disabled_supply(self, before: e.Event) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(before)
        machine.take()
        machine.put(e.StartDiagnostics())
        assert machine.find(Refused)

    def test_supply_is_disabled_after_self_test(self) -> None:
        machine = machine_in(DEMAND)
        machine.put(e.StartDiagnostics())
        assert machine.state.supply_state is SupplyState.DISABLED_DIAGNOSTICS
        machine.put(e.SelfTestCompleted())
        assert machine.state.supply_state is SupplyState.DISABLED

    def test_self_test_timeout_is_fault(self) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(e.StartDiagnostics())
        machine.wait(121)
        assert machine.state.fault is FaultState.OTHER
        assert not machine.state.is_diagnosing

    def test_fault_in_self_test_is_shown(self) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(e.StartDiagnostics(), GROUND)
        assert machine.state.supply_state is SupplyState.DISABLED_ERROR
        machine.put(e.FaultCleared())
        assert machine.state.supply_state is SupplyState.DISABLED_DIAGNOSTICS

    def test_both_directions_are_enabled_in_revision_3(self) -> None:
        machine = machine_in(NO_DEMAND, BOTH)
        machine.put(DISCHARGE)
        assert machine.state.supply_state is SupplyState.DISCHARGING_ENABLED
        machine.put(replace(ENABLE, until=EpochSeconds(100)))
        assert machine.state.supply_state is SupplyState.ENABLED
        machine.put(C)
        assert machine.state.state is CHARGING
        machine.take()
        machine.set_clock(100)
        assert machine.state.supply_state is SupplyState.DISCHARGING_ENABLED
        assert machine.state.state is DISCHARGING
        assert summary(machine) == "stop:EVSEStopped started"
        assert machine.state.charge_limits.current_ma == 0
        assert machine.state.discharge_limits.current_ma == 10_000

    def test_revision_2_enables_one_direction_at_a_time(self) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(DISCHARGE, ENABLE)
        assert machine.state.supply_state is SupplyState.CHARGING_ENABLED
        assert machine.state.discharging is None
        assert machine.state.discharge_limits.current_ma == 0
        machine.put(DISCHARGE)
        assert machine.state.supply_state is SupplyState.DISCHARGING_ENABLED
        assert (machine.state.charging, machine.state.minimum_charge_ma) == (None, 0)

    @pytest.mark.parametrize("reason", [e.ChargingHeld(True), NO_SUN])
    def test_vehicle_waiting_for_charge_is_not_discharged(self, reason: e.Event) -> None:
        machine = machine_in(NO_DEMAND, BOTH)
        machine.put(DISCHARGE, ENABLE, reason, C)
        assert machine.state.state is DEMAND
        machine.put(e.ChargingHeld(False), replace(NO_SUN, current_ma=None))
        assert machine.state.state is CHARGING

    def test_discharging_expires_before_charging(self) -> None:
        machine = machine_in(NO_DEMAND, BOTH)
        machine.put(ENABLE, replace(DISCHARGE, until=EpochSeconds(100)), C)
        machine.take()
        machine.set_clock(100)
        assert machine.state.state is CHARGING
        assert machine.state.supply_state is SupplyState.CHARGING_ENABLED
        assert machine.state.minimum_charge_ma == 6_000
        assert summary(machine) == ""

    def test_other_direction_starts_after_fault(self) -> None:
        machine = machine_in(NO_DEMAND, BOTH)
        machine.put(DISCHARGE, replace(ENABLE, until=EpochSeconds(100)), C, GROUND)
        machine.set_clock(100)
        machine.put(e.FaultCleared())
        assert machine.state.state is DISCHARGING

    def test_enabling_charging_does_not_reverse_discharge(self) -> None:
        machine = machine_in(DISCHARGING, BOTH)
        machine.put(ENABLE)
        assert machine.state.state is DISCHARGING
        assert machine.state.supply_state is SupplyState.ENABLED

    def test_discharge_request_reverses_charge(self) -> None:
        machine = machine_in(CHARGING, BOTH)
        machine.put(DISCHARGE)
        assert machine.state.state is CHARGING
        machine.put(e.DischargeRequested(True))
        assert machine.state.state is DISCHARGING
        machine.put(e.DischargeRequested(False))
        assert machine.state.state is CHARGING

    def test_discharge_request_without_permission_changes_nothing(self) -> None:
        machine = machine_in(CHARGING, BOTH)
        machine.put(e.DischargeRequested(True))
        assert machine.state.state is CHARGING
        machine.put(A, B, C)
        assert machine.state.state is CHARGING
        machine.put(DISCHARGE, A, B, C)
        assert machine.state.state is DISCHARGING

    def test_discharge_request_is_no_permission(self) -> None:
        machine = machine_in(DISCHARGING)
        machine.put(e.DischargeRequested(True), e.DischargeRequested(False))
        assert machine.state.state is DISCHARGING


class TestLimits:
    def test_limit_below_minimum_does_not_start(self) -> None:
        machine = machine_in(DEMAND)
        machine.put(replace(ENABLE, minimum_ma=Milliamps(0), maximum_ma=Milliamps(5_000)))
        assert machine.state.state is DEMAND
        assert machine.state.supply_state is SupplyState.CHARGING_ENABLED
        machine.put(ENABLE)
        assert machine.state.state is CHARGING

    def test_cable_reported_later_starts_transfer(self) -> None:
        machine = machine_in(CHARGING)
        machine.put(e.CableChanged(Milliamps(13_000)))
        assert machine.state.charge_limits.current_ma == 13_000
        assert machine.state.charge_limits.lowest.source is LimitSource.CABLE
        machine.put(A, e.CableChanged(None))
        assert machine.state.charge_limits.current_ma == 16_000
        assert machine.state.state is NONE

    def test_schedule_holds_and_releases_charging(self) -> None:
        machine = Machine()
        machine.put(e.ChargingHeld(True), ENABLE, B, C)
        assert machine.state.state is DEMAND
        assert machine.state.supply_state is SupplyState.CHARGING_ENABLED
        machine.put(e.ChargingHeld(False))
        assert machine.state.state is CHARGING

    def test_state_d_charges_with_ventilation(self) -> None:
        machine = Machine(EvseSettings(has_ventilation=True))
        machine.put(ENABLE, B, D)
        assert machine.state.state is CHARGING

    def test_change_from_state_d_to_c_starts_charging(self) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(ENABLE, D)
        assert machine.state.state is DEMAND
        machine.put(C)
        assert machine.state.state is CHARGING


class TestFaults:
    def test_transfer_continues_after_fault_without_notification(self) -> None:
        machine = machine_in(CHARGING)
        machine.put(GROUND, e.FaultRaised(FaultState.OVER_TEMPERATURE))
        changes = machine.find(FaultChanged)
        assert [(each.state, each.previous, each.current) for each in changes] == [
            (CHARGING, FaultState.NO_ERROR, FaultState.GROUND_FAULT),
            (FAULT, FaultState.GROUND_FAULT, FaultState.OVER_TEMPERATURE),
        ]
        machine.take()
        machine.put(e.FaultCleared())
        assert summary(machine) == "fault"
        assert machine.state.state is CHARGING
        machine.put(B)
        assert summary(machine) == "stop:EVStopped"

    def test_state_stays_fault_while_one_remains(self) -> None:
        machine = machine_in(CHARGING)
        machine.put(GROUND, e.FaultRaised(FaultState.OVER_TEMPERATURE))
        machine.take()
        machine.put(e.FaultCleared(FaultState.OVER_TEMPERATURE))
        assert machine.find(FaultChanged) == [
            FaultChanged(0, FAULT, FaultState.OVER_TEMPERATURE, FaultState.GROUND_FAULT)
        ]
        assert machine.state.state is FAULT

    def test_clearing_older_fault_is_not_notified(self) -> None:
        machine = machine_in(CHARGING)
        machine.put(GROUND, e.FaultRaised(FaultState.OVER_TEMPERATURE))
        machine.take()
        machine.put(e.FaultCleared(FaultState.GROUND_FAULT))
        assert summary(machine) == ""
        assert machine.state.fault is FaultState.OVER_TEMPERATURE

    def test_present_fault_is_refused(self) -> None:
        machine = machine_in(FAULT)
        machine.put(GROUND)
        assert machine.find(Refused)

    def test_fault_without_session_has_no_session_id(self) -> None:
        machine = machine_in(NONE)
        machine.put(GROUND)
        [change] = machine.find(FaultChanged)
        assert change.session_id is None

    def test_transfer_stops_when_demand_ends_in_fault(self) -> None:
        machine = machine_in(CHARGING)
        machine.put(GROUND)
        machine.take()
        machine.put(B)
        assert summary(machine) == "stop:EVSEStopped"
        machine.put(e.FaultCleared())
        assert machine.state.state is NO_DEMAND
        machine.put(C)
        assert machine.state.state is CHARGING

    def test_session_ends_when_unplugged_in_fault(self) -> None:
        machine = machine_in(CHARGING)
        machine.put(GROUND)
        machine.take()
        machine.put(A)
        assert summary(machine) == "stop:Other gone"
        assert machine.state.state is FAULT
        machine.put(B)
        assert summary(machine) == "connected"
        assert machine.state.state is FAULT
        machine.put(C, e.FaultCleared())
        assert summary(machine) == "fault started"
        assert machine.state.state is CHARGING

    def test_transfer_stops_after_fault_when_permission_ended(self) -> None:
        machine = machine_in(DEMAND)
        machine.put(replace(ENABLE, until=EpochSeconds(100)), GROUND)
        machine.set_clock(100)
        machine.take()
        machine.put(e.FaultCleared())
        assert summary(machine) == "fault stop:EVSEStopped"
        assert machine.state.state is DEMAND
        assert machine.state.supply_state is SupplyState.DISABLED

    def test_pilot_fault_lasts_until_unplugging(self) -> None:
        machine = machine_in(CHARGING)
        machine.put(E)
        assert machine.state.fault is FaultState.PILOT_SHORT_CIRCUIT
        machine.put(e.FaultCleared())
        assert machine.state.fault is FaultState.PILOT_SHORT_CIRCUIT
        machine.put(C)
        assert machine.state.state is FAULT
        machine.take()
        machine.put(A)
        assert summary(machine) == "stop:Other gone fault"
        assert machine.state.state is NONE

    def test_cable_removed_under_load_is_fault_until_unplugging(self) -> None:
        machine = machine_in(CHARGING)
        machine.put(e.CableChanged(None))
        assert machine.state.fault is FaultState.EV_DISCONNECTED
        machine.put(A)
        assert machine.state.state is NONE
        assert machine.state.fault is FaultState.NO_ERROR


class TestVehicle:
    def test_vehicle_data_is_cleared_with_unplugging(self) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(e.BatteryReported(40, None), e.VehicleIdentified("me"))
        assert machine.state.vehicle.state_of_charge_percent == 40
        machine.put(A)
        assert machine.state.vehicle.id is None
        assert machine.state.vehicle.state_of_charge_percent is None

    def test_empty_vehicle_id_is_none(self) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(e.VehicleIdentified(""))
        assert machine.state.vehicle.id is None


class TestRestart:
    def test_session_continues_without_notification(self) -> None:
        machine = machine_in(NO_DEMAND)
        state = replace(machine.state, pilot=None, state=NONE)
        state, effects = step(state, e.PilotChanged(C), 50.0)
        assert state.state is DEMAND
        assert effects == ()

    def test_session_ends_when_vehicle_left_meanwhile(self) -> None:
        machine = machine_in(NO_DEMAND)
        state = replace(machine.state, pilot=None, state=NONE)
        state, effects = step(state, e.PilotChanged(A), 50.0)
        assert state.state is NONE
        [gone, _] = effects
        assert gone == EvNotDetected(0, NO_DEMAND, 50, MilliwattHours(0), MilliwattHours(0))


class TestReset:
    @pytest.mark.parametrize("state", USED_STATES)
    def test_reset_is_silent_and_complete(self, state: State) -> None:
        machine = machine_in(state)
        machine.put(e.Reset())
        machine.wait(1)
        assert machine.notifications() == []
        left = machine.state
        assert (left.state, left.supply_state, left.fault) == (
            NONE,
            SupplyState.DISABLED,
            FaultState.NO_ERROR,
        )
        assert left.charge_limits.claim(LimitSource.CIRCUIT) == 32_000
        assert left.charge_limits.current_ma == left.discharge_limits.current_ma == 0
        assert not machine.is_closed

    def test_session_ids_continue_after_reset(self) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(e.Reset(), B)
        assert machine.find(EvConnected) == [EvConnected(1)]
