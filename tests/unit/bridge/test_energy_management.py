"""Power adjustments and pauses of a (simulated) car: they change what flows."""

from __future__ import annotations

import pytest

from evse_node.matter.interaction.status import Status
from evse_node.state_machine.effects import EnergyTransferStarted, EnergyTransferStopped
from evse_node.state_machine.enums import State, StoppedReason
from evse_node.state_machine.events import Direction, Disable, LimitClaimed
from evse_node.state_machine.limits import LimitSource
from evse_node.units import Milliamps, Milliwatts
from tests.support.charger.energy_charging import (
    CAUSE_FAULT,
    CAUSE_OFFLINE,
    FAULT,
    FULL_MW,
    GRID,
    HOUR,
    LOCAL,
    MANUAL,
    NORMAL_COMPLETION,
    ONLINE,
    PAUSED,
    POWER_ADJUST_ACTIVE,
    USER_OPT_OUT,
    adjust,
    charged,
    charging,
    current,
    pause,
    scheduled,
    start_at,
)
from tests.support.charger.energy_host import PFR_MAP, SFR_MAP, EnergyHost
from tests.support.matter.values import as_int


class TestPowerAdjustment:
    def test_changes_the_current_for_a_time(self) -> None:
        host = charging()
        (option,), reason = host.capability
        assert (option[0], option[1], reason) == (1_380_000, FULL_MW, 0)
        assert adjust(host, 2_300_000, 600) == Status.SUCCESS
        host.expect("PowerAdjustStart")
        host.run(6)
        assert current(host) == 10_000
        assert host.charger.snapshot().limit.source is LimitSource.GRID
        host.run(594)
        event = host.expect("PowerAdjustEnd", cause=NORMAL_COMPLETION, duration=600)
        # The duty cycle may change only every five seconds.
        assert event["energy_use"] == pytest.approx(2_300_000 * 600 / 3600, rel=0.02)
        host.run(6)
        assert current(host) == 16_000

    def test_is_offered_within_the_limits_of_other_claims(self) -> None:
        host = charging()
        claim = LimitClaimed(LimitSource.USER, Milliamps(10_000), (Direction.CHARGE,))
        host.charger.handle(claim, host.now)
        (option,), _ = host.capability
        assert option[1] == 2_300_000
        assert adjust(host, FULL_MW, 600) == Status.CONSTRAINT_ERROR
        # One's own claim does not count.
        assert adjust(host, 1_380_000, 600) == Status.SUCCESS
        (option,), _ = host.capability
        assert option[1] == 2_300_000

    def test_stays_below_lower_limits(self) -> None:
        host = charging()
        assert adjust(host, FULL_MW, 600) == Status.SUCCESS
        claim = LimitClaimed(LimitSource.TEMPERATURE, Milliamps(8_000))
        host.charger.handle(claim, host.now)
        host.run(6)
        assert current(host) == 8_000
        assert host.esa_state == POWER_ADJUST_ACTIVE

    def test_starts_a_car_waiting_for_its_schedule(self) -> None:
        host = scheduled()
        assert current(host) == 0
        assert adjust(host, 3_000_000, 600) == Status.SUCCESS
        host.run(6)
        assert current(host) == pytest.approx(13_044, abs=1)
        host.run(594)
        assert host.charger.snapshot().is_held
        assert current(host) == 0

    def test_is_not_offered_for_longer_than_the_target_allows(self) -> None:
        host = scheduled(energy_mwh=20_000_000, mode=MANUAL)
        slack = host.read_forecast().latest - host.read_forecast().end
        (option,), _ = host.capability
        longest = as_int(option[3])
        assert 0 < slack < longest < HOUR
        assert adjust(host, as_int(option[0]), longest) == Status.SUCCESS
        assert (
            host.read_forecast().end <= host.read_forecast().latest == host.epoch_s - 1 + 6 * HOUR
        )

    @pytest.mark.parametrize(
        ("end", "cause", "state"),
        [
            ("unplug", CAUSE_OFFLINE, ONLINE),
            ("disable", CAUSE_OFFLINE, ONLINE),
            ("fault", CAUSE_FAULT, FAULT),
        ],
    )
    def test_ends_with_its_cause(self, end: str, cause: int, state: int) -> None:
        host = charging()
        assert adjust(host, 2_300_000, 600) == Status.SUCCESS
        host.expect("PowerAdjustStart")
        host.run(30)
        if end == "unplug":
            host.backend.unplug()
        elif end == "fault":
            host.backend.fault("GroundFault")
        else:
            host.charger.handle(Disable(), host.now)
        host.run(0.1)
        host.expect("PowerAdjustEnd", cause=cause, duration=30)
        assert host.esa_state == state
        assert host.show("PowerAdjustmentCapability") is None
        assert host.show("Forecast") is None
        assert host.charger.state.charge_limits.claim(LimitSource.GRID) is None

    def test_counts_energy_despite_a_lost_meter(self) -> None:
        host = charging()
        host.run(3600)
        before = charged(host)
        assert adjust(host, 2_300_000, 600) == Status.SUCCESS
        host.expect("PowerAdjustStart")
        host.run(300)
        drawn_mwh = charged(host) - before
        host.backend.board.is_meter_lost = True
        host.run(5)
        ended = host.expect("PowerAdjustEnd", cause=CAUSE_FAULT)
        assert as_int(ended["energy_use"]) == pytest.approx(drawn_mwh, rel=0.02)

    def test_needs_no_clock(self) -> None:
        host = charging(has_clock=False)
        assert host.show("Forecast") is None
        assert adjust(host, 2_300_000, 60) == Status.SUCCESS
        assert pause(host, 60) == Status.INVALID_IN_STATE
        host.run(60)
        assert host.manage("CancelRequest") == Status.FAILURE
        host.set_clock(1_749_636_000)
        host.run(31)
        assert host.read_forecast().reason == 0

    def test_ends_on_opt_out_by_mode(self) -> None:
        host = charging()
        assert adjust(host, 2_300_000, 600, GRID) == Status.SUCCESS
        host.run(10)
        host.call(host.dem_mode, "ChangeToMode", new_mode=2)
        host.expect("PowerAdjustStart")
        host.expect("PowerAdjustEnd", cause=USER_OPT_OUT)
        host.run(6)
        assert current(host) == 16_000
        assert adjust(host, 2_300_000, 600, GRID) == Status.CONSTRAINT_ERROR
        assert adjust(host, 2_300_000, 600, LOCAL) == Status.SUCCESS


