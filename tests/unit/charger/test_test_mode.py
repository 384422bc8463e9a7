"""Test mode: a test vehicle replaces the hardware, which is switched off."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from evse_node.cluster.servers.energy.modes import SOLAR_CHARGING
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.effects import EvConnected, RfidRead
from evse_node.state_machine.enums import State, SupplyState
from evse_node.state_machine.events import EnableCharging, PilotChanged
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.state import ContactorState
from evse_node.state_machine.targets import ChargingTarget, ChargingTargetSchedule
from evse_node.units import EpochSeconds, Milliamps
from tests.support.charger.charger_host import ChargerHost

BASIC, BASIC_CLEAR, PLUG_IN, PLUG_IN_CLEAR, DEMAND, DEMAND_CLEAR = range(6)
ENABLE = EnableCharging(None, Milliamps(6_000), Milliamps(16_000))


@pytest.fixture
def host() -> ChargerHost:
    return ChargerHost()


def charge_test_vehicle(host: ChargerHost) -> None:
    host.trigger(PLUG_IN)
    host.charger.handle(ENABLE, host.now)
    host.trigger(DEMAND)
    host.run(4)  # PWM begins at least 3 s after the last one ended
    assert host.charger.snapshot().contactor is ContactorState.CLOSED


def charge_real_vehicle(host: ChargerHost) -> None:
    host.charger.handle(ENABLE, host.now)
    host.backend.plug_in()
    host.backend.demand()
    host.run(1)
    assert host.backend.status()["contactor"] == "closed"


def test_contactor_stays_open_for_test_vehicle(host: ChargerHost) -> None:
    host.trigger(BASIC)
    charge_test_vehicle(host)
    status = host.backend.status()
    assert (status["contactor"], status["output"], status["is_locked"]) == ("open", "X1", False)


def test_contactor_stays_open_for_test_vehicle_while_real_one_waits(host: ChargerHost) -> None:
    host.backend.plug_in()
    host.backend.demand()
    host.trigger(BASIC)
    charge_test_vehicle(host)
    assert host.backend.status()["contactor"] == "open"


def test_entering_test_mode_stops_real_charge(host: ChargerHost) -> None:
    charge_real_vehicle(host)
    host.trigger(BASIC)
    host.run(1)
    assert host.backend.status()["contactor"] == "open"
    assert host.backend.status()["output"] == "X1"
    charge_test_vehicle(host)
    host.run(10)
    assert host.backend.status()["contactor"] == "open"


def test_events_of_real_hardware_are_ignored(host: ChargerHost) -> None:
    host.trigger(BASIC)
    host.notifications.clear()
    host.backend.plug_in()
    host.backend.fault("GroundFault")
    host.run(1)
    assert host.charger.snapshot().state is State.NOT_PLUGGED_IN
    assert host.notifications == []


def test_card_of_real_reader_is_notified(host: ChargerHost) -> None:
    host.trigger(BASIC)
    host.backend.tap(b"\x01")
    assert host.notifications == [RfidRead(b"\x01")]


def test_leaving_test_mode_restores_real_state(host: ChargerHost) -> None:
    charge_real_vehicle(host)
    host.trigger(BASIC)
    host.run(1)
    charge_test_vehicle(host)
    host.backend.fault("OverTemperature")
    host.notifications.clear()
    host.trigger(BASIC_CLEAR)
    host.run(1)
    snapshot = host.charger.snapshot()
    assert snapshot.fault is FaultState.OVER_TEMPERATURE
    assert snapshot.pilot is PilotState.C
    assert snapshot.contactor is ContactorState.OPEN
    host.backend.clear_fault()
    assert host.charger.snapshot().state is State.PLUGGED_IN_DEMAND
    assert host.charger.snapshot().limit.source is LimitSource.COMMAND
    assert host.charger.snapshot().vehicle.id == "SIMULATED-EV-0001"
    assert any(isinstance(notification, EvConnected) for notification in host.notifications)


def test_permission_of_test_mode_ends_with_it(host: ChargerHost) -> None:
    host.backend.plug_in()
    host.backend.demand()
    host.trigger(BASIC)
    charge_test_vehicle(host)
    host.trigger(BASIC_CLEAR)
    host.run(10)
    assert host.charger.snapshot().supply_state is SupplyState.DISABLED
    assert host.backend.status()["contactor"] == "open"
    assert host.backend.status()["output"] == "X1"


def test_limits_are_restored_after_test_mode(host: ChargerHost) -> None:
    host.write("UserMaximumChargeCurrent", 20_000)
    host.trigger(BASIC)
    assert host.read("UserMaximumChargeCurrent") == 32_000
    host.write("UserMaximumChargeCurrent", 6_000)
    host.trigger(BASIC)
    assert host.read("UserMaximumChargeCurrent") == 32_000
    host.trigger(BASIC_CLEAR)
    assert host.read("UserMaximumChargeCurrent") == 20_000
    assert ChargerHost(store=host.store).read("UserMaximumChargeCurrent") == 20_000


def test_cable_of_test_vehicle_is_removed(host: ChargerHost) -> None:
    # The hardware never reported a cable: it may be a fixed one.
    host.trigger(BASIC)
    charge_test_vehicle(host)
    assert host.charger.state.charge_limits.claim(LimitSource.CABLE) == 63_000
    host.trigger(BASIC_CLEAR)
    assert host.charger.state.charge_limits.claim(LimitSource.CABLE) is None
    assert host.charger.state.discharge_limits.claim(LimitSource.CABLE) is None
    assert host.charger.snapshot().fault is FaultState.NO_ERROR


def test_real_cable_is_restored(host: ChargerHost) -> None:
    host.backend.cable_ma = Milliamps(13_000)
    host.backend.plug_in()
    host.trigger(BASIC)
    charge_test_vehicle(host)
    host.trigger(BASIC_CLEAR)
    assert host.charger.state.charge_limits.claim(LimitSource.CABLE) == 13_000


def test_limit_of_test_mode_is_not_stored(host: ChargerHost) -> None:
    host.write("UserMaximumChargeCurrent", 20_000)
    host.trigger(BASIC)
    host.write("UserMaximumChargeCurrent", 6_000)
    assert ChargerHost(store=host.store).read("UserMaximumChargeCurrent") == 20_000


def test_lock_is_released_after_test_mode(host: ChargerHost) -> None:
    charge_real_vehicle(host)
    assert host.backend.status()["is_locked"]
    host.trigger(BASIC)
    host.run(1)
    host.trigger(BASIC_CLEAR)
    host.run(1)
    assert not host.backend.status()["is_locked"]


def test_any_trigger_enters_test_mode(host: ChargerHost) -> None:
    charge_test_vehicle(host)
    assert host.charger.is_test_mode
    assert host.backend.status()["contactor"] == "open"
    host.trigger(DEMAND_CLEAR)
    host.trigger(PLUG_IN_CLEAR)
    assert host.charger.snapshot().state is State.NOT_PLUGGED_IN


def test_clear_trigger_without_test_mode_changes_nothing(host: ChargerHost) -> None:
    charge_real_vehicle(host)
    host.trigger(BASIC_CLEAR)
    host.run(1)
    assert host.backend.status()["contactor"] == "closed"


def test_fault_of_test_mode_ends_with_it(host: ChargerHost) -> None:
    host.trigger(BASIC)
    host.trigger(0x10)
    host.trigger(BASIC_CLEAR)
    assert host.charger.snapshot().fault is FaultState.NO_ERROR


def test_pilot_of_test_vehicle_follows_events(host: ChargerHost) -> None:
    host.trigger(BASIC)
    host.charger.handle(PilotChanged(PilotState.C), host.now)
    assert host.charger.snapshot().state is State.PLUGGED_IN_DEMAND


def test_all_trigger_codes_are_supported() -> None:
    codes = {*range(0x07), 0x10, 0x11, 0x12, 0x20, 0x21, 0x30, 0x31, 0x32, 0x40, 0x50}
    assert set(ChargerHost().test_events.triggers) == {0x0099 << 48 | code for code in codes}


def test_vehicle_id_and_card_triggers_report(host: ChargerHost) -> None:
    host.trigger(BASIC)
    host.trigger(PLUG_IN)
    host.trigger(0x40)
    name = host.read("VehicleID")
    assert isinstance(name, str)
    assert len(name) == 32
    host.recorder.events.clear()
    host.trigger(0x50)
    assert host.next_event() == ("RFID", {"uid": bytes.fromhex("00112233445566778899")})


def test_clock_and_targets_apply_to_test_vehicle(host: ChargerHost) -> None:
    host.mode.change_to_tag(SOLAR_CHARGING, host.now)
    host.trigger(BASIC)
    host.trigger(PLUG_IN)
    until = EpochSeconds(host.epoch_s + 5)
    host.charger.handle(replace(ENABLE, until=until), host.now)
    host.charger.set_targets([ChargingTargetSchedule(0x7F, (ChargingTarget(0, 80),))], host.now)
    host.trigger(DEMAND)
    assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING
    assert host.charger.snapshot().next_charge.target_time is not None
    host.run(5)
    assert host.charger.snapshot().state is State.PLUGGED_IN_DEMAND
    assert host.charger.snapshot().supply_state is SupplyState.DISABLED


def test_aborted_test_is_reset_by_next_one(host: ChargerHost) -> None:
    before = host.mode.current
    target = ChargingTarget(20 * 60, 100, None)
    host.trigger(BASIC)
    host.trigger(0x06)
    assert host.mode.current != before
    host.charger.set_targets([ChargingTargetSchedule(0x7F, (target,))], host.now)
    host.trigger(PLUG_IN)
    host.trigger(0x10)
    assert host.charger.snapshot().fault is FaultState.GROUND_FAULT
    host.trigger(BASIC)
    assert host.mode.current == before
    assert host.charger.snapshot().fault is FaultState.NO_ERROR
    charge_test_vehicle(host)  # no schedule holds it back
    host.trigger(0x21)
    assert host.mode.current == before
