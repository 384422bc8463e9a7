"""Energy management of a real (simulated) car: requests change what flows, and when."""

from __future__ import annotations

import pytest

from evse_node.matter.interaction.status import Status
from evse_node.state_machine.effects import EnergyTransferStarted, EnergyTransferStopped
from evse_node.state_machine.events import Direction, Disable, EnableCharging, LimitClaimed
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.names import State, StoppedReason
from evse_node.state_machine.targets import ChargingTarget, ChargingTargetSchedule
from evse_node.units import Milliamps, MilliwattHours
from tests.energy_host import PFR_MAP, SFR_MAP, EnergyHost, as_int

LOCAL, GRID = 0, 1
OFFLINE, ONLINE, FAULT, POWER_ADJUST_ACTIVE, PAUSED = range(5)
NORMAL_COMPLETION, CAUSE_OFFLINE, CAUSE_FAULT, USER_OPT_OUT, CANCELLED = range(5)
MANUAL, SCHEDULED = 0, 1
# 16 A at 230 V
FULL_MW = 3_680_000
ENABLE = EnableCharging(None, Milliamps(6_000), Milliamps(16_000))
NO_SOC = frozenset({"PREF"})
HOUR = 3600


def charging(feature_map: str = PFR_MAP, **kwargs: object) -> EnergyHost:
    """A car that charges at 16 A, without a target."""
    host = EnergyHost(feature_map, **kwargs)  # type: ignore[arg-type]
    host.charger.handle(ENABLE, host.now)
    host.backend.plug_in()
    host.backend.demand()
    host.run(1)
    assert current(host) == 16_000
    return host


def scheduled(
    feature_map: str = PFR_MAP, *, energy_mwh: int = 7_360_000, mode: int = SCHEDULED
) -> EnergyHost:
    """A car that needs two hours until 16:00, six hours from now."""
    host = EnergyHost(feature_map, features=NO_SOC)
    host.call(host.mode, "ChangeToMode", new_mode=mode)
    target = ChargingTarget(16 * 60, None, MilliwattHours(energy_mwh))
    host.charger.set_targets([ChargingTargetSchedule(0x7F, (target,))], host.now)
    host.charger.handle(ENABLE, host.now)
    host.backend.plug_in()
    host.backend.demand()
    host.run(1)
    return host


def current(host: EnergyHost) -> int:
    return as_int(host.backend.status()["current_ma"])


def charged(host: EnergyHost) -> int:
    return as_int(host.backend.status()["imported_mwh"])


def adjust(host: EnergyHost, power: int, duration: int, cause: int = LOCAL) -> Status:
    return host.manage("PowerAdjustRequest", power=power, duration=duration, cause=cause)


def pause(host: EnergyHost, duration: int, cause: int = LOCAL) -> Status:
    return host.manage("PauseRequest", duration=duration, cause=cause)


