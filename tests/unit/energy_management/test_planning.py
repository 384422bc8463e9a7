from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_node.energy_management.conditions import EnergyDemand, Supply
from evse_node.energy_management.forecast import Forecast, energy_of
from evse_node.energy_management.planning import (
    CHARGING,
    IDLE,
    MAXIMUM_SLOTS,
    Block,
    Cap,
    expected_energy,
    fill,
    make_forecast,
)
from evse_node.units import EpochSeconds, Milliamps, Millivolts, MilliwattHours, Milliwatts
from tests.unit.energy_management.plant import EPOCH, HOUR, POWER

FULL, LEAST = POWER.maximum_mw, POWER.minimum_mw


def cap(start_s: int, end_s: int, power_mw: int) -> Cap:
    return Cap(EpochSeconds(EPOCH + start_s), EpochSeconds(EPOCH + end_s), Milliwatts(power_mw))


def plan(energy_mwh: int, latest_s: int | None, *caps: Cap, start_s: int = 0) -> Forecast | None:
    latest = None if latest_s is None else EpochSeconds(EPOCH + latest_s)
    return make_forecast(3, energy_mwh, EpochSeconds(EPOCH + start_s), latest, POWER, caps)


# Filling


def test_fill_without_caps_is_one_block() -> None:
    assert fill(3_680_000, EPOCH, POWER) == [Block(HOUR, FULL)]


