"""Stories that take more than one step of the machine."""

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
from evse_node.state_machine.session import MeterReading
from evse_node.state_machine.state import EvseSettings
from evse_node.units import EpochSeconds, Milliamps
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
    told,
)

BOTH = EvseSettings(has_enabled_state=True)
NO_SUN = e.LimitClaimed(LimitSource.SOLAR, Milliamps(0), (e.Direction.CHARGE,))
EV, EVSE, OTHER = StoppedReason


def test_energy_and_session_are_counted() -> None:
    machine = Machine()
    machine.put(e.MeterRead(MeterReading(1_000, 0)), ENABLE, B)
    machine.wait(10)
    machine.put(C)
    machine.wait(60)
    machine.put(e.MeterRead(MeterReading(5_500, 0)))
    machine.take()
    machine.put(B)
    stopped = machine.find(EnergyTransferStopped)
    assert [event.energy_charged_mwh for event in stopped] == [4_500]
    machine.put(e.MeterRead(MeterReading(5_600, 0)), C)
    machine.wait(5)
    machine.put(e.MeterRead(MeterReading(6_000, 0)))
    machine.take()
    machine.put(A)
    [stopped_again] = machine.find(EnergyTransferStopped)
    assert (stopped_again.reason, stopped_again.energy_charged_mwh) == (OTHER, 400)
    [gone] = machine.find(EvNotDetected)
    assert gone == EvNotDetected(0, CHARGING, 75, 5_000, 0)


def test_started_tells_the_limit_and_stopped_the_state_before() -> None:
    machine = Machine()
    machine.put(B, C)
    machine.take()
    machine.put(ENABLE)
    assert machine.find(EnergyTransferStarted) == [EnergyTransferStarted(0, CHARGING, 16_000)]
    machine.put(e.Disable())
    assert machine.find(EnergyTransferStopped) == [EnergyTransferStopped(0, CHARGING, EVSE, 0, 0)]


def test_unplugging_while_discharging_counts_what_came_back() -> None:
    machine = machine_in(DISCHARGING)
    machine.put(e.MeterRead(MeterReading(0, 700)))
    machine.put(A)
    [stopped] = machine.find(EnergyTransferStopped)
    assert (stopped.state, stopped.energy_discharged_mwh) == (DISCHARGING, 700)
    [gone] = machine.find(EvNotDetected)
    assert gone.energy_discharged_mwh == 700


def test_the_sessions_values_are_reported_with_each_turn_of_a_visit() -> None:
    machine = Machine().charge()
    for pilot in (B, A, B):
        machine.put(pilot)
        assert machine.find(SessionChanged) == [SessionChanged()]
        machine.take()