def start_at(host: EnergyHost, time: int, cause: int = LOCAL) -> Status:
    return host.manage("StartTimeAdjustRequest", requested_start_time=time, cause=cause)


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
        told = host.expect("PowerAdjustEnd", cause=NORMAL_COMPLETION, duration=600)
        # The duty cycle may change only every five seconds.
        assert told["energy_use"] == pytest.approx(2_300_000 * 600 / 3600, rel=0.02)
        host.run(6)
        assert current(host) == 16_000

    def test_is_offered_within_the_limits_of_others(self) -> None:
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

    def test_lower_limits_go_on_counting(self) -> None:
        host = charging()
        assert adjust(host, FULL_MW, 600) == Status.SUCCESS
        claim = LimitClaimed(LimitSource.TEMPERATURE, Milliamps(8_000))
        host.charger.handle(claim, host.now)
        host.run(6)
        assert current(host) == 8_000
        assert host.esa_state == POWER_ADJUST_ACTIVE

    def test_starts_a_car_that_waits_for_its_schedule(self) -> None:
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
        slack = host.look().latest - host.look().end
        (option,), _ = host.capability
        longest = as_int(option[3])
        assert 0 < slack < longest < HOUR
        assert adjust(host, as_int(option[0]), longest) == Status.SUCCESS
        assert host.look().end <= host.look().latest == host.epoch_s - 1 + 6 * HOUR

    @pytest.mark.parametrize(
        ("end", "cause", "state"),
        [
            ("unplug", CAUSE_OFFLINE, ONLINE),
            ("disable", CAUSE_OFFLINE, ONLINE),
            ("fault", CAUSE_FAULT, FAULT),
        ],
    )
    def test_ends_with_what_was_adjusted(self, end: str, cause: int, state: int) -> None:
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

    def test_needs_no_clock(self) -> None:
        host = charging(has_clock=False)
        assert host.show("Forecast") is None
        assert adjust(host, 2_300_000, 60) == Status.SUCCESS
        assert pause(host, 60) == Status.INVALID_IN_STATE
        host.run(60)
        assert host.manage("CancelRequest") == Status.FAILURE
        host.set_clock(1_749_636_000)
        host.run(31)
        assert host.look().reason == 0

    def test_opt_out_by_mode_ends_it(self) -> None:
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
        host.notices.clear()
        end = host.look().end
        assert pause(host, 300) == Status.SUCCESS
        host.expect("Paused")
        [stopped] = [each for each in host.notices if isinstance(each, EnergyTransferStopped)]
        assert stopped.reason is StoppedReason.EVSE_STOPPED
        host.run(10)
        assert (current(host), host.backend.status()["contactor"]) == (0, "open")
        assert host.esa_state == PAUSED
        assert host.look().end == end + 300
        before = charged(host)
        host.run(285)
        assert charged(host) == before
        host.run(6)
        host.expect("Resumed", cause=NORMAL_COMPLETION)
        host.run(5)
        assert current(host) == 16_000
        assert any(isinstance(each, EnergyTransferStarted) for each in host.notices)
        # As far as one knows the car still needs the same, so it ends by the pause later.
        assert host.look().end == pytest.approx(end + 300, abs=2)

    def test_resume_lets_it_go_on(self, feature_map: str) -> None:
        host = charging(feature_map)
        assert pause(host, 300) == Status.SUCCESS
        host.run(60)
        assert host.manage("ResumeRequest") == Status.SUCCESS
        host.run(6)
        assert current(host) == 16_000

    def test_survives_a_car_that_goes_to_sleep(self, feature_map: str) -> None:
        host = charging(feature_map)
        host.backend.car.habits.asks_without_offer = False
        assert pause(host, 1800) == Status.SUCCESS
        host.run(900)
        assert host.charger.snapshot().state is State.PLUGGED_IN_NO_DEMAND
        assert host.esa_state == PAUSED
        host.run(910)
        assert current(host) == 16_000
        assert host.look().reason == 0

    def test_is_bounded_by_the_deadline(self, feature_map: str) -> None:
        host = scheduled(feature_map, energy_mwh=21_000_000, mode=MANUAL)
        forecast = host.look()
        slack = forecast.latest - forecast.end
        assert 60 < slack < HOUR
        assert forecast.slots[0][7] == slack
        assert pause(host, slack + 1) == Status.CONSTRAINT_ERROR
        assert pause(host, 59) == Status.CONSTRAINT_ERROR
        assert pause(host, slack) == Status.SUCCESS
        host.run(slack + 10)
        # Nothing is left to spare.
        assert host.look().slots[0][5] is False
        assert pause(host, 60) == Status.FAILURE

    def test_ends_when_the_car_leaves(self, feature_map: str) -> None:
        host = charging(feature_map)
        assert pause(host, 300) == Status.SUCCESS
        host.expect("Paused")
        host.backend.unplug()
        host.run(0.1)
        host.expect("Resumed", cause=CAUSE_OFFLINE)
        assert host.show("Forecast") is None

    def test_without_a_started_forecast_is_refused(self, feature_map: str) -> None:
        host = scheduled(feature_map)
        assert host.look().active is None
        assert pause(host, 60) == Status.FAILURE


