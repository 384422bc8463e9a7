from __future__ import annotations

import pytest
from msgspec.structs import replace

from evse_node.energy_management.forecast import (
    Forecast,
    PowerRange,
    Slot,
    duration_for,
    energy_of,
)
from evse_node.units import EpochSeconds, MilliwattHours, Milliwatts

POWER = PowerRange(Milliwatts(1_000_000), Milliwatts(3_600_000))
START = EpochSeconds(1000)


def slot(duration_s: int, *, is_pausable: bool = False) -> Slot:
    return Slot(
        duration_s=duration_s,
        shortest_s=duration_s,
        longest_s=duration_s,
        power_mw=POWER.maximum_mw,
        power=POWER,
        energy_mwh=energy_of(POWER.maximum_mw, duration_s),
        esa_state=1,
        is_pausable=is_pausable,
    )


FORECAST = Forecast(
    id=5,
    start_time=START,
    end_time=EpochSeconds(1060),
    latest_end_time=EpochSeconds(1100),
    slots=(slot(10), slot(20, is_pausable=True), slot(30)),
)


@pytest.mark.parametrize(
    ("now", "active", "elapsed", "remaining"),
    [
        (0, None, [0, 0, 0], [10, 20, 30]),
        (999, None, [0, 0, 0], [10, 20, 30]),
        (1000, 0, [0, 0, 0], [10, 20, 30]),
        (1009, 0, [9, 0, 0], [1, 20, 30]),
        (1010, 1, [10, 0, 0], [0, 20, 30]),
        (1045, 2, [10, 20, 15], [0, 0, 15]),
        (9999, 2, [10, 20, 30], [0, 0, 0]),
    ],
)
def test_forecast_progress_fills_elapsed_and_remaining_times(
    now: int, active: int | None, elapsed: list[int], remaining: list[int]
) -> None:
    seen = FORECAST.at(EpochSeconds(now))
    assert seen.active_slot == active
    assert [each.elapsed_s for each in seen.slots] == elapsed
    assert [each.remaining_s for each in seen.slots] == remaining
    assert (seen.id, seen.start_time, seen.end_time) == (5, START, FORECAST.end_time)


@pytest.mark.parametrize(
    ("now", "boundary"),
    [(0, 1000), (1000, 1010), (1009, 1010), (1010, 1030), (1059, 1060), (1060, None)],
)
def test_forecast_next_boundary_is_next_slot_or_end(now: int, boundary: int | None) -> None:
    assert FORECAST.next_boundary(EpochSeconds(now)) == boundary


def test_shifted_forecast_keeps_duration_and_bounds() -> None:
    moved = FORECAST.shifted(EpochSeconds(1025))
    assert (moved.start_time, moved.end_time, moved.latest_end_time) == (1025, 1085, 1100)
    assert moved.slack_s == 15
    assert moved.slots == FORECAST.slots


def test_replaced_slot_moves_the_later_ones() -> None:
    longer = FORECAST.with_slot(1, slot(25))
    assert [each.duration_s for each in longer.slots] == [10, 25, 30]
    assert longer.end_time == 1065
    assert sum(slot.duration_s for slot in longer.slots) == longer.end_time - longer.start_time


def test_forecast_left_at_a_time_starts_there() -> None:
    left = FORECAST.left_at(EpochSeconds(1015))
    assert [each.duration_s for each in left.slots] == [15, 30]
    assert (left.start_time, left.end_time) == (1015, 1060)
    assert left.slots[0].energy_mwh == energy_of(POWER.maximum_mw, 15)
    for now in (0, 1000, 1060, 5000):
        assert FORECAST.left_at(EpochSeconds(now)) is FORECAST


def test_forecast_is_pausable_if_any_slot_is() -> None:
    assert FORECAST.is_pausable
    assert not replace(FORECAST, slots=(slot(10), slot(20))).is_pausable


def test_energy_and_duration_of_constant_power_round_apart() -> None:
    assert energy_of(3_600_000, 1) == 1000
    assert energy_of(1_000_000, 1) == 277
    assert duration_for(1000, 3_600_000) == 1
    assert duration_for(1001, 3_600_000) == 2
    assert FORECAST.energy_mwh == MilliwattHours(60_000)
    assert POWER.contains(1_000_000)
    assert POWER.contains(3_600_000)
    assert not POWER.contains(999_999)
    assert not POWER.contains(3_600_001)