def test_fill_under_a_cap_takes_longer() -> None:
    blocks = fill(3_680_000, EPOCH, POWER, [cap(600, 1200, FULL // 2)])
    assert blocks == [Block(600, FULL), Block(600, FULL // 2), Block(2700, FULL)]


def test_cap_below_minimum_power_stops_charging() -> None:
    blocks = fill(3_680_000, EPOCH, POWER, [cap(600, 1200, LEAST - 1)])
    assert blocks == [Block(600, FULL), Block(600, 0), Block(3000, FULL)]


def test_fill_may_end_within_a_cap() -> None:
    assert fill(energy_of(LEAST, 60), EPOCH, POWER, [cap(0, 600, LEAST)]) == [Block(60, LEAST)]


def test_past_or_high_cap_has_no_effect() -> None:
    caps = [cap(-600, 0, 0), cap(60, 120, FULL * 2)]
    assert fill(3_680_000, EPOCH, POWER, caps) == [Block(HOUR, FULL)]


def test_running_cap_applies_from_now() -> None:
    assert fill(3_680_000, EPOCH, POWER, [cap(-600, 60, 0)]) == [Block(60, 0), Block(HOUR, FULL)]


# Forecasts


def test_long_forecast_is_split_into_hours() -> None:
    forecast = plan(3 * 3_680_000 + 100, None)
    assert forecast is not None
    assert [slot.duration_s for slot in forecast.slots] == [2701, 2700, 2700, 2700]
    assert all(slot.esa_state == CHARGING for slot in forecast.slots)
    assert forecast.slack_s == HOUR


def test_very_long_forecast_has_the_maximum_number_of_slots() -> None:
    forecast = plan(30 * 3_680_000, None)
    assert forecast is not None
    assert len(forecast.slots) == MAXIMUM_SLOTS
    assert sum(slot.duration_s for slot in forecast.slots) == 30 * HOUR


def test_initial_wait_delays_the_start() -> None:
    forecast = plan(3_680_000, 2 * HOUR, cap(0, 600, 0))
    assert forecast is not None
    assert forecast.start_time == EPOCH + 600
    assert len(forecast.slots) == 1


def test_idle_slot_cannot_be_changed_or_paused() -> None:
    forecast = plan(3_680_000, 3 * HOUR, cap(600, 1200, 0))
    assert forecast is not None
    first, idle, last = forecast.slots
    assert (idle.power_mw, idle.energy_mwh, idle.esa_state) == (0, 0, IDLE)
    assert idle.limits is None
    assert not idle.is_pausable
    assert first.is_pausable
    assert last.limits is not None


def test_missed_deadline_leaves_no_slack() -> None:
    forecast = plan(3_680_000, 600)
    assert forecast is not None
    assert forecast.latest_end_time == forecast.end_time == EPOCH + HOUR
    [slot] = forecast.slots
    assert not slot.is_pausable
    assert slot.limits is not None
    assert (slot.limits.shortest_s, slot.limits.longest_s) == (HOUR, HOUR)


@pytest.mark.parametrize(
    ("slack_s", "is_pausable", "longest_s"),
    [(59, False, 0), (60, True, 60), (1800, True, 1800), (9000, True, 3600)],
)
def test_pauses_fit_before_the_deadline(slack_s: int, is_pausable: bool, longest_s: int) -> None:
    forecast = plan(3_680_000, HOUR + slack_s)
    assert forecast is not None
    [slot] = forecast.slots
    assert slot.is_pausable is is_pausable
    assert slot.longest_pause_s == longest_s
    assert slot.longest_s == HOUR + slack_s


def test_forecast_with_too_many_slots_is_none() -> None:
    caps = [cap(600 * index, 600 * index + 300, LEAST) for index in range(1, 7)]
    assert plan(7_360_000, None, *caps) is None


@given(
    energy_mwh=st.integers(1, 60_000_000),
    latest_s=st.one_of(st.none(), st.integers(0, 100_000)),
    start_s=st.integers(0, 20_000),
    edges=st.lists(st.integers(-1000, 50_000), max_size=10, unique=True),
    powers=st.lists(st.integers(0, 5_000_000), min_size=5, max_size=5),
)
def test_slots_of_any_forecast_sum_up(
    energy_mwh: int, latest_s: int | None, start_s: int, edges: list[int], powers: list[int]
) -> None:
    ordered = sorted(edges)
    caps = [
        cap(*edge, power) for edge, power in zip(list(pairwise(ordered))[::2], powers, strict=False)
    ]
    forecast = plan(energy_mwh, latest_s, *caps, start_s=start_s)
    if forecast is None:
        return
    assert 1 <= len(forecast.slots) <= MAXIMUM_SLOTS
    assert forecast.start_time >= EPOCH + start_s
    assert forecast.end_time == forecast.start_time + sum(
        slot.duration_s for slot in forecast.slots
    )
    assert forecast.latest_end_time >= forecast.end_time
    # Rounding adds up to a second of power in each slot.
    surplus = forecast.energy_mwh - energy_mwh
    assert -MAXIMUM_SLOTS <= surplus <= energy_of(FULL, 1) * MAXIMUM_SLOTS
    begins = int(forecast.start_time)
    for slot in forecast.slots:
        ends = begins + slot.duration_s
        assert slot.duration_s > 0
        assert slot.power_mw == 0 or LEAST <= slot.power_mw <= FULL
        assert slot.shortest_s <= slot.duration_s <= slot.longest_s
        for each in caps:
            if max(begins, each.start_time) < min(ends, each.end_time):
                assert slot.power_mw <= each.power_mw
        begins = ends


# Needs


def test_expected_energy_is_that_of_the_target() -> None:
    demand = EnergyDemand(remaining_mwh=MilliwattHours(500_000), deadline=EPOCH)
    assert expected_energy(demand, POWER) == 500_000
    assert demand.is_promised


def test_expected_energy_covers_at_least_a_minute() -> None:
    demand = EnergyDemand(remaining_mwh=MilliwattHours(5), deadline=EPOCH)
    assert expected_energy(demand, POWER) == energy_of(FULL, 60)
    demand = EnergyDemand(remaining_mwh=MilliwattHours(5))
    assert expected_energy(demand, POWER) == energy_of(FULL, 900)


@pytest.mark.parametrize(
    ("charged_mwh", "expected"), [(0, 20_000_000), (5_000_000, 15_000_000), (19_999_999, 920_000)]
)
def test_expected_energy_without_target_is_a_typical_session(
    charged_mwh: int, expected: int
) -> None:
    demand = EnergyDemand(charged_mwh=MilliwattHours(charged_mwh))
    assert expected_energy(demand, POWER) == expected
    assert not demand.is_promised


def test_met_target_is_no_promise() -> None:
    demand = EnergyDemand(remaining_mwh=MilliwattHours(0), deadline=EPOCH)
    assert not demand.is_promised
    assert expected_energy(demand, POWER) == 20_000_000


def test_forecast_is_at_most_a_week_long() -> None:
    demand = EnergyDemand(remaining_mwh=MilliwattHours(10**18), deadline=EPOCH)
    forecast = plan(expected_energy(demand, POWER), None)
    assert forecast is not None
    assert forecast.end_time == EPOCH + 7 * 24 * HOUR


# Current and power


@pytest.mark.parametrize("phases", [1, 3])
@pytest.mark.parametrize("current_ma", [6_000, 6_001, 10_123, 15_999, 31_777, 80_000])
def test_power_of_a_current_converts_back_to_it(phases: int, current_ma: int) -> None:
    supply = Supply(
        Millivolts(231_300), phases, Milliamps(6_000), Milliamps(current_ma), Milliamps(0)
    )
    power = supply.power
    assert power is not None
    assert supply.current_ma(power.maximum_mw) == current_ma
    assert supply.current_ma(power.minimum_mw) == 6_000
    assert supply.current_ma(0) == 0


def test_current_below_minimum_has_no_power() -> None:
    assert (
        Supply(Millivolts(230_000), 1, Milliamps(6_000), Milliamps(5_999), Milliamps(5_999)).power
        is None
    )
