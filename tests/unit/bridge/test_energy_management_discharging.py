"""Power adjustments below zero: energy that comes back from the vehicle."""

from __future__ import annotations

import pytest

from evse_node.bridge.evse import evse_settings
from evse_node.cluster.zap import revision_definitions
from evse_node.matter.interaction.status import Status
from evse_node.state_machine.events import Direction, EnableDischarging, LimitClaimed
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.names import State
from evse_node.units import EpochSeconds, Milliamps
from tests.charger_host import ALL_FEATURES
from tests.energy_charging import (
    CANCELLED,
    CAUSE_OFFLINE,
    FULL_MW,
    GRID,
    NORMAL_COMPLETION,
    ONLINE,
    POWER_ADJUST_ACTIVE,
    adjust,
    charging,
    current,
    pause,
)
from tests.energy_host import EnergyHost, as_int

LEAST_MW = 1_380_000
DISCHARGE = EnableDischarging(None, Milliamps(16_000))


def discharging() -> EnergyHost:
    """A car that gives 16 A, where only one direction can be enabled."""
    host = EnergyHost()
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


def test_what_can_discharge_generates() -> None:
    host = EnergyHost()
    assert host.show("ESACanGenerate") is True
    assert (host.show("AbsMinPower"), host.show("AbsMaxPower")) == (-7_360_000, 7_360_000)
    load = EnergyHost(features=ALL_FEATURES - {"V2X"})
    assert load.show("ESACanGenerate") is False
    assert load.show("AbsMinPower") == LEAST_MW


class TestOneDirection:
    def test_less_comes_back_for_a_time(self) -> None:
        host = discharging()
        assert options(host) == [(-FULL_MW, -LEAST_MW)]
        assert host.show("Forecast") is None
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
    def test_only_what_is_offered(self, power: int) -> None:
        host = discharging()
        assert adjust(host, power, 600) == Status.CONSTRAINT_ERROR
        assert current(host) == -16_000

    def test_a_lower_limit_counts(self) -> None:
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
        assert not host.charger.state.is_discharge_asked


class TestBothDirections:
    def test_turns_round_and_back(self) -> None:
        host = both_ways()
        assert options(host) == [(LEAST_MW, FULL_MW), (-FULL_MW, -LEAST_MW)]
        before = host.look()
        assert adjust(host, -2_300_000, 600, GRID) == Status.SUCCESS
        assert host.charger.snapshot().state is State.PLUGGED_IN_DISCHARGING
        host.run(10)
        assert current(host) == -10_000
        forecast = host.look()
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

    def test_unplugging_ends_it(self) -> None:
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

    def test_a_pause_comes_before_it(self) -> None:
        host = both_ways()
        assert pause(host, 60) == Status.SUCCESS
        assert adjust(host, -FULL_MW, 60) == Status.INVALID_IN_STATE
        host.run(10)
        assert current(host) == 0

    def test_a_constraint_below_zero_only_keeps_off(self) -> None:
        host = both_ways()
        constraint = {0: host.epoch_s + 60, 1: 600, 2: -FULL_MW, 3: 0}
        assert (
            host.manage("RequestConstraintBasedForecast", constraints=[constraint], cause=GRID)
            == Status.SUCCESS
        )
        assert [slot[9] for slot in host.look().slots][:2] == [FULL_MW, 0]