@pytest.mark.parametrize("feature_map", [PFR_MAP, SFR_MAP])
class TestPause:
    def test_interrupts_charging(self, feature_map: str) -> None:
        host = charging(feature_map)
        host.notifications.clear()
        end = host.read_forecast().end
        assert pause(host, 300) == Status.SUCCESS
        host.expect("Paused")
        [stopped] = [each for each in host.notifications if isinstance(each, EnergyTransferStopped)]
        assert stopped.reason is StoppedReason.EVSE_STOPPED
        host.run(10)
        assert (current(host), host.backend.status()["contactor"]) == (0, "open")
        assert host.esa_state == PAUSED
        assert host.read_forecast().end == end + 300
        before = charged(host)
        host.run(285)
        assert charged(host) == before
        host.run(6)
        host.expect("Resumed", cause=NORMAL_COMPLETION)
        host.run(5)
        assert current(host) == 16_000
        assert any(isinstance(each, EnergyTransferStarted) for each in host.notifications)
        # The expected energy is unchanged, so charging ends later by the length of the pause.
        assert host.read_forecast().end == pytest.approx(end + 300, abs=2)

    def test_resume_continues_charging(self, feature_map: str) -> None:
        host = charging(feature_map)
        assert pause(host, 300) == Status.SUCCESS
        host.run(60)
        assert host.manage("ResumeRequest") == Status.SUCCESS
        host.run(6)
        assert current(host) == 16_000

    def test_continues_while_the_car_sleeps(self, feature_map: str) -> None:
        host = charging(feature_map)
        host.backend.car.habits.asks_without_offer = False
        assert pause(host, 1800) == Status.SUCCESS
        host.run(900)
        assert host.charger.snapshot().state is State.PLUGGED_IN_NO_DEMAND
        assert host.esa_state == PAUSED
        host.run(910)
        assert current(host) == 16_000
        assert host.read_forecast().reason == 0

    def test_is_bounded_by_the_deadline(self, feature_map: str) -> None:
        host = scheduled(feature_map, energy_mwh=21_000_000, mode=MANUAL)
        forecast = host.read_forecast()
        slack = forecast.latest - forecast.end
        assert 60 < slack < HOUR
        assert forecast.slots[0][7] == slack
        assert pause(host, slack + 1) == Status.CONSTRAINT_ERROR
        assert pause(host, 59) == Status.CONSTRAINT_ERROR
        assert pause(host, slack) == Status.SUCCESS
        host.run(slack + 10)
        # Nothing is left to spare.
        assert host.read_forecast().slots[0][5] is False
        assert pause(host, 60) == Status.FAILURE

    def test_ends_when_the_car_is_unplugged(self, feature_map: str) -> None:
        host = charging(feature_map)
        assert pause(host, 300) == Status.SUCCESS
        host.expect("Paused")
        host.backend.unplug()
        host.run(0.1)
        host.expect("Resumed", cause=CAUSE_OFFLINE)
        assert host.show("Forecast") is None

    def test_without_a_started_forecast_is_refused(self, feature_map: str) -> None:
        host = scheduled(feature_map)
        assert host.read_forecast().active is None
        assert pause(host, 60) == Status.FAILURE