class TestPermissions:
    def test_without_end(self) -> None:
        machine = machine_in(CHARGING)
        machine.tell_time(0xFFFF_FFFF)
        assert machine.state.state is CHARGING

    def test_end_of_the_time(self) -> None:
        machine = machine_in(DEMAND)
        machine.put(replace(ENABLE, until=EpochSeconds(1_000)))
        machine.tell_time(999)
        assert machine.state.state is CHARGING
        machine.take()
        machine.tell_time(1_000)
        assert told(machine) == "stop:EVSEStopped"
        assert machine.state.state is DEMAND
        assert machine.state.supply_state is SupplyState.DISABLED
        assert machine.state.charge_limits.current_ma == 0
        assert machine.state.minimum_charge_ma == 0

    def test_a_time_in_the_past_ends_with_the_next_look_at_the_clock(self) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(replace(ENABLE, until=EpochSeconds(5)))
        machine.tell_time(1_000)
        assert machine.state.supply_state is SupplyState.DISABLED

    def test_disable_zeroes_everything(self) -> None:
        machine = machine_in(CHARGING)
        machine.put(DISCHARGE, e.Disable())
        state = machine.state
        assert (state.charging, state.discharging, state.minimum_charge_ma) == (None, None, 0)
        assert state.charge_limits.current_ma == state.discharge_limits.current_ma == 0

    @pytest.mark.parametrize("command", [ENABLE, DISCHARGE, e.Disable()])
    @pytest.mark.parametrize("reason", [GROUND, e.StartDiagnostics()])
    def test_refused_in_a_fault_or_self_test(self, command: e.Event, reason: e.Event) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(reason)
        before = machine.state
        machine.take()
        machine.put(command)
        assert machine.state == before
        [effect] = machine.take()
        assert isinstance(effect, Refused)

    @pytest.mark.parametrize("before", [ENABLE, DISCHARGE, GROUND, e.StartDiagnostics()])
    def test_a_self_test_needs_disabled(self, before: e.Event) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(before)
        machine.take()
        machine.put(e.StartDiagnostics())
        assert machine.find(Refused)

    def test_after_a_self_test_nothing_is_enabled(self) -> None:
        machine = machine_in(DEMAND)
        machine.put(e.StartDiagnostics())
        assert machine.state.supply_state is SupplyState.DISABLED_DIAGNOSTICS
        machine.put(e.SelfTestCompleted())
        assert machine.state.supply_state is SupplyState.DISABLED

    def test_a_self_test_without_end_is_a_fault(self) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(e.StartDiagnostics())
        machine.wait(121)
        assert machine.state.fault is FaultState.OTHER
        assert not machine.state.is_diagnosing

    def test_a_fault_in_a_self_test(self) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(e.StartDiagnostics(), GROUND)
        assert machine.state.supply_state is SupplyState.DISABLED_ERROR
        machine.put(e.FaultCleared())
        assert machine.state.supply_state is SupplyState.DISABLED_DIAGNOSTICS

    def test_both_directions(self) -> None:
        machine = machine_in(NO_DEMAND, BOTH)
        machine.put(DISCHARGE)
        assert machine.state.supply_state is SupplyState.DISCHARGING_ENABLED
        machine.put(replace(ENABLE, until=EpochSeconds(100)))
        assert machine.state.supply_state is SupplyState.ENABLED
        machine.put(C)
        assert machine.state.state is CHARGING
        machine.take()
        machine.tell_time(100)
        assert machine.state.supply_state is SupplyState.DISCHARGING_ENABLED
        assert machine.state.state is DISCHARGING
        assert told(machine) == "stop:EVSEStopped started"
        assert machine.state.charge_limits.current_ma == 0
        assert machine.state.discharge_limits.current_ma == 10_000

    def test_revision_2_knows_one_direction_at_a_time(self) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(DISCHARGE, ENABLE)
        assert machine.state.supply_state is SupplyState.CHARGING_ENABLED
        assert machine.state.discharging is None
        assert machine.state.discharge_limits.current_ma == 0
        machine.put(DISCHARGE)
        assert machine.state.supply_state is SupplyState.DISCHARGING_ENABLED
        assert (machine.state.charging, machine.state.minimum_charge_ma) == (None, 0)

    @pytest.mark.parametrize("reason", [e.ChargingHeld(True), NO_SUN])
    def test_a_vehicle_that_waits_to_be_charged_is_not_emptied(self, reason: e.Event) -> None:
        machine = machine_in(NO_DEMAND, BOTH)
        machine.put(DISCHARGE, ENABLE, reason, C)
        assert machine.state.state is DEMAND
        machine.put(e.ChargingHeld(False), replace(NO_SUN, current_ma=None))
        assert machine.state.state is CHARGING

    def test_the_discharging_side_ends_first(self) -> None:
        machine = machine_in(NO_DEMAND, BOTH)
        machine.put(ENABLE, replace(DISCHARGE, until=EpochSeconds(100)), C)
        machine.take()
        machine.tell_time(100)
        assert machine.state.state is CHARGING
        assert machine.state.supply_state is SupplyState.CHARGING_ENABLED
        assert machine.state.minimum_charge_ma == 6_000
        assert told(machine) == ""

    def test_the_other_direction_after_a_fault(self) -> None:
        machine = machine_in(NO_DEMAND, BOTH)
        machine.put(DISCHARGE, replace(ENABLE, until=EpochSeconds(100)), C, GROUND)
        machine.tell_time(100)
        machine.put(e.FaultCleared())
        assert machine.state.state is DISCHARGING

    def test_enabling_charging_does_not_turn_a_discharge_around(self) -> None:
        machine = machine_in(DISCHARGING, BOTH)
        machine.put(ENABLE)
        assert machine.state.state is DISCHARGING
        assert machine.state.supply_state is SupplyState.ENABLED

    def test_asking_for_a_discharge_turns_charging_around(self) -> None:
        machine = machine_in(CHARGING, BOTH)
        machine.put(DISCHARGE)
        assert machine.state.state is CHARGING
        machine.put(e.DischargeRequested(True))
        assert machine.state.state is DISCHARGING
        machine.put(e.DischargeRequested(False))
        assert machine.state.state is CHARGING

    def test_a_discharge_that_is_not_allowed_is_asked_for_in_vain(self) -> None:
        machine = machine_in(CHARGING, BOTH)
        machine.put(e.DischargeRequested(True))
        assert machine.state.state is CHARGING
        machine.put(A, B, C)
        assert machine.state.state is CHARGING
        machine.put(DISCHARGE, A, B, C)
        assert machine.state.state is DISCHARGING

    def test_asked_for_is_no_permission_to_charge(self) -> None:
        machine = machine_in(DISCHARGING)
        machine.put(e.DischargeRequested(True), e.DischargeRequested(False))
        assert machine.state.state is DISCHARGING


