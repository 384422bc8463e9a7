"""Power adjustments below zero: energy that comes back from the vehicle."""

from __future__ import annotations

import pytest

from evse_node.bridge.evse import evse_settings
from evse_node.cluster.definitions.zap import revision_definitions
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import TlvValue
from evse_node.state_machine.enums import State
from evse_node.state_machine.events import (
    BatteryReported,
    Direction,
    EnableDischarging,
    LimitClaimed,
)
from evse_node.state_machine.limits import LimitSource
from evse_node.units import EpochSeconds, Milliamps
from tests.support.charger.charger_host import ALL_FEATURES
from tests.support.charger.energy_charging import (
    CANCELLED,
    CAUSE_OFFLINE,
    ENABLE,
    FULL_MW,
    GRID,
    NORMAL_COMPLETION,
    ONLINE,
    POWER_ADJUST_ACTIVE,
    adjust,
    charging,
    current,
    pause,
    start_at,
)
from tests.support.charger.energy_host import PFR_MAP, EnergyHost
from tests.support.matter.values import as_int

LEAST_MW = 1_380_000
DISCHARGE = EnableDischarging(None, Milliamps(16_000))


def discharging(feature_map: str = PFR_MAP) -> EnergyHost:
    """A car that gives 16 A, where only one direction can be enabled."""
    host = EnergyHost(feature_map)
    host.charger.handle(DISCHARGE, host.now)
    host.backend.plug_in()
    host.backend.demand()
    host.run(10)
    assert current(host) == -16_000
    return host


def both_ways() -> EnergyHost:
    """A car that charges at 16 A and may be discharged with 16 A."""
    definitions = revision_definitions("1.4.2")
    assert evse_settings(definitions["Energy EVSE"]).has_enabled_state
    host = charging(definitions=definitions)
    host.charger.handle(DISCHARGE, host.now)
    host.run(1)
    assert current(host) == 16_000
    return host


def options(host: EnergyHost) -> list[tuple[int, int]]:
    listed, _ = host.capability
    return [(as_int(option[0]), as_int(option[1])) for option in listed]


def test_charger_that_can_discharge_can_generate() -> None:
    host = EnergyHost()
    assert host.show("ESACanGenerate") is True
    assert (host.show("AbsMinPower"), host.show("AbsMaxPower")) == (-7_360_000, 7_360_000)
    load = EnergyHost(features=ALL_FEATURES - {"V2X"})
    assert load.show("ESACanGenerate") is False
    assert load.show("AbsMinPower") == LEAST_MW


