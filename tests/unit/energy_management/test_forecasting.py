from __future__ import annotations

import pytest
from msgspec.structs import replace

from evse_node.energy_management.enums import (
    AdjustmentCause,
    UpdateReason,
)
from evse_node.energy_management.requests import (
    CancelRequest,
    Constraint,
    ConstraintRequest,
    ModifyForecastRequest,
    OptOutChanged,
    PauseRequest,
    PowerAdjustRequest,
    Problem,
    ResumeRequest,
    SlotAdjustment,
    StartTimeAdjustRequest,
)
from evse_node.energy_management.state import NO_ORDERS
from evse_node.units import EpochSeconds, MilliwattHours, Milliwatts
from tests.unit.energy_management.plant import (
    EPOCH,
    HOUR,
    POWER,
    PROMISED,
    SFR,
    Bench,
    needs,
)

LOCAL, GRID = AdjustmentCause.LOCAL, AdjustmentCause.GRID
FULL = POWER.maximum_mw
HALF = Milliwatts(1_840_000)
HALF_ADJUSTMENT = PowerAdjustRequest(HALF, 600, LOCAL)


def at(seconds: int) -> EpochSeconds:
    return EpochSeconds(EPOCH + seconds)


def test_forecast_starts_with_the_schedule() -> None:
    waiting = replace(PROMISED, start_time=at(3 * HOUR))
    bench = Bench(waiting)
    assert (bench.forecast.start_time, bench.forecast.end_time) == (at(3 * HOUR), at(5 * HOUR))
    assert bench.forecast.latest_end_time == at(6 * HOUR)
    assert bench.forecast.active_slot is None
    number = bench.forecast.id
    # The wait ends as planned, a little late: it is the same forecast.
    bench.wait(3 * HOUR + 2)
    bench.change(PROMISED)
    assert (bench.forecast.id, bench.forecast.active_slot) == (number, 0)


def test_early_start_makes_a_new_forecast() -> None:
    bench = Bench(replace(PROMISED, start_time=at(3 * HOUR)))
    number = bench.forecast.id
    bench.wait(HOUR)
    bench.change(PROMISED)
    assert bench.forecast.id > number
    assert bench.forecast.start_time == at(HOUR)


def test_forecast_ids_increase_and_wrap() -> None:
    bench = Bench(PROMISED)
    numbers = [bench.forecast.id]
    assert numbers[0] == 8
    for request in (
        StartTimeAdjustRequest(at(HOUR), LOCAL),
        CancelRequest(),
        ConstraintRequest((Constraint(at(60), 60, HALF, MilliwattHours(10**6)),), LOCAL),
        OptOutChanged(frozenset({LOCAL})),
    ):
        assert bench.ask(request) is None
        numbers.append(bench.forecast.id)
    assert numbers == sorted(set(numbers))
    bench.ask(OptOutChanged(frozenset()))
    assert bench.forecast.id == numbers[-1]


def test_progress_makes_no_new_forecast() -> None:
    bench = Bench(PROMISED)
    number = bench.forecast.id
    bench.wait(600)
    less = replace(needs(6_000_000, 6 * HOUR), charged_mwh=MilliwattHours(1_360_000))
    bench.change(replace(PROMISED, demand=less))
    assert bench.forecast.id == number


def test_forecast_without_clock_is_none() -> None:
    bench = Bench(PROMISED)
    bench.ask(StartTimeAdjustRequest(at(HOUR), LOCAL))
    bench.is_clock_known = False
    bench.wait(61)
    assert bench.appliance.forecast() is None
    assert bench.orders == NO_ORDERS
    assert bench.appliance.next_deadline() == pytest.approx(bench.now + 30, abs=30)
    bench.is_clock_known = True
    bench.wait(30)
    assert bench.appliance.state.update_reason is UpdateReason.INTERNAL


def test_requested_forecast_is_followed_slot_by_slot() -> None:
    bench = Bench(PROMISED)
    windows = (
        Constraint(at(600), 600, HALF, MilliwattHours(10**9)),
        Constraint(at(1800), 600, HALF, MilliwattHours(0)),
    )
    assert bench.ask(ConstraintRequest(windows, GRID)) is None
    assert [slot.power_mw for slot in bench.forecast.slots[:5]] == [FULL, HALF, FULL, 0, FULL]
    seen = []
    for _ in range(5):
        seen.append(bench.orders.limit_ma)
        bench.wait(600)
    assert seen == [None, 8_000, None, 0, None]
    bench.wait(3 * HOUR)
    assert bench.appliance.state.update_reason is UpdateReason.INTERNAL
    assert bench.orders == NO_ORDERS


def test_energy_constraint_limits_power() -> None:
    bench = Bench(PROMISED)
    window = Constraint(at(600), HOUR, FULL, MilliwattHours(HALF))
    assert bench.ask(ConstraintRequest((window,), GRID)) is None
    assert bench.forecast.slots[1].power_mw == HALF


@pytest.mark.parametrize(("load", "expected"), [(-100, 0), (-50, HALF), (0, FULL), (100, FULL)])
def test_load_control_constraint_reduces_power(load: int, expected: int) -> None:
    bench = Bench(PROMISED, SFR)
    window = Constraint(at(600), HOUR, load_control=load)
    assert bench.ask(ConstraintRequest((window,), GRID)) is None
    bench.wait(700)
    slot = bench.forecast.slots[bench.forecast.active_slot or 0]
    assert slot.power_mw == expected


def test_past_slot_cannot_be_changed() -> None:
    bench = Bench(PROMISED)
    bench.wait(HOUR + 10)
    number = bench.forecast.id
    change = SlotAdjustment(0, HOUR, FULL)
    assert bench.ask(ModifyForecastRequest(number, (change,), LOCAL)) is Problem.CONSTRAINT
    change = SlotAdjustment(1, 2 * HOUR, HALF)
    assert bench.ask(ModifyForecastRequest(number, (change,), LOCAL)) is None
    # What was drawn before the change was drawn at full power.
    energy = bench.forecast.slots[1].energy_mwh
    assert energy == pytest.approx(10 * FULL / 3600 + (2 * HOUR - 10) * HALF / 3600, abs=2)


def test_request_replaces_a_request_in_progress() -> None:
    bench = Bench(PROMISED)
    bench.ask(PauseRequest(300, LOCAL))
    assert bench.ask(StartTimeAdjustRequest(at(HOUR), LOCAL)) is Problem.STATE
    assert bench.ask(HALF_ADJUSTMENT) is Problem.STATE
    bench.ask(ResumeRequest())
    bench.ask(HALF_ADJUSTMENT)
    assert bench.ask(ConstraintRequest((), LOCAL)) is Problem.STATE
    assert bench.ask(PauseRequest(300, LOCAL)) is Problem.STATE
