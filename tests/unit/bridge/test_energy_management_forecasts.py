"""Forecasts of a (simulated) car: requests change when how much flows."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from evse_node.charger.vehicle_draw import VehicleDraw
from evse_node.hal.interface import Ratings
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.hal.simulated.electric_vehicle import ElectricCar
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import TlvValue
from evse_node.state_machine.enums import State
from evse_node.state_machine.events import Direction, Disable, EnableDischarging, LimitClaimed
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.targets import ChargingTarget, ChargingTargetSchedule
from evse_node.units import Milliamps, MilliwattHours
from tests.support.charger.charger_host import ALL_FEATURES, START_UTC_S
from tests.support.charger.energy_charging import (
    ENABLE,
    FULL_MW,
    GRID,
    HOUR,
    LOCAL,
    MANUAL,
    NO_SOC,
    ONLINE,
    SCHEDULED,
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


@pytest.mark.parametrize("feature_map", [PFR_MAP, SFR_MAP])
class TestStartTime:
    def test_of_a_scheduled_charge_comes_from_the_schedule(self, feature_map: str) -> None:
        host = scheduled(feature_map)
        forecast = host.read_forecast()
        assert forecast.start == host.charger.snapshot().next_charge.start_time
        assert forecast.latest == host.charger.snapshot().next_charge.target_time
        assert forecast.end == forecast.start + 2 * HOUR
        assert forecast.earliest is None
        number = forecast.id
        host.run(forecast.start - host.epoch_s + 10)
        assert current(host) == 16_000
        begun = host.read_forecast()
        assert (begun.id, begun.active, begun.slots[0][3]) == (number, 0, 10)

    def test_may_be_earlier_than_the_schedule(self, feature_map: str) -> None:
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
        before = host.read_forecast()
        assert before.active == 0
        last = before.latest - (before.end - before.start)
        assert start_at(host, last + 1, GRID) == Status.CONSTRAINT_ERROR
        assert start_at(host, last, GRID) == Status.SUCCESS
        host.run(10)
        assert current(host) == 0
        shifted = host.read_forecast()
        assert (shifted.start, shifted.active, shifted.reason) == (last, None, 2)
        # What it has got already it does not need again.
        assert shifted.end == pytest.approx(before.end - 600 + last - before.start, abs=1)
        host.run(last - host.epoch_s + 2)
        host.run(2 * HOUR - 600 + 10)
        assert charged(host) >= 7_350_000
        assert host.epoch_s <= before.latest

    def test_returns_to_own_after_cancel(self, feature_map: str) -> None:
        host = scheduled(feature_map)
        own = host.read_forecast()
        assert start_at(host, host.epoch_s) == Status.SUCCESS
        host.run(60)
        assert current(host) == 16_000
        assert host.manage("CancelRequest") == Status.SUCCESS
        host.run(10)
        assert current(host) == 0
        again = host.read_forecast()
        assert again.reason == 0
        # What it has got already it does not need again.
        assert own.start < again.start <= own.start + 60
        assert again.id > own.id

    def test_returns_to_own_when_the_target_changes(self, feature_map: str) -> None:
        host = scheduled(feature_map)
        assert start_at(host, host.epoch_s + HOUR) == Status.SUCCESS
        target = ChargingTarget(15 * 60, None, MilliwattHours(3_680_000))
        host.charger.set_targets([ChargingTargetSchedule(0x7F, (target,))], host.now)
        assert host.read_forecast().reason == 0

    def test_is_kept_when_an_irrelevant_limit_drops(self, feature_map: str) -> None:
        host = scheduled(feature_map)
        assert start_at(host, host.epoch_s + HOUR) == Status.SUCCESS
        claim = LimitClaimed(LimitSource.USER, Milliamps(20_000), (Direction.CHARGE,))
        host.charger.handle(claim, host.now)
        assert host.read_forecast().reason == 1
        claim = LimitClaimed(LimitSource.USER, Milliamps(10_000), (Direction.CHARGE,))
        host.charger.handle(claim, host.now)
        assert host.read_forecast().reason == 0


class TestUnknownVehicle:
    """Two hours with what is offered, five and a half with the least; ready at 16:00."""

    def unknown(self, car_ma: int) -> EnergyHost:
        host = EnergyHost(features=NO_SOC)
        host.backend.car.charger_maximum_ma = Milliamps(car_ma)
        host.call(host.mode, "ChangeToMode", new_mode=SCHEDULED)
        target = ChargingTarget(16 * 60, None, MilliwattHours(7_360_000))
        host.charger.set_targets([ChargingTargetSchedule(0x7F, (target,))], host.now)
        host.charger.handle(ENABLE, host.now)
        host.backend.plug_in()
        host.backend.demand()
        host.run(1)
        return host

    def test_start_is_delayed_only_as_far_as_a_slow_vehicle_allows(self) -> None:
        host = self.unknown(6_000)
        forecast = host.read_forecast()
        assert forecast.start == host.charger.snapshot().next_charge.start_time
        assert forecast.slots[0][9] == FULL_MW
        last = forecast.start + forecast.latest - forecast.end
        assert start_at(host, last + 1) == Status.CONSTRAINT_ERROR
        assert start_at(host, last) == Status.SUCCESS
        deadline = host.charger.snapshot().next_charge.target_time
        assert deadline is not None
        host.run(last - host.epoch_s - 1)
        assert charged(host) == 0
        host.run(deadline - host.epoch_s)
        assert charged(host) >= 7_360_000 * 99 // 100

    def test_start_may_be_delayed_further_once_observed(self) -> None:
        host = self.unknown(16_000)
        before = host.read_forecast()
        assert before.latest - before.end < 1000
        host.run(before.start - host.epoch_s + 200)
        assert host.charger.snapshot().is_held
        after = host.read_forecast()
        assert after.start > before.start + 2 * HOUR
        assert after.latest == host.charger.snapshot().next_charge.target_time


class TestVehicleDraw:
    """Three phases of 32 A, a target of 22.08 kWh: an hour for the charger, more for most cars."""

    NEED_MWH = 22_080_000

    def charging(self, car_phases: int, car_ma: int, **kwargs: object) -> EnergyHost:
        hosts: list[EnergyHost] = []
        backend = SimulatedBackend(
            clock=lambda: hosts[0].now if hosts else 1000.0,
            ratings=Ratings(Milliamps(32_000), Milliamps(32_000), phases=3),
            car=ElectricCar(charger_maximum_ma=Milliamps(car_ma), phases=car_phases),
        )
        kwargs = {"features": ALL_FEATURES - {"SOC"}, **kwargs}
        hosts.append(EnergyHost(backend=backend, **kwargs))  # type: ignore[arg-type]
        [host] = hosts
        target = ChargingTarget(23 * 60, None, MilliwattHours(self.NEED_MWH))
        host.charger.set_targets([ChargingTargetSchedule(0x7F, (target,))], host.now)
        host.charger.handle(replace(ENABLE, maximum_ma=Milliamps(32_000)), host.now)
        host.backend.plug_in()
        host.backend.demand()
        host.run(1)
        return host

    @pytest.mark.parametrize(("phases", "car_ma"), [(1, 32_000), (3, 16_000), (1, 13_000)])
    def test_determines_the_forecast(self, phases: int, car_ma: int) -> None:
        host = self.charging(phases, car_ma)
        begin = host.epoch_s
        before = host.read_forecast()
        assert before.end - before.start == HOUR  # the vehicle is unknown
        host.run(180)
        known = host.read_forecast()
        power_mw = 230 * car_ma * phases
        assert known.slots[0][9] == power_mw
        assert known.end == pytest.approx(begin + self.NEED_MWH * 3600 // power_mw, abs=60)
        assert host.capability[0][0][1] == power_mw
        # The range of the appliance is the charger's.
        assert host.show("AbsMaxPower") == 22_080_000
        assert host.show("AbsMinPower") == -22_080_000
        number = known.id
        host.run(known.end - host.epoch_s - 30)
        assert (host.read_forecast().id, host.read_forecast().active) == (
            number,
            len(known.slots) - 1,
        )

    def test_is_within_the_range_of_the_appliance(self) -> None:
        host = self.charging(1, 32_000, features=ALL_FEATURES - {"SOC", "V2X"})
        host.run(180)
        assert host.show("AbsMinPower") == host.capability[0][0][0] == 1_380_000

    def test_converts_power_to_current(self) -> None:
        host = self.charging(1, 32_000)
        host.run(180)
        assert host.capability[0][0][0] == 1_380_000
        assert adjust(host, 2_300_000, 600) == Status.SUCCESS
        host.run(10)
        assert current(host) == 10_000

    def test_applies_to_discharging(self) -> None:
        host = self.charging(1, 32_000)
        host.run(180)
        host.charger.handle(Disable(), host.now)
        host.charger.handle(EnableDischarging(None, Milliamps(16_000)), host.now)
        host.run(10)
        assert adjust(host, -2_300_000, 600) == Status.SUCCESS
        host.run(10)
        assert current(host) == -10_000

    def test_is_at_least_the_minimum_offer(self) -> None:
        host = self.charging(1, 7_000)
        least = replace(ENABLE, minimum_ma=Milliamps(8_000), maximum_ma=Milliamps(32_000))
        host.charger.handle(least, host.now)
        host.run(180)
        assert host.charger.expected_draw == VehicleDraw(1, Milliamps(7_000), True)
        assert host.read_forecast().slots[0][9] == 8_000 * 230


def test_discharged_energy_is_forecast_again() -> None:
    host = scheduled(mode=MANUAL)
    host.run(HOUR)
    host.charger.handle(Disable(), host.now)
    host.charger.handle(EnableDischarging(None, Milliamps(16_000)), host.now)
    host.run(HOUR // 2)
    host.charger.handle(Disable(), host.now)
    host.charger.handle(ENABLE, host.now)
    host.run(10)
    # An hour was charged, and half an hour of it came back: of two hours, 90 minutes are left.
    assert current(host) == 16_000
    forecast = host.read_forecast()
    assert forecast.end - host.epoch_s == pytest.approx(HOUR * 3 // 2, abs=30)


class TestModifiedForecast:
    def modify(self, host: EnergyHost, *slots: TlvValue) -> Status:
        return host.manage(
            "ModifyForecastRequest",
            forecast_id=host.read_forecast().id,
            slot_adjustments=list(slots),
            cause=LOCAL,
        )

    def test_accepts_less_power_for_longer(self) -> None:
        host = scheduled()
        host.manage("StartTimeAdjustRequest", requested_start_time=host.epoch_s + 600, cause=LOCAL)
        forecast = host.read_forecast()
        assert len(forecast.slots) == 2
        slots: list[TlvValue] = [{0: index, 1: FULL_MW // 2, 2: 2 * HOUR} for index in range(2)]
        assert self.modify(host, *slots) == Status.SUCCESS
        changed = host.read_forecast()
        assert changed.end == changed.start + 4 * HOUR
        host.run(610)
        assert current(host) == 8_000
        host.run(4 * HOUR)
        assert charged(host) == pytest.approx(7_360_000, rel=0.002)

    def test_is_refused_with_too_little_energy_for_the_target(self) -> None:
        host = scheduled()
        assert self.modify(host, {0: 0, 1: FULL_MW // 2, 2: HOUR}) == Status.FAILURE
        assert self.modify(host, {0: 0, 1: FULL_MW, 2: 0}) == Status.CONSTRAINT_ERROR
        assert host.read_forecast().reason == 0

    def test_is_refused_when_it_ends_after_the_target(self) -> None:
        host = scheduled()
        forecast = host.read_forecast()
        slack = forecast.latest - forecast.end
        longest = as_int(forecast.slots[0][17])
        assert longest == as_int(forecast.slots[0][2]) + slack
        assert self.modify(host, {0: 0, 1: FULL_MW, 2: longest + 1}) == Status.CONSTRAINT_ERROR
        both: list[TlvValue] = [{0: index, 1: FULL_MW, 2: longest} for index in range(2)]
        assert self.modify(host, *both) == Status.FAILURE

    def test_accepts_less_energy_without_a_target(self) -> None:
        host = charging()
        assert self.modify(host, {0: 0, 1: 1_380_000, 2: HOUR}) == Status.SUCCESS
        host.run(6)
        assert current(host) == 6_000

    def test_running_slot_cannot_become_shorter_than_elapsed(self) -> None:
        host = charging()
        host.run(600)
        # A long time at half the power, then a change of mind.
        assert self.modify(host, {0: 0, 1: FULL_MW // 2, 2: 7000}) == Status.SUCCESS
        host.run(1.5 * HOUR)
        shortest = as_int(host.read_forecast().slots[0][16])
        elapsed = as_int(host.read_forecast().slots[0][3])
        assert shortest < elapsed
        assert self.modify(host, {0: 0, 1: FULL_MW, 2: elapsed - 1}) == Status.CONSTRAINT_ERROR
        assert self.modify(host, {0: 0, 1: FULL_MW, 2: elapsed}) == Status.SUCCESS
        assert host.read_forecast().active == 1

    def test_longer_slot_of_state_forecast_has_less_power(self) -> None:
        host = charging(SFR_MAP)
        duration = as_int(host.read_forecast().slots[0][2])
        assert self.modify(host, {0: 0, 2: 2 * duration}) == Status.SUCCESS
        host.run(6)
        assert current(host) == pytest.approx(8_000, abs=10)
        assert self.modify(host, {0: 1, 1: FULL_MW, 2: duration - 100}) == Status.CONSTRAINT_ERROR


class TestConstraints:
    def test_no_energy_flows_in_an_excluded_period(self) -> None:
        host = scheduled(mode=MANUAL)
        host.run(10)
        now = host.epoch_s
        forbidden: TlvValue = {0: now + 600, 1: HOUR, 2: 1_380_000, 3: 0}
        halved: TlvValue = {0: now + 600 + HOUR, 1: HOUR, 2: FULL_MW // 2, 3: FULL_MW // 2}
        sent = host.manage(
            "RequestConstraintBasedForecast", constraints=[forbidden, halved], cause=GRID
        )
        assert sent == Status.SUCCESS
        forecast = host.read_forecast()
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

    def test_constraint_that_misses_the_deadline_is_refused(self) -> None:
        host = scheduled()
        window: TlvValue = {0: host.epoch_s + 1, 1: 5 * HOUR, 2: 1_380_000, 3: 0}
        host.manage("StartTimeAdjustRequest", requested_start_time=host.epoch_s, cause=LOCAL)
        sent = host.manage("RequestConstraintBasedForecast", constraints=[window], cause=GRID)
        assert sent == Status.FAILURE
        assert host.read_forecast().reason == 1

    def test_load_control_reduces_power(self) -> None:
        host = scheduled(SFR_MAP, mode=MANUAL)
        host.run(10)
        window: TlvValue = {0: host.epoch_s + 60, 1: HOUR, 4: -50}
        sent = host.manage("RequestConstraintBasedForecast", constraints=[window], cause=GRID)
        assert sent == Status.SUCCESS
        host.run(70)
        assert current(host) == 8_000
        host.run(HOUR)
        assert current(host) == 16_000

    def test_constraints_with_too_many_slots_are_refused(self) -> None:
        host = scheduled(energy_mwh=18_000_000, mode=MANUAL)
        windows: list[TlvValue] = [
            {0: host.epoch_s + 600 * index, 1: 300, 2: 1_380_000, 3: 200_000}
            for index in range(1, 11)
        ]
        sent = host.manage("RequestConstraintBasedForecast", constraints=windows, cause=GRID)
        assert sent == Status.FAILURE


class TestForecast:
    def test_continues_while_the_car_charges(self) -> None:
        """A car that takes more than expected gets a new forecast, and no busy loop."""
        host = scheduled(energy_mwh=1_000_000, mode=MANUAL)
        first = host.read_forecast()
        host.run(first.end - host.epoch_s + 60)
        second = host.read_forecast()
        assert second.id > first.id
        assert second.end > host.epoch_s
        assert second.latest - second.end == HOUR

    def test_ends_when_the_car_is_full(self) -> None:
        host = charging()
        host.backend.set_battery(soc_percent=99)
        host.run(4 * HOUR)
        assert host.charger.snapshot().state is State.PLUGGED_IN_NO_DEMAND
        assert host.show("Forecast") is None
        assert host.show("PowerAdjustmentCapability") is None

    def test_waits_for_a_card(self) -> None:
        card = b"\x01\x02\x03\x04"
        host = EnergyHost(allowed_cards=frozenset({card}))
        host.charger.handle(ENABLE, host.now)
        host.backend.plug_in()
        host.backend.demand()
        host.run(10)
        assert current(host) == 0
        assert host.show("Forecast") is None
        assert host.show("PowerAdjustmentCapability") is None
        host.backend.tap(card)
        host.run(10)
        assert current(host) == 16_000
        assert host.read_forecast().active == 0
        assert adjust(host, FULL_MW // 2, 600) == Status.SUCCESS

    def test_survives_a_short_loss_of_demand(self) -> None:
        host = charging()
        number = host.read_forecast().id
        host.backend.no_demand()
        host.run(30)
        assert host.read_forecast().id == number
        host.backend.demand()
        host.run(60)
        assert host.read_forecast().id == number
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
        assert host.read_forecast().end - host.read_forecast().start == pytest.approx(587, abs=1)
        host.run(7 * HOUR)
        assert host.charger.snapshot().is_held
        assert host.show("Forecast") is None

    @pytest.mark.parametrize("feature_map", [PFR_MAP, SFR_MAP])
    def test_script_does_not_affect_a_real_car(self, feature_map: str) -> None:
        host = charging(feature_map)
        if feature_map == PFR_MAP:
            host.scenario(0x00)
            assert adjust(host, 5_000_000, 10) == Status.SUCCESS
            host.run(5)
            assert current(host) == 16_000
            host.scenario(0x01)
        own = host.read_forecast()
        host.scenario(0x07)
        assert pause(host, 10) == Status.SUCCESS
        host.run(5)
        assert current(host) == 16_000
        host.scenario(0x09)
        assert host.esa_state == ONLINE
        assert host.read_forecast().end == pytest.approx(own.end, abs=10)
        assert host.read_forecast().id > own.id

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

    def test_follows_a_clock_that_is_set_back(self) -> None:
        host = charging()
        host.run(60)
        host.set_clock(START_UTC_S - 24 * HOUR)
        host.run(61)
        assert host.read_forecast().start == pytest.approx(host.epoch_s, abs=61)
        assert host.read_forecast().active == 0

    def test_a_new_slot_is_reported(self) -> None:
        host = charging()
        host.run(20)
        host.counts.clear()
        host.run(HOUR)
        assert host.read_forecast().active == 1
        assert host.counts == {"Forecast": 1}

    def test_no_report_and_no_timer_after_stop(self) -> None:
        host = charging()
        host.management.stop()
        host.counts.clear()
        host.backend.unplug()
        host.run(20)
        assert not host.counts