class TestSolarCharging:
    SOLAR, BOTH = 2, 3

    def follow_sun(self, mode: int) -> EnergyHost:
        host = scheduled(mode=mode)
        if mode == self.SOLAR:
            host.charger.clear_targets(host.now)
        host.run(60)
        assert current(host) == 0
        return host

    def test_without_surplus_has_no_forecast(self) -> None:
        host = self.follow_sun(self.SOLAR)
        assert host.show("Forecast") is None
        (option,), _ = host.capability
        assert (option[0], option[1]) == (1_380_000, FULL_MW)

    def test_is_overridden_by_a_power_adjustment(self) -> None:
        host = self.follow_sun(self.SOLAR)
        assert adjust(host, 2_300_000, 600) == Status.SUCCESS
        host.run(6)
        assert current(host) == 10_000
        assert host.read_forecast().slots[0][9] == 2_300_000
        # A change of mode does not bring the sun back.
        host.call(host.mode, "ChangeToMode", new_mode=self.BOTH)
        host.run(60)
        assert current(host) == 10_000
        host.call(host.mode, "ChangeToMode", new_mode=self.SOLAR)
        host.run(540)
        assert current(host) == 0
        host.run(60)
        assert current(host) == 0
        assert host.show("Forecast") is None

    def test_forecast_follows_the_surplus(self) -> None:
        host = self.follow_sun(self.SOLAR)
        host.charger.set_surplus(Milliwatts(2_300_000), host.now)
        host.run(310)
        assert current(host) == 10_000
        assert host.read_forecast().slots[0][9] == 2_300_000
        assert host.capability[0][0][1] == FULL_MW

    def test_schedule_uses_full_power(self) -> None:
        host = self.follow_sun(self.BOTH)
        forecast = host.read_forecast()
        assert forecast.start == host.charger.snapshot().next_charge.start_time
        assert forecast.slots[0][9] == FULL_MW
        assert start_at(host, host.epoch_s + 600) == Status.SUCCESS
        host.run(610)
        assert current(host) == 16_000
        assert host.manage("CancelRequest") == Status.SUCCESS
        host.run(10)
        assert current(host) == 0
        # What it has got already it does not need again.
        assert forecast.start < host.read_forecast().start <= forecast.start + 15
