"""Charging waits for the start of the plan, in a mode that follows it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from evse_node.matter.tlv import TlvValue
from evse_node.state_machine.names import State, SupplyState
from evse_node.units import Milliamps
from tests.charger_host import START_UTC_S, ChargerHost

EVERY_DAY = 0x7F
TIME_OF_USE = 0x06


def scheduled(**options: object) -> ChargerHost:
    """10:00 UTC; 70 kWh battery at 40 %; target 20:00 with 50 %; 32 A on one phase."""
    host = ChargerHost(**options)  # type: ignore[arg-type]
    host.trigger(TIME_OF_USE)
    host.backend.set_battery(soc_percent=40, capacity_mwh=70_000_000)  # type: ignore[arg-type]
    daily: list[TlvValue] = [{0: EVERY_DAY, 1: [{0: 20 * 60, 1: 50}]}]
    host.invoke("SetTargets", daily)
    host.invoke("EnableCharging", None, 6_000, 32_000)
    return host


def start_in_s(host: ChargerHost) -> int:
    start = host.read("NextChargeStartTime")
    assert isinstance(start, int)
    return start - host.epoch_s


# 7 kWh at 7.36 kW are 3423 s, with 15 minutes to spare before 20:00.
WAIT_S = 10 * 3600 - 3423 - 900


def test_waits_for_the_start() -> None:
    host = scheduled()
    host.backend.plug_in()
    host.backend.demand()
    assert start_in_s(host) == pytest.approx(WAIT_S, abs=2)
    assert host.charger.snapshot().state is State.PLUGGED_IN_DEMAND
    assert host.charger.snapshot().supply_state is SupplyState.CHARGING_ENABLED
    assert host.charger.snapshot().is_held
    host.run(WAIT_S - 10)
    assert host.charger.snapshot().state is State.PLUGGED_IN_DEMAND
    host.run(20)
    assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING


def test_is_not_held_again_once_it_began() -> None:
    host = scheduled()
    host.backend.plug_in()
    host.backend.demand()
    host.run(WAIT_S + 10)
    for _ in range(60):
        host.run(60)
        assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING
    # Half full, and the next target is tomorrow's: it waits again, after 20:00.
    host.run(10 * 3600 - WAIT_S - 3600)
    assert host.charger.snapshot().is_held


def test_manual_mode_does_not_wait() -> None:
    host = scheduled()
    host.trigger(0x21)
    host.backend.plug_in()
    host.backend.demand()
    assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING


def test_without_targets_there_is_nothing_to_wait_for() -> None:
    host = scheduled()
    host.invoke("ClearTargets")
    host.backend.plug_in()
    host.backend.demand()
    assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING


def test_without_a_clock_it_does_not_wait() -> None:
    host = scheduled(has_clock=False)
    host.backend.plug_in()
    host.backend.demand()
    assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING
    assert host.read("NextChargeTargetTime") is None
    host.has_clock = True
    host.run(31)
    assert host.read("NextChargeTargetTime") is not None


def test_a_full_enough_vehicle_waits_for_good() -> None:
    host = scheduled()
    host.backend.set_battery(soc_percent=60)
    host.backend.plug_in()
    host.backend.demand()
    assert host.read("NextChargeStartTime") is None
    assert host.charger.snapshot().is_held


def test_the_start_is_put_off_by_chance() -> None:
    host = scheduled(draw=0.5)
    host.write("RandomizationDelayWindow", 600)
    host.backend.plug_in()
    host.backend.demand()
    host.run(WAIT_S + 290)
    assert host.charger.snapshot().state is State.PLUGGED_IN_DEMAND
    host.run(20)
    assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING


def test_chance_does_not_cost_the_target() -> None:
    host = scheduled(draw=0.999)
    host.backend.car.charger_maximum_ma = Milliamps(32_000)
    host.write("RandomizationDelayWindow", 86_400)
    host.backend.plug_in()
    host.backend.demand()
    host.run(10 * 3600 - 60)
    assert host.backend.status()["soc_percent"] >= 50


def test_nor_is_a_late_start_put_off() -> None:
    host = scheduled(draw=0.999)
    host.run(WAIT_S + 600)
    host.backend.plug_in()
    host.backend.demand()
    host.run(1)
    assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING


def test_after_the_target_comes_the_next_day() -> None:
    host = scheduled()
    host.backend.plug_in()
    target = host.read("NextChargeTargetTime")
    assert isinstance(target, int)
    host.run(10 * 3600 + 1)
    assert host.read("NextChargeTargetTime") == target + 24 * 3600


def test_minutes_count_where_the_charger_is() -> None:
    from zoneinfo import ZoneInfo

    host = scheduled(zone=ZoneInfo("America/New_York"))
    host.backend.plug_in()
    target = host.read("NextChargeTargetTime")
    assert isinstance(target, int)
    # 20:00 in New York is midnight UTC in summer.
    assert datetime.fromtimestamp(START_UTC_S - host.epoch_s + target, UTC).hour == 0


def test_targets_survive_a_restart() -> None:
    host = scheduled()
    stored = host.targets()
    assert stored
    assert ChargerHost(store=host.store).targets() == stored
    host.invoke("ClearTargets")
    assert ChargerHost(store=host.store).targets() == []