class TestOneDirection:
    def test_adjustment_reduces_discharge_for_a_time(self) -> None:
        host = discharging()
        assert options(host) == [(-FULL_MW, -LEAST_MW)]
        assert adjust(host, -2_300_000, 600, GRID) == Status.SUCCESS
        host.run(10)
        assert current(host) == -10_000
        assert host.esa_state == POWER_ADJUST_ACTIVE
        assert options(host) == [(-FULL_MW, -LEAST_MW)]  # its own claim does not count
        host.expect("PowerAdjustStart")
        host.run(590)
        ended = host.expect("PowerAdjustEnd", cause=NORMAL_COMPLETION, duration=600)
        assert as_int(ended["energy_use"]) == pytest.approx(-2_300_000 / 6, rel=0.03)
        host.run(10)
        assert current(host) == -16_000
        assert host.esa_state == ONLINE

    @pytest.mark.parametrize("power", [FULL_MW, LEAST_MW, 0, -1_000_000, -FULL_MW - 1])
    def test_adjustment_outside_the_options_is_refused(self, power: int) -> None:
        host = discharging()
        assert adjust(host, power, 600) == Status.CONSTRAINT_ERROR
        assert current(host) == -16_000

    def test_forecast_is_the_energy_of_the_battery(self) -> None:
        host = discharging()
        forecast = host.read_forecast()
        assert (forecast.active, forecast.reason, forecast.earliest) == (0, 0, None)
        assert forecast.start == pytest.approx(host.epoch_s, abs=10)
        # 40 % of 60 kWh, in slots of about an hour.
        assert sum(as_int(slot[12]) for slot in forecast.slots) == pytest.approx(
            -24_000_000, rel=0.001
        )
        assert len(forecast.slots) == 7
        assert {as_int(slot[9]) for slot in forecast.slots} == {-FULL_MW}
        assert {(slot[10], slot[11]) for slot in forecast.slots} == {(-FULL_MW, -LEAST_MW)}
        host.run(3600)
        again = host.read_forecast()
        assert (again.id, again.active) == (forecast.id, 1)
        host.run(forecast.end - host.epoch_s + 120)
        assert current(host) == 0
        assert host.show("Forecast") is None

    def test_forecast_of_nearly_empty_battery_is_short(self) -> None:
        host = discharging()
        host.backend.set_battery(soc_percent=2)
        host.run(5)
        assert adjust(host, -2_300_000, 7200) == Status.SUCCESS
        (slot,) = host.read_forecast().slots
        # No longer than the percent of 60 kWh lasts that there is, rounded down.
        assert (slot[2], slot[9]) == (pytest.approx(939, abs=1), -2_300_000)

    def test_forecast_with_unknown_battery_is_a_typical_session(self) -> None:
        host = discharging()
        host.backend.set_battery(soc_percent=None)
        host.charger.handle(BatteryReported(None, None), host.now)
        forecast = host.read_forecast()
        given_mwh = sum(as_int(slot[12]) for slot in forecast.slots)
        assert given_mwh == pytest.approx(-20_000_000, rel=0.001)

    def test_forecast_ends_with_the_permission(self) -> None:
        host = discharging()
        until = EpochSeconds(host.epoch_s + 5400)
        host.charger.handle(EnableDischarging(until, Milliamps(10_000)), host.now)
        forecast = host.read_forecast()
        assert (forecast.end, forecast.latest) == (until, until)
        assert {as_int(slot[9]) for slot in forecast.slots} == {-2_300_000}
        host.run(5400)
        assert current(host) == 0
        host.run(61)
        assert host.show("Forecast") is None

    def test_forecast_includes_an_adjustment(self) -> None:
        host = discharging()
        assert adjust(host, -2_300_000, 600) == Status.SUCCESS
        first, second, *_ = host.read_forecast().slots
        assert (first[2], first[9]) == (600, -2_300_000)
        assert second[9] == -FULL_MW
        # What it does not give now, it can give later: 39 % of 60 kWh, rounded down.
        given_mwh = sum(as_int(slot[12]) for slot in host.read_forecast().slots)
        assert given_mwh == pytest.approx(-23_400_000, rel=0.001)
        host.run(650)
        host.expect("PowerAdjustStart")
        host.expect("PowerAdjustEnd")
        assert {as_int(slot[9]) for slot in host.read_forecast().slots} == {-FULL_MW}

    def test_requests_to_change_the_forecast_are_refused(self) -> None:
        host = discharging()
        host.run(60)
        before = host.read_forecast()
        assert before.is_pausable is False
        assert pause(host, 60) == Status.FAILURE
        assert start_at(host, host.epoch_s + 60) == Status.FAILURE
        change: TlvValue = {0: 0, 1: -LEAST_MW, 2: as_int(before.slots[0][2])}
        sent = host.manage(
            "ModifyForecastRequest", forecast_id=before.id, slot_adjustments=[change], cause=GRID
        )
        assert sent == Status.FAILURE
        window: TlvValue = {0: host.epoch_s + 60, 1: 600, 2: -FULL_MW, 3: 0}
        sent = host.manage("RequestConstraintBasedForecast", constraints=[window], cause=GRID)
        assert sent == Status.FAILURE
        assert host.manage("CancelRequest") == Status.INVALID_IN_STATE
        host.run(10)
        assert host.read_forecast().id == before.id
        assert current(host) == -16_000

    def test_request_for_charging_ends_with_discharging(self) -> None:
        host = charging()
        assert start_at(host, host.epoch_s + 600) == Status.SUCCESS
        host.charger.handle(DISCHARGE, host.now)
        host.run(30)
        assert current(host) == -16_000
        assert (host.read_forecast().reason, host.read_forecast().slots[0][9]) == (0, -FULL_MW)
        host.charger.handle(ENABLE, host.now)
        host.run(30)
        assert current(host) == 16_000
        assert (host.read_forecast().reason, host.read_forecast().slots[0][9]) == (0, FULL_MW)

    def test_state_forecast_shows_discharging_state(self) -> None:
        host = discharging("0x7C")
        assert {slot[8] for slot in host.read_forecast().slots} == {2}

    def test_stays_below_a_lower_limit(self) -> None:
        host = discharging()
        claim = LimitClaimed(LimitSource.CIRCUIT, Milliamps(8_000), (Direction.DISCHARGE,))
        host.charger.handle(claim, host.now)
        assert options(host) == [(-1_840_000, -LEAST_MW)]
        host.charger.handle(LimitClaimed(LimitSource.CIRCUIT, Milliamps(5_000)), host.now)
        host.run(61)
        assert host.show("PowerAdjustmentCapability") is None

    def test_ends_with_the_permission(self) -> None:
        host = discharging()
        assert adjust(host, -2_300_000, 600) == Status.SUCCESS
        host.expect("PowerAdjustStart")
        host.invoke("Disable")
        host.expect("PowerAdjustEnd", cause=CAUSE_OFFLINE)
        assert host.charger.state.discharge_limits.claim(LimitSource.GRID) is None
        assert not host.charger.state.is_discharge_requested