class TestLimits:
    def test_too_little_to_begin(self) -> None:
        machine = machine_in(DEMAND)
        machine.put(replace(ENABLE, minimum_ma=Milliamps(0), maximum_ma=Milliamps(5_000)))
        assert machine.state.state is DEMAND
        assert machine.state.supply_state is SupplyState.CHARGING_ENABLED
        machine.put(ENABLE)
        assert machine.state.state is CHARGING

    def test_cable_comes_later(self) -> None:
        machine = machine_in(CHARGING)
        machine.put(e.CableChanged(Milliamps(13_000)))
        assert machine.state.charge_limits.current_ma == 13_000
        assert machine.state.charge_limits.lowest.source is LimitSource.CABLE
        machine.put(A, e.CableChanged(None))
        assert machine.state.charge_limits.current_ma == 16_000
        assert machine.state.state is NONE

    def test_a_schedule_holds_and_lets_go(self) -> None:
        machine = Machine()
        machine.put(e.ChargingHeld(True), ENABLE, B, C)
        assert machine.state.state is DEMAND
        assert machine.state.supply_state is SupplyState.CHARGING_ENABLED
        machine.put(e.ChargingHeld(False))
        assert machine.state.state is CHARGING

    def test_ventilation(self) -> None:
        machine = Machine(EvseSettings(has_ventilation=True))
        machine.put(ENABLE, B, D)
        assert machine.state.state is CHARGING

    def test_ventilation_no_longer_needed(self) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(ENABLE, D)
        assert machine.state.state is DEMAND
        machine.put(C)
        assert machine.state.state is CHARGING