@pytest.mark.parametrize("feature_map", [PFR_MAP, SFR_MAP])
class TestStartTime:
    def test_of_a_scheduled_charge_comes_from_the_schedule(self, feature_map: str) -> None:
        host = scheduled(feature_map)
        forecast = host.look()
        assert forecast.start == host.charger.snapshot().next_charge.start_time
        assert forecast.latest == host.charger.snapshot().next_charge.target_time
        assert forecast.end == forecast.start + 2 * HOUR
        assert forecast.earliest is None
        number = forecast.id
        host.run(forecast.start - host.epoch_s + 10)
        assert current(host) == 16_000
        begun = host.look()
        assert (begun.id, begun.active, begun.slots[0][3]) == (number, 0, 10)

    def test_may_be_earlier_than_the_schedule_wants(self, feature_map: str) -> None:
        host = scheduled(feature_map)
        assert start_at(host, host.epoch_s - 1) == Status.CONSTRAINT_ERROR
        start = host.epoch_s + HOUR
        assert start_at(host, start) == Status.SUCCESS
        host.run(HOUR - 10)
        assert current(host) == 0
        host.run(15)
        assert current(host) == 16_000
        # A change of mode does not bring the schedule back.
        host.call(host.mode, "ChangeToMode", new_mode=SCHEDULED)
        assert not host.charger.snapshot().is_held
        host.run(2 * HOUR)
        assert charged(host) >= 7_350_000

    def test_may_be_as_late_as_the_target_allows(self, feature_map: str) -> None:
        host = scheduled(feature_map, mode=MANUAL)
        host.run(600)
        before = host.look()
        assert before.active == 0
        last = before.latest - (before.end - before.start)
        assert start_at(host, last + 1, GRID) == Status.CONSTRAINT_ERROR
        assert start_at(host, last, GRID) == Status.SUCCESS
        host.run(10)
        assert current(host) == 0
        shifted = host.look()
        assert (shifted.start, shifted.active, shifted.reason) == (last, None, 2)
        # What it has got already it does not need again.
        assert shifted.end == pytest.approx(before.end - 600 + last - before.start, abs=1)
        host.run(last - host.epoch_s + 2)
        host.run(2 * HOUR - 600 + 10)
        assert charged(host) >= 7_350_000
        assert host.epoch_s <= before.latest

    def test_is_the_own_one_again_after_a_cancel(self, feature_map: str) -> None:
        host = scheduled(feature_map)
        own = host.look()
        assert start_at(host, host.epoch_s) == Status.SUCCESS
        host.run(60)
        assert current(host) == 16_000
        assert host.manage("CancelRequest") == Status.SUCCESS
        host.run(10)
        assert current(host) == 0
        again = host.look()
        assert (again.reason, again.start) == (0, own.start)
        assert again.id > own.id

    def test_is_the_own_one_again_when_the_target_changes(self, feature_map: str) -> None:
        host = scheduled(feature_map)
        assert start_at(host, host.epoch_s + HOUR) == Status.SUCCESS
        target = ChargingTarget(15 * 60, None, MilliwattHours(3_680_000))
        host.charger.set_targets([ChargingTargetSchedule(0x7F, (target,))], host.now)
        assert host.look().reason == 0

    def test_stays_when_a_limit_drops_that_does_not_matter(self, feature_map: str) -> None:
        host = scheduled(feature_map)
        assert start_at(host, host.epoch_s + HOUR) == Status.SUCCESS
        claim = LimitClaimed(LimitSource.USER, Milliamps(20_000), (Direction.CHARGE,))
        host.charger.handle(claim, host.now)
        assert host.look().reason == 1
        claim = LimitClaimed(LimitSource.USER, Milliamps(10_000), (Direction.CHARGE,))
        host.charger.handle(claim, host.now)
        assert host.look().reason == 0


