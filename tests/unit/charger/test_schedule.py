"""Charging waits for the planned start, in a mode that follows the schedule."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.matter.tlv import TlvValue
from evse_node.state_machine.effects import EnergyTransferStarted, EnergyTransferStopped
from evse_node.state_machine.enums import State, StoppedReason, SupplyState
from evse_node.state_machine.events import Direction, LimitClaimed
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.session import MeterReading
from evse_node.testing.memory_store import MemoryStore
from evse_node.units import (
    MATTER_EPOCH_UNIX_S,
    EpochSeconds,
    Milliamps,
    MilliwattHours,
    Milliwatts,
)
from tests.support.charger.charger_host import KNOWN, START_UTC_S, ChargerHost, store_with_vehicle

EVERY_DAY = 0x7F
TIME_OF_USE = 0x06


def scheduled(target: TlvValue = None, **options: object) -> ChargerHost:
    """10:00 UTC; 70 kWh battery at 40 %; target 20:00 with 50 %; 32 A on one phase.

    The only expected vehicle drew all of that before.
    """
    known = {"store": store_with_vehicle(), "settings": KNOWN}
    host = ChargerHost(**{**known, **options})  # type: ignore[arg-type]
    host.trigger(TIME_OF_USE)
    host.backend.set_battery(soc_percent=40, capacity_mwh=70_000_000)  # type: ignore[arg-type]
    daily: list[TlvValue] = [{0: EVERY_DAY, 1: [target or {0: 20 * 60, 1: 50}]}]
    host.invoke("SetTargets", daily)
    host.invoke("EnableCharging", None, 6_000, 32_000)
    return host


def plugged_in(target: TlvValue = None, **options: object) -> ChargerHost:
    """Return the scheduled host with a vehicle that requests energy."""
    host = scheduled(target, **options)
    host.backend.plug_in()
    host.backend.demand()
    return host


def start_in_s(host: ChargerHost) -> int:
    start = host.read("NextChargeStartTime")
    assert isinstance(start, int)
    return start - host.epoch_s


# 7 kWh at 7.36 kW take 3423 s, with a margin of 15 minutes before 20:00.
WAIT_S = 10 * 3600 - 3423 - 900


def test_charging_waits_for_start() -> None:
    host = plugged_in()
    assert start_in_s(host) == pytest.approx(WAIT_S, abs=2)
    assert host.charger.snapshot().state is State.PLUGGED_IN_DEMAND
    assert host.charger.snapshot().supply_state is SupplyState.CHARGING_ENABLED
    assert host.charger.snapshot().is_held
    host.run(WAIT_S - 10)
    assert host.charger.snapshot().state is State.PLUGGED_IN_DEMAND
    host.run(20)
    assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING


def test_charging_is_not_held_again_once_begun() -> None:
    host = plugged_in()
    host.run(WAIT_S + 10)
    start = start_in_s(host) + host.epoch_s
    for _ in range(60):
        host.run(60)
        assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING
        assert start_in_s(host) + host.epoch_s == start


def test_missed_target_is_met_late() -> None:
    # The vehicle draws half of the current that the plan relies on.
    host = plugged_in()
    host.run(10 * 3600 + 60)
    assert host.backend.status()["soc_percent"] < 50
    assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING
    assert start_in_s(host) > 20 * 3600  # tomorrow's
    host.run(3600)
    assert host.backend.status()["soc_percent"] == 50
    assert host.charger.snapshot().is_held


def test_missed_target_is_dropped_with_unplugging_or_new_targets() -> None:
    for reason in ("unplug", "targets"):
        host = plugged_in()
        host.run(10 * 3600 + 60)
        assert not host.charger.snapshot().is_held
        if reason == "targets":
            host.charger.set_targets(host.charger.targets, host.now)
        else:
            host.backend.unplug()
            host.run(5)
            host.backend.plug_in()
            host.backend.demand()
            host.run(1)
        assert host.charger.snapshot().is_held


@pytest.mark.parametrize("is_restarted", [False, True])
def test_cleared_target_is_not_missed_target(
    is_restarted: bool,
) -> None:
    host = plugged_in()
    host.run(WAIT_S + 10)
    assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING
    host.charger.clear_targets(host.now)
    host.run(10 * 3600 - WAIT_S)  # it is past 20:00
    host.backend.set_battery(soc_percent=41, capacity_mwh=MilliwattHours(70_000_000))
    if is_restarted:
        host = restarted(host)
    # The same minute of the day as before, but not a target for today.
    host.invoke("SetTargets", [{0: EVERY_DAY, 1: [{0: 20 * 60, 1: 50}]}])
    host.run(60)
    assert start_in_s(host) > 20 * 3600
    assert host.charger.snapshot().is_held


class TestTargetReached:
    def ready(self) -> ChargerHost:
        """Return the host just before 20:00, with a vehicle that draws the full offer."""
        host = scheduled()
        host.backend.car.charger_maximum_ma = Milliamps(32_000)
        host.backend.plug_in()
        host.backend.demand()
        host.run(10 * 3600 - 600)
        return host

    def test_charging_ends_at_target(self) -> None:
        host = self.ready()
        assert host.backend.status()["soc_percent"] == 50
        assert host.backend.status()["contactor"] == "open"
        assert host.charger.snapshot().state is State.PLUGGED_IN_DEMAND
        assert host.charger.snapshot().supply_state is SupplyState.CHARGING_ENABLED
        stopped = [each for each in host.notifications if isinstance(each, EnergyTransferStopped)]
        assert [each.reason for each in stopped] == [StoppedReason.EVSE_STOPPED]
        assert host.read("NextChargeStartTime") is None
        assert host.read("NextChargeTargetSoC") == 50

    def test_charging_restarts_for_next_target(self) -> None:
        host = self.ready()
        night: list[TlvValue] = [{0: EVERY_DAY, 1: [{0: 20 * 60, 1: 50}, {0: 23 * 60, 1: 60}]}]
        host.invoke("SetTargets", night)
        host.run(3600)
        assert host.charger.snapshot().is_held
        host.run(2 * 3600)
        assert host.backend.status()["soc_percent"] == 60
        assert host.charger.snapshot().is_held

    def test_later_target_that_requires_earlier_start_is_met(self) -> None:
        # It is 10:00; 34.3 kWh by 22:00 take 280 min, 0.7 kWh by 20:00 take 6 min.
        host = scheduled()
        both: list[TlvValue] = [{0: EVERY_DAY, 1: [{0: 20 * 60, 1: 41}, {0: 22 * 60, 1: 89}]}]
        host.backend.car.charger_maximum_ma = Milliamps(32_000)
        host.invoke("SetTargets", both)
        host.backend.plug_in()
        host.backend.demand()
        assert start_in_s(host) < 8 * 3600
        host.run(7 * 3600 - 1800)
        assert host.charger.snapshot().is_held
        host.run(3 * 3600)
        assert host.backend.status()["soc_percent"] >= 41
        host.run(12 * 3600 - 10 * 3600 + 1800)
        assert host.backend.status()["soc_percent"] >= 89

    def test_lost_charge_is_charged_again_on_schedule(self) -> None:
        host = scheduled()
        host.backend.set_battery(soc_percent=49)
        host.backend.plug_in()
        host.backend.demand()
        begins_s = start_in_s(host)
        host.run(begins_s + 360)
        assert host.backend.status()["contactor"] == "closed"
        host.run(6 * 60)
        assert host.charger.snapshot().is_held
        host.backend.set_battery(soc_percent=48)
        host.run(60)
        assert host.backend.status()["contactor"] == "closed"  # the latest start has passed
        host.run(12 * 3600)
        host.backend.set_battery(soc_percent=48)
        host.run(60)
        assert host.charger.snapshot().is_held
        assert start_in_s(host) > 10 * 3600

    def test_target_of_100_percent_charges_until_vehicle_stops(self) -> None:
        host = scheduled()
        full: list[TlvValue] = [{0: EVERY_DAY, 1: [{0: 20 * 60, 1: 100}]}]
        host.invoke("SetTargets", full)
        host.backend.set_battery(soc_percent=99)
        host.backend.plug_in()
        host.backend.demand()
        host.run(start_in_s(host) + 60)
        host.backend.set_battery(soc_percent=100)
        host.backend.demand()
        assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING

    def test_added_energy_counts_from_plug_in(self) -> None:
        host = scheduled({0: 20 * 60, 2: 7_000_000}, features=frozenset({"PREF"}))
        host.backend.car.charger_maximum_ma = Milliamps(32_000)
        host.backend.plug_in()
        host.backend.demand()
        assert start_in_s(host) == pytest.approx(WAIT_S, abs=2)
        # Two of seven kilowatt-hours at once: the start moves on accordingly.
        host.trigger(0x21)
        host.run(2_000_000 / 7_360_000 * 3600)
        host.trigger(TIME_OF_USE)
        spent_s = host.now - 1000
        later_s = 2_000_000 * 3600 / 7_360_000
        assert start_in_s(host) == pytest.approx(WAIT_S - spent_s + later_s, abs=250)
        assert host.charger.snapshot().is_held
        host.run(10 * 3600 - spent_s - 300)
        assert host.backend.status()["imported_mwh"] == pytest.approx(7_000_000, rel=0.01)
        assert host.charger.snapshot().is_held
        assert host.read("NextChargeRequiredEnergy") == 7_000_000
        # The next target needs no further energy until the vehicle was unplugged.
        host.run(24 * 3600)
        assert host.backend.status()["imported_mwh"] == pytest.approx(7_000_000, rel=0.01)
        host.backend.unplug()
        host.run(60)
        host.backend.plug_in()
        host.backend.demand()
        assert start_in_s(host) >= 0

    def test_discharged_energy_is_subtracted_from_added_energy(self) -> None:
        host = scheduled({0: 20 * 60, 2: 7_000_000}, features=frozenset({"PREF", "V2X"}))
        host.backend.plug_in()
        both = MeterReading(MilliwattHours(5_000_000), MilliwattHours(2_000_000))
        schedule = host.charger._planner.schedule
        power, now = Milliwatts(7_360_000), EpochSeconds(host.epoch_s)
        assert schedule.update(replace(host.charger.state, meter=both), power, now)
        start_time = schedule.next_charge.start_time
        assert start_time is not None
        assert start_time - now == 10 * 3600 - 4_000_000 * 3600 // 7_360_000 - 900

    def test_manual_mode_charges_beyond_target(self) -> None:
        host = self.ready()
        host.trigger(0x21)
        host.run(10)
        assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING


def test_no_transfer_starts_before_plan_exists() -> None:
    host = scheduled()
    for _ in range(2):
        host.backend.plug_in()
        host.backend.demand()
        host.invoke("Disable")
        host.run(10)
        host.invoke("EnableCharging", None, 6_000, 32_000)
        host.run(10)
        host.backend.unplug()
        host.run(10)
    assert not any(isinstance(each, EnergyTransferStarted) for each in host.notifications)


def test_fault_does_not_change_holding() -> None:
    host = plugged_in()
    for is_held, wait_s in ((True, 60), (False, WAIT_S)):
        host.run(wait_s)
        assert host.charger.snapshot().is_held is is_held
        host.backend.fault("GroundFault")
        host.run(5)
        assert host.charger.snapshot().is_held is is_held
        host.notifications.clear()
        host.backend.clear_fault()
        host.run(30)
        assert host.charger.snapshot().is_held is is_held
        # No transfer is notified as started or stopped.
        moves = (EnergyTransferStarted, EnergyTransferStopped)
        assert not any(isinstance(each, moves) for each in host.notifications)


def test_charging_does_not_wait_in_manual_mode() -> None:
    host = scheduled()
    host.trigger(0x21)
    host.backend.plug_in()
    host.backend.demand()
    assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING


def test_charging_does_not_wait_without_targets() -> None:
    host = scheduled()
    host.invoke("ClearTargets")
    host.backend.plug_in()
    host.backend.demand()
    assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING


def test_charging_does_not_wait_without_clock() -> None:
    host = plugged_in(has_clock=False)
    assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING
    assert host.read("NextChargeTargetTime") is None
    host.has_clock = True
    host.run(31)
    assert host.read("NextChargeTargetTime") is not None


def test_vehicle_above_target_is_held() -> None:
    host = scheduled()
    host.backend.set_battery(soc_percent=60)
    host.backend.plug_in()
    host.backend.demand()
    assert host.read("NextChargeStartTime") is None
    assert host.charger.snapshot().is_held


def test_start_is_delayed_at_random() -> None:
    host = scheduled(draw=0.5)
    host.write("RandomizationDelayWindow", 600)
    host.backend.plug_in()
    host.backend.demand()
    host.run(WAIT_S + 290)
    assert host.charger.snapshot().state is State.PLUGGED_IN_DEMAND
    host.run(20)
    assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING


def test_random_delay_keeps_target() -> None:
    host = scheduled(draw=0.999)
    host.backend.car.charger_maximum_ma = Milliamps(32_000)
    host.write("RandomizationDelayWindow", 86_400)
    host.backend.plug_in()
    host.backend.demand()
    host.run(10 * 3600 - 60)
    assert host.backend.status()["soc_percent"] >= 50


def test_late_start_is_not_delayed() -> None:
    host = scheduled(draw=0.999)
    host.run(WAIT_S + 600)
    host.backend.plug_in()
    host.backend.demand()
    host.run(1)
    assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING


def test_clock_set_back_selects_earlier_target() -> None:
    host = plugged_in()
    host.run(60)
    target = host.read("NextChargeTargetTime")
    assert isinstance(target, int)
    host.set_clock(START_UTC_S - 24 * 3600)
    host.run(61)
    assert host.read("NextChargeTargetTime") == target - 24 * 3600


def test_target_recurs_next_day() -> None:
    host = scheduled()
    host.backend.plug_in()
    target = host.read("NextChargeTargetTime")
    assert isinstance(target, int)
    host.run(10 * 3600 + 1)
    assert host.read("NextChargeTargetTime") == target + 24 * 3600


def test_target_minutes_follow_time_zone() -> None:
    from zoneinfo import ZoneInfo

    host = scheduled(zone=ZoneInfo("America/New_York"))
    host.backend.plug_in()
    target = host.read("NextChargeTargetTime")
    assert isinstance(target, int)
    # 20:00 in New York is midnight UTC in summer.
    assert datetime.fromtimestamp(START_UTC_S - host.epoch_s + target, UTC).hour == 0


def restarted(host: ChargerHost, seconds: float = 60, *, has_clock: bool = True) -> ChargerHost:
    """Return a host after a power cut; the vehicle stays connected."""
    host.backend.board.connect(None)
    host.backend.board.open()
    now = host.now + seconds
    hosts: list[ChargerHost] = []
    backend = SimulatedBackend(clock=lambda: hosts[0].now if hosts else now, car=host.backend.car)
    again = ChargerHost(
        store=MemoryStore(dict(host.store.items(""))),
        backend=backend,
        now=now,
        unix_s=host.epoch_s + seconds + MATTER_EPOCH_UNIX_S,
        draw=0.9,
        has_clock=has_clock,
        settings=KNOWN,
    )
    hosts.append(again)
    return again


class TestRestart:
    def test_held_vehicle_is_held_after_restart(self) -> None:
        host = plugged_in()
        host.run(100)
        start = start_in_s(host) + host.epoch_s
        again = restarted(host)
        again.run(60)
        assert start_in_s(again) + again.epoch_s == start
        assert again.charger.snapshot().is_held
        # Not even before the first report of the battery.
        assert not any(isinstance(each, EnergyTransferStarted) for each in again.notifications)

    def test_held_vehicle_stays_held_until_clock_is_known(self) -> None:
        host = plugged_in()
        host.run(100)
        unix_s = host.epoch_s + MATTER_EPOCH_UNIX_S
        start = start_in_s(host) + host.epoch_s
        for clock_known_after_s in (300, None):
            again = restarted(host, has_clock=False)
            again.run(300)
            assert again.charger.snapshot().is_held
            if clock_known_after_s is not None:
                again.set_clock(unix_s + 400)
            again.run(400)
            is_charging = again.charger.snapshot().state is State.PLUGGED_IN_CHARGING
            assert is_charging is (clock_known_after_s is None)
            if not is_charging:
                assert start_in_s(again) + again.epoch_s == start

    def test_random_delay_survives_restart(self) -> None:
        host = scheduled(draw=0.5)
        host.write("RandomizationDelayWindow", 600)
        host.backend.plug_in()
        host.backend.demand()
        start = start_in_s(host) + host.epoch_s
        assert start_in_s(host) == pytest.approx(WAIT_S + 300, abs=2)
        # The power fails after the planned start, during the random delay.
        host.run(WAIT_S + 100)
        assert host.charger.snapshot().is_held
        again = restarted(host)
        assert again.charger.randomization_window_s == 600
        assert start_in_s(again) + again.epoch_s == start
        again.run(100)
        assert again.charger.snapshot().is_held
        again.run(60)
        assert not again.charger.snapshot().is_held

    def test_begun_charge_continues(self) -> None:
        host = plugged_in()
        host.run(WAIT_S + 60)
        assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING
        # By the new state of charge alone, charging could wait.
        host.backend.set_battery(soc_percent=49)
        again = restarted(host, 5)
        again.run(10)
        assert start_in_s(again) > 0
        assert again.charger.snapshot().state is State.PLUGGED_IN_CHARGING

    def test_begun_charge_continues_without_clock(self) -> None:
        host = plugged_in()
        host.run(WAIT_S + 60)
        again = restarted(host, 5, has_clock=False)
        again.run(10)
        assert again.charger.snapshot().state is State.PLUGGED_IN_CHARGING

    @pytest.mark.parametrize("when", ["before", "during", "after"])
    def test_missed_target_survives_restart(self, when: str) -> None:
        # The vehicle draws half of what the plan relies on.
        host = plugged_in()
        # The power fails before, at or after the target time.
        host.run(10 * 3600 + {"before": -120, "during": -30, "after": 600}[when])
        again = restarted(host)
        again.run(120)
        assert again.charger.snapshot().state is State.PLUGGED_IN_CHARGING
        assert start_in_s(again) > 20 * 3600 or when == "before"  # tomorrow's
        once_more = restarted(again, 5, has_clock=False)
        once_more.run(30)
        assert once_more.charger.snapshot().state is State.PLUGGED_IN_CHARGING
        once_more.set_clock(again.epoch_s + 35 + MATTER_EPOCH_UNIX_S)
        once_more.run(3600)
        assert once_more.backend.status()["soc_percent"] == 50
        assert once_more.charger.snapshot().is_held

    @pytest.mark.parametrize("has_clock", [True, False])
    def test_target_that_passed_during_power_cut_is_met_late(self, has_clock: bool) -> None:
        host = plugged_in()
        host.run(WAIT_S - 600)
        assert host.charger.snapshot().is_held
        power_cut_s = 5400
        again = restarted(host, power_cut_s, has_clock=has_clock)
        again.run(30)
        if not has_clock:
            assert again.charger.snapshot().is_held
            again.set_clock(host.epoch_s + power_cut_s + 30 + MATTER_EPOCH_UNIX_S)
            again.run(60)
        assert start_in_s(again) > 20 * 3600
        assert again.charger.snapshot().state is State.PLUGGED_IN_CHARGING
        again.run(2 * 3600)
        assert again.backend.status()["soc_percent"] == 50
        assert again.charger.snapshot().is_held

    def test_target_that_passed_while_disabled_is_not_missed(self) -> None:
        host = plugged_in()
        host.run(60)
        host.invoke("Disable")
        again = restarted(host)
        again.run(11 * 3600)
        again.invoke("EnableCharging", None, 6_000, 32_000)
        again.run(60)
        assert again.charger.snapshot().is_held

    def test_dropped_missed_target_stays_dropped(self) -> None:
        host = plugged_in()
        host.run(10 * 3600 + 60)
        host.charger.set_targets(host.charger.targets, host.now)
        again = restarted(host, 5)
        again.run(60)
        assert again.charger.snapshot().is_held

    def test_trial_continues_after_restart(self) -> None:
        host = plugged_in(store=MemoryStore())
        host.run(start_in_s(host) + 20)
        assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING
        again = restarted(host, 5)
        again.run(5)
        assert again.charger.snapshot().state is State.PLUGGED_IN_CHARGING
        again.run(180)
        assert again.charger.snapshot().is_held

    def test_added_energy_counts_once(self) -> None:
        host = plugged_in({0: 20 * 60, 2: 7_000_000}, features=frozenset({"PREF"}))
        host.trigger(0x21)
        host.run(3600)
        host.trigger(TIME_OF_USE)
        start = start_in_s(host) + host.epoch_s
        for _ in range(2):
            host = restarted(host)
            host.charger.follow_schedule(True, host.now)
            assert start_in_s(host) + host.epoch_s == pytest.approx(start, abs=300)


def test_power_adjustment_does_not_change_plan() -> None:
    host = plugged_in()
    plan = host.charger.snapshot().next_charge
    for limit in (0, 6_000, 10_000):
        grid = LimitClaimed(LimitSource.GRID, Milliamps(limit), (Direction.CHARGE,))
        host.charger.handle(grid, host.now)
        assert host.charger.snapshot().next_charge == plan
    user = LimitClaimed(LimitSource.USER, Milliamps(10_000), (Direction.CHARGE,))
    host.charger.handle(user, host.now)
    assert host.charger.snapshot().next_charge != plan


def test_targets_survive_a_restart() -> None:
    host = scheduled()
    stored = host.targets()
    assert stored
    assert ChargerHost(store=host.store).targets() == stored
    host.invoke("ClearTargets")
    assert ChargerHost(store=host.store).targets() == []