class TestBothDirections:
    def test_adjustment_reverses_and_returns(self) -> None:
        host = both_ways()
        assert options(host) == [(LEAST_MW, FULL_MW), (-FULL_MW, -LEAST_MW)]
        before = host.read_forecast()
        assert adjust(host, -2_300_000, 600, GRID) == Status.SUCCESS
        assert host.charger.snapshot().state is State.PLUGGED_IN_DISCHARGING
        host.run(10)
        assert current(host) == -10_000
        forecast = host.read_forecast()
        slot = forecast.slots[0]
        assert (forecast.active, slot[2], slot[9]) == (0, 600, -2_300_000)
        assert (slot[10], slot[11], slot[12]) == (-FULL_MW, -LEAST_MW, -383_334)
        assert forecast.slots[1][9] == FULL_MW
        # What comes back now is to be delivered again.
        assert forecast.end > before.end + 600
        host.expect("PowerAdjustStart")
        # One and the same adjustment goes on the other way.
        assert adjust(host, LEAST_MW, 600) == Status.SUCCESS
        host.run(10)
        assert current(host) == 6_000
        assert host.is_quiet()
        assert adjust(host, -FULL_MW, 60) == Status.SUCCESS
        host.run(10)
        assert current(host) == -16_000
        host.run(55)
        host.expect("PowerAdjustEnd", cause=NORMAL_COMPLETION)
        host.run(10)
        assert current(host) == 16_000
        assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING

    def test_ends_when_discharging_is_no_longer_allowed(self) -> None:
        host = both_ways()
        assert adjust(host, -FULL_MW, 600) == Status.SUCCESS
        host.expect("PowerAdjustStart")
        until = EpochSeconds(host.epoch_s + 60)
        host.charger.handle(EnableDischarging(until, Milliamps(16_000)), host.now)
        host.run(30)
        assert current(host) == -16_000
        host.run(45)
        host.expect("PowerAdjustEnd", cause=CANCELLED)
        assert options(host) == [(LEAST_MW, FULL_MW)]
        assert current(host) == 16_000

    def test_ends_when_unplugged(self) -> None:
        host = both_ways()
        assert adjust(host, -FULL_MW, 600) == Status.SUCCESS
        host.expect("PowerAdjustStart")
        host.backend.unplug()
        host.run(2)
        host.expect("PowerAdjustEnd", cause=CAUSE_OFFLINE)
        host.backend.plug_in()
        host.backend.demand()
        host.run(10)
        assert current(host) == 16_000

    def test_is_refused_during_a_pause(self) -> None:
        host = both_ways()
        assert pause(host, 60) == Status.SUCCESS
        assert adjust(host, -FULL_MW, 60) == Status.INVALID_IN_STATE
        host.run(10)
        assert current(host) == 0

    def test_negative_constraint_only_stops_charging(self) -> None:
        host = both_ways()
        constraint: TlvValue = {0: host.epoch_s + 60, 1: 600, 2: -FULL_MW, 3: 0}
        assert (
            host.manage("RequestConstraintBasedForecast", constraints=[constraint], cause=GRID)
            == Status.SUCCESS
        )
        assert [slot[9] for slot in host.read_forecast().slots][:2] == [FULL_MW, 0]