class TestModifiedForecast:
    def modify(self, host: EnergyHost, *slots: dict[int, int]) -> Status:
        return host.manage(
            "ModifyForecastRequest",
            forecast_id=host.look().id,
            slot_adjustments=[dict(slot) for slot in slots],
            cause=LOCAL,
        )

    def test_less_power_for_longer(self) -> None:
        host = scheduled()
        host.manage("StartTimeAdjustRequest", requested_start_time=host.epoch_s + 600, cause=LOCAL)
        forecast = host.look()
        assert len(forecast.slots) == 2
        slots = [{0: index, 1: FULL_MW // 2, 2: 2 * HOUR} for index in range(2)]
        assert self.modify(host, *slots) == Status.SUCCESS
        changed = host.look()
        assert changed.end == changed.start + 4 * HOUR
        host.run(610)
        assert current(host) == 8_000
        host.run(4 * HOUR)
        assert charged(host) == pytest.approx(7_360_000, rel=0.002)

    def test_too_little_for_the_target_is_refused(self) -> None:
        host = scheduled()
        assert self.modify(host, {0: 0, 1: FULL_MW // 2, 2: HOUR}) == Status.FAILURE
        assert self.modify(host, {0: 0, 1: FULL_MW, 2: 0}) == Status.CONSTRAINT_ERROR
        assert host.look().reason == 0

    def test_too_long_for_the_target_is_refused(self) -> None:
        host = scheduled()
        forecast = host.look()
        slack = forecast.latest - forecast.end
        longest = as_int(forecast.slots[0][17])
        assert longest == as_int(forecast.slots[0][2]) + slack
        assert self.modify(host, {0: 0, 1: FULL_MW, 2: longest + 1}) == Status.CONSTRAINT_ERROR
        both = [{0: index, 1: FULL_MW, 2: longest} for index in range(2)]
        assert self.modify(host, *both) == Status.FAILURE

    def test_without_a_target_less_energy_is_fine(self) -> None:
        host = charging()
        assert self.modify(host, {0: 0, 1: 1_380_000, 2: HOUR}) == Status.SUCCESS
        host.run(6)
        assert current(host) == 6_000

    def test_a_running_slot_cannot_become_shorter_than_it_was(self) -> None:
        host = charging()
        host.run(600)
        # A long time at half the power, then a change of mind.
        assert self.modify(host, {0: 0, 1: FULL_MW // 2, 2: 7000}) == Status.SUCCESS
        host.run(1.5 * HOUR)
        shortest = as_int(host.look().slots[0][16])
        elapsed = as_int(host.look().slots[0][3])
        assert shortest < elapsed
        assert self.modify(host, {0: 0, 1: FULL_MW, 2: elapsed - 1}) == Status.CONSTRAINT_ERROR
        assert self.modify(host, {0: 0, 1: FULL_MW, 2: elapsed}) == Status.SUCCESS
        assert host.look().active == 1

    def test_a_state_forecast_slows_down_in_a_longer_slot(self) -> None:
        host = charging(SFR_MAP)
        duration = as_int(host.look().slots[0][2])
        assert self.modify(host, {0: 0, 2: 2 * duration}) == Status.SUCCESS
        host.run(6)
        assert current(host) == pytest.approx(8_000, abs=10)
        assert self.modify(host, {0: 1, 1: FULL_MW, 2: duration - 100}) == Status.CONSTRAINT_ERROR


class TestConstraints:
    def test_nothing_flows_in_a_forbidden_time(self) -> None:
        host = scheduled(mode=MANUAL)
        host.run(10)
        now = host.epoch_s
        forbidden = {0: now + 600, 1: HOUR, 2: 1_380_000, 3: 0}
        halved = {0: now + 600 + HOUR, 1: HOUR, 2: FULL_MW // 2, 3: FULL_MW // 2}
        sent = host.manage(
            "RequestConstraintBasedForecast", constraints=[forbidden, halved], cause=GRID
        )
        assert sent == Status.SUCCESS
        forecast = host.look()
        powers = [as_int(slot[9]) for slot in forecast.slots]
        assert powers == [FULL_MW, 0, FULL_MW // 2, FULL_MW, FULL_MW]
        assert forecast.slots[1][5] is False
        host.run(595)
        assert current(host) == 16_000
        host.run(15)
        assert current(host) == 0
        before = charged(host)
        host.run(HOUR - 15)
        assert charged(host) == before
        host.run(15)
        assert current(host) == 8_000
        host.run(HOUR)
        assert current(host) == 16_000
        host.run(forecast.end - host.epoch_s)
        assert charged(host) == pytest.approx(7_360_000, rel=0.01)

    def test_what_would_miss_the_deadline_is_refused(self) -> None:
        host = scheduled()
        window = {0: host.epoch_s + 1, 1: 5 * HOUR, 2: 1_380_000, 3: 0}
        host.manage("StartTimeAdjustRequest", requested_start_time=host.epoch_s, cause=LOCAL)
        sent = host.manage("RequestConstraintBasedForecast", constraints=[window], cause=GRID)
        assert sent == Status.FAILURE
        assert host.look().reason == 1

    def test_load_control_turns_down(self) -> None:
        host = scheduled(SFR_MAP, mode=MANUAL)
        host.run(10)
        window = {0: host.epoch_s + 60, 1: HOUR, 4: -50}
        sent = host.manage("RequestConstraintBasedForecast", constraints=[window], cause=GRID)
        assert sent == Status.SUCCESS
        host.run(70)
        assert current(host) == 8_000
        host.run(HOUR)
        assert current(host) == 16_000

    def test_more_slots_than_there_may_be_are_refused(self) -> None:
        host = scheduled(energy_mwh=18_000_000, mode=MANUAL)
        windows = [
            {0: host.epoch_s + 600 * index, 1: 300, 2: 1_380_000, 3: 200_000}
            for index in range(1, 11)
        ]
        sent = host.manage("RequestConstraintBasedForecast", constraints=windows, cause=GRID)
        assert sent == Status.FAILURE


class TestForecast:
    def test_goes_on_while_the_car_does(self) -> None:
        """A car that takes more than expected gets a new forecast, and no busy loop."""
        host = charging()
        host.backend.set_battery(soc_percent=1)
        host.run(9.9 * HOUR)
        assert host.look().end > host.epoch_s

    def test_is_gone_when_the_car_is_content(self) -> None:
        host = charging()
        host.backend.set_battery(soc_percent=99)
        host.run(4 * HOUR)
        assert host.charger.snapshot().state is State.PLUGGED_IN_NO_DEMAND
        assert host.show("Forecast") is None
        assert host.show("PowerAdjustmentCapability") is None

    def test_survives_a_short_loss_of_demand(self) -> None:
        host = charging()
        number = host.look().id
        host.backend.no_demand()
        host.run(30)
        assert host.look().id == number
        host.backend.demand()
        host.run(60)
        assert host.look().id == number
        host.backend.no_demand()
        host.run(61)
        assert host.show("Forecast") is None

    def test_ends_with_the_target_in_scheduled_mode(self) -> None:
        host = EnergyHost()
        host.call(host.mode, "ChangeToMode", new_mode=SCHEDULED)
        target = ChargingTarget(16 * 60, 41)
        host.charger.set_targets([ChargingTargetSchedule(0x7F, (target,))], host.now)
        host.charger.handle(ENABLE, host.now)
        host.backend.plug_in()
        host.backend.demand()
        host.run(1)
        # One percent of 60 kWh at 16 A
        assert host.look().end - host.look().start == pytest.approx(587, abs=1)
        host.run(7 * HOUR)
        assert host.charger.snapshot().is_held
        assert host.show("Forecast") is None

    @pytest.mark.parametrize("feature_map", [PFR_MAP, SFR_MAP])
    def test_script_leaves_a_real_car_alone(self, feature_map: str) -> None:
        host = charging(feature_map)
        if feature_map == PFR_MAP:
            host.scenario(0x00)
            assert adjust(host, 5_000_000, 10) == Status.SUCCESS
            host.run(5)
            assert current(host) == 16_000
            host.scenario(0x01)
        own = host.look()
        host.scenario(0x07)
        assert pause(host, 10) == Status.SUCCESS
        host.run(5)
        assert current(host) == 16_000
        host.scenario(0x09)
        assert host.esa_state == ONLINE
        assert host.look().end == pytest.approx(own.end, abs=10)
        assert host.look().id > own.id

    def test_is_reported_at_most_every_ten_seconds(self) -> None:
        host = charging()
        host.run(20)
        host.counts.clear()
        for second in range(30):
            claim = LimitClaimed(LimitSource.USER, Milliamps(6_000 + 100 * second))
            host.charger.handle(claim, host.now)
            host.run(1)
        assert host.counts["Forecast"] in (3, 4)
        assert host.counts["PowerAdjustmentCapability"] in (3, 4)
        host.counts.clear()
        host.run(11)
        # The last change is not lost, and then there is silence.
        assert host.counts.get("Forecast", 0) <= 1
        host.counts.clear()
        host.run(60)
        assert not host.counts

    def test_a_new_slot_is_reported(self) -> None:
        host = charging()
        host.run(20)
        host.counts.clear()
        host.run(HOUR)
        assert host.look().active == 1
        assert host.counts == {"Forecast": 1}

    def test_no_report_and_no_timer_after_stop(self) -> None:
        host = charging()
        host.management.stop()
        host.counts.clear()
        host.backend.unplug()
        host.run(20)
        assert not host.counts