class TestFaults:
    def test_charging_goes_on_without_notice(self) -> None:
        machine = machine_in(CHARGING)
        machine.put(GROUND, e.FaultRaised(FaultState.OVER_TEMPERATURE))
        changes = machine.find(FaultChanged)
        assert [(each.state, each.previous, each.current) for each in changes] == [
            (CHARGING, FaultState.NO_ERROR, FaultState.GROUND_FAULT),
            (FAULT, FaultState.GROUND_FAULT, FaultState.OVER_TEMPERATURE),
        ]
        machine.take()
        machine.put(e.FaultCleared())
        assert told(machine) == "fault"
        assert machine.state.state is CHARGING
        machine.put(B)
        assert told(machine) == "stop:EVStopped"

    def test_one_of_two_goes(self) -> None:
        machine = machine_in(CHARGING)
        machine.put(GROUND, e.FaultRaised(FaultState.OVER_TEMPERATURE))
        machine.take()
        machine.put(e.FaultCleared(FaultState.OVER_TEMPERATURE))
        assert machine.find(FaultChanged) == [
            FaultChanged(0, FAULT, FaultState.OVER_TEMPERATURE, FaultState.GROUND_FAULT)
        ]
        assert machine.state.state is FAULT

    def test_an_older_one_goes_unseen(self) -> None:
        machine = machine_in(CHARGING)
        machine.put(GROUND, e.FaultRaised(FaultState.OVER_TEMPERATURE))
        machine.take()
        machine.put(e.FaultCleared(FaultState.GROUND_FAULT))
        assert told(machine) == ""
        assert machine.state.fault is FaultState.OVER_TEMPERATURE

    def test_the_same_again_is_refused(self) -> None:
        machine = machine_in(FAULT)
        machine.put(GROUND)
        assert machine.find(Refused)

    def test_without_a_session_there_is_no_id(self) -> None:
        machine = machine_in(NONE)
        machine.put(GROUND)
        [change] = machine.find(FaultChanged)
        assert change.session_id is None

    def test_demand_ends_in_a_fault(self) -> None:
        machine = machine_in(CHARGING)
        machine.put(GROUND)
        machine.take()
        machine.put(B)
        assert told(machine) == "stop:EVSEStopped"
        machine.put(e.FaultCleared())
        assert machine.state.state is NO_DEMAND
        machine.put(C)
        assert machine.state.state is CHARGING

    def test_unplugged_in_a_fault(self) -> None:
        machine = machine_in(CHARGING)
        machine.put(GROUND)
        machine.take()
        machine.put(A)
        assert told(machine) == "stop:Other gone"
        assert machine.state.state is FAULT
        machine.put(B)
        assert told(machine) == "connected"
        assert machine.state.state is FAULT
        machine.put(C, e.FaultCleared())
        assert told(machine) == "fault started"
        assert machine.state.state is CHARGING

    def test_permission_ends_in_a_fault(self) -> None:
        machine = machine_in(DEMAND)
        machine.put(replace(ENABLE, until=EpochSeconds(100)), GROUND)
        machine.tell_time(100)
        machine.take()
        machine.put(e.FaultCleared())
        assert told(machine) == "fault stop:EVSEStopped"
        assert machine.state.state is DEMAND
        assert machine.state.supply_state is SupplyState.DISABLED

    def test_a_pilot_fault_lasts_until_the_vehicle_is_gone(self) -> None:
        machine = machine_in(CHARGING)
        machine.put(E)
        assert machine.state.fault is FaultState.PILOT_SHORT_CIRCUIT
        machine.put(e.FaultCleared())
        assert machine.state.fault is FaultState.PILOT_SHORT_CIRCUIT
        machine.put(C)
        assert machine.state.state is FAULT
        machine.take()
        machine.put(A)
        assert told(machine) == "stop:Other gone fault"
        assert machine.state.state is NONE

    def test_a_cable_pulled_under_load_is_forgiven_with_the_next_vehicle(self) -> None:
        machine = machine_in(CHARGING)
        machine.put(e.CableChanged(None))
        assert machine.state.fault is FaultState.EV_DISCONNECTED
        machine.put(A)
        assert machine.state.state is NONE
        assert machine.state.fault is FaultState.NO_ERROR


class TestVehicle:
    def test_what_a_vehicle_tells_is_forgotten_with_it(self) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(e.BatteryReported(40, None), e.VehicleIdentified("me"))
        assert machine.state.vehicle.state_of_charge_percent == 40
        machine.put(A)
        assert machine.state.vehicle.id is None
        assert machine.state.vehicle.state_of_charge_percent is None

    def test_an_empty_id_is_none(self) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(e.VehicleIdentified(""))
        assert machine.state.vehicle.id is None


class TestRestart:
    def test_the_session_goes_on(self) -> None:
        machine = machine_in(NO_DEMAND)
        state = replace(machine.state, pilot=None, state=NONE)
        state, effects = step(state, e.PilotChanged(C), 50.0)
        assert state.state is DEMAND
        assert effects == ()

    def test_the_vehicle_left_meanwhile(self) -> None:
        machine = machine_in(NO_DEMAND)
        state = replace(machine.state, pilot=None, state=NONE)
        state, effects = step(state, e.PilotChanged(A), 50.0)
        assert state.state is NONE
        [gone, _] = effects
        assert gone == EvNotDetected(0, NO_DEMAND, 50, 0, 0)


class TestReset:
    @pytest.mark.parametrize("state", USED_STATES)
    def test_is_quiet_and_complete(self, state: State) -> None:
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

    def test_session_ids_go_on(self) -> None:
        machine = machine_in(NO_DEMAND)
        machine.put(e.Reset(), B)
        assert machine.find(EvConnected) == [EvConnected(1)]
