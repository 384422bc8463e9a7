"""Test mode: a play vehicle on hardware that is put to rest."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from evse_node.cluster.servers.energy.energy_evse_mode import SOLAR_CHARGING
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


def play(host: ChargerHost) -> None:
    host.trigger(PLUG_IN)
    host.charger.handle(ENABLE, host.now)
    host.trigger(DEMAND)
    host.run(4)  # PWM begins at least 3 s after the last one ended
    assert host.charger.snapshot().contactor is ContactorState.CLOSED


def charge_for_real(host: ChargerHost) -> None:
    host.charger.handle(ENABLE, host.now)
    host.backend.plug_in()
    host.backend.demand()
    host.run(1)
    assert host.backend.status()["contactor"] == "closed"


def test_no_contactor_closes_for_a_play_vehicle(host: ChargerHost) -> None:
    host.trigger(BASIC)
    play(host)
    status = host.backend.status()
    assert (status["contactor"], status["output"], status["is_locked"]) == ("open", "X1", False)


def test_nor_with_a_real_vehicle_that_waits(host: ChargerHost) -> None:
    host.backend.plug_in()
    host.backend.demand()
    host.trigger(BASIC)
    play(host)
    assert host.backend.status()["contactor"] == "open"


def test_entering_stops_a_real_charge(host: ChargerHost) -> None:
    charge_for_real(host)
    host.trigger(BASIC)
    host.run(1)
    assert host.backend.status()["contactor"] == "open"
    assert host.backend.status()["output"] == "X1"
    play(host)
    host.run(10)
    assert host.backend.status()["contactor"] == "open"


def test_the_real_hardware_is_not_heard(host: ChargerHost) -> None:
    host.trigger(BASIC)
    host.notifications.clear()
    host.backend.plug_in()
    host.backend.fault("GroundFault")
    host.run(1)
    assert host.charger.snapshot().state is State.NOT_PLUGGED_IN
    assert host.notifications == []


def test_a_card_is(host: ChargerHost) -> None:
    host.trigger(BASIC)
    host.backend.tap(b"\x01")
    assert host.notifications == [RfidRead(b"\x01")]


def test_leaving_takes_up_how_things_are(host: ChargerHost) -> None:
    charge_for_real(host)
    host.trigger(BASIC)
    host.run(1)
    play(host)
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


def test_what_was_enabled_for_play_does_not_hold(host: ChargerHost) -> None:
    host.backend.plug_in()
    host.backend.demand()
    host.trigger(BASIC)
    play(host)
    host.trigger(BASIC_CLEAR)
    host.run(10)
    assert host.charger.snapshot().supply_state is SupplyState.DISABLED
    assert host.backend.status()["contactor"] == "open"
    assert host.backend.status()["output"] == "X1"


def test_limits_come_back(host: ChargerHost) -> None:
    host.write("UserMaximumChargeCurrent", 20_000)
    host.trigger(BASIC)
    assert host.read("UserMaximumChargeCurrent") == 32_000
    host.write("UserMaximumChargeCurrent", 6_000)
    host.trigger(BASIC)
    assert host.read("UserMaximumChargeCurrent") == 32_000
    host.trigger(BASIC_CLEAR)
    assert host.read("UserMaximumChargeCurrent") == 20_000
    assert ChargerHost(store=host.store).read("UserMaximumChargeCurrent") == 20_000


def test_a_play_cable_is_gone_in_the_end(host: ChargerHost) -> None:
    # The hardware never told of a cable: it may be a fixed one.
    host.trigger(BASIC)
    play(host)
    assert host.charger.state.charge_limits.claim(LimitSource.CABLE) == 63_000
    host.trigger(BASIC_CLEAR)
    assert host.charger.state.charge_limits.claim(LimitSource.CABLE) is None
    assert host.charger.state.discharge_limits.claim(LimitSource.CABLE) is None
    assert host.charger.snapshot().fault is FaultState.NO_ERROR


def test_a_real_cable_counts_again(host: ChargerHost) -> None:
    host.backend.cable_ma = Milliamps(13_000)
    host.backend.plug_in()
    host.trigger(BASIC)
    play(host)
    host.trigger(BASIC_CLEAR)
    assert host.charger.state.charge_limits.claim(LimitSource.CABLE) == 13_000


def test_a_play_limit_is_not_kept(host: ChargerHost) -> None:
    host.write("UserMaximumChargeCurrent", 20_000)
    host.trigger(BASIC)
    host.write("UserMaximumChargeCurrent", 6_000)
    assert ChargerHost(store=host.store).read("UserMaximumChargeCurrent") == 20_000


def test_the_lock_is_released_in_the_end(host: ChargerHost) -> None:
    charge_for_real(host)
    assert host.backend.status()["is_locked"]
    host.trigger(BASIC)
    host.run(1)
    host.trigger(BASIC_CLEAR)
    host.run(1)
    assert not host.backend.status()["is_locked"]


def test_triggers_without_the_basic_one(host: ChargerHost) -> None:
    play(host)
    assert host.charger.is_test_mode
    assert host.backend.status()["contactor"] == "open"
    host.trigger(DEMAND_CLEAR)
    host.trigger(PLUG_IN_CLEAR)
    assert host.charger.snapshot().state is State.NOT_PLUGGED_IN


def test_clearing_what_was_not_set(host: ChargerHost) -> None:
    charge_for_real(host)
    host.trigger(BASIC_CLEAR)
    host.run(1)
    assert host.backend.status()["contactor"] == "closed"


def test_a_play_fault_goes_with_the_play(host: ChargerHost) -> None:
    host.trigger(BASIC)
    host.trigger(0x10)
    host.trigger(BASIC_CLEAR)
    assert host.charger.snapshot().fault is FaultState.NO_ERROR


def test_the_play_pilot_is_driven_by_events_alone(host: ChargerHost) -> None:
    host.trigger(BASIC)
    host.charger.handle(PilotChanged(PilotState.C), host.now)
    assert host.charger.snapshot().state is State.PLUGGED_IN_DEMAND


def test_codes() -> None:
    codes = {*range(0x07), 0x10, 0x11, 0x12, 0x20, 0x21, 0x30, 0x31, 0x32, 0x40, 0x50}
    assert set(ChargerHost().test_events.triggers) == {0x0099 << 48 | code for code in codes}


def test_vehicle_and_card(host: ChargerHost) -> None:
    host.trigger(BASIC)
    host.trigger(PLUG_IN)
    host.trigger(0x40)
    name = host.read("VehicleID")
    assert isinstance(name, str)
    assert len(name) == 32
    host.recorder.events.clear()
    host.trigger(0x50)
    assert host.next_event() == ("RFID", {"uid": bytes.fromhex("00112233445566778899")})


def test_clock_and_targets_count_for_a_play_vehicle_too(host: ChargerHost) -> None:
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


def test_a_test_that_broke_off_leaves_nothing_behind(host: ChargerHost) -> None:
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
    play(host)  # no schedule holds it back
    host.trigger(0x21)
    assert host.mode.current == before
