"""Whatever happens, in whatever order: energy management stays in line with itself."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from evse_node.energy_management.conditions import Availability, Conditions, DischargePlan
from evse_node.energy_management.enums import AdjustmentCause, EsaState, UpdateReason
from evse_node.energy_management.events import (
    Paused,
    PowerAdjustEnded,
    PowerAdjustStarted,
    Resumed,
)
from evse_node.energy_management.forecast import PowerRange
from evse_node.energy_management.planning import MAXIMUM_SLOTS
from evse_node.energy_management.requests import (
    CancelPowerAdjustRequest,
    CancelRequest,
    Constraint,
    ConstraintRequest,
    Event,
    ModifyForecastRequest,
    OptOutChanged,
    PauseRequest,
    PowerAdjustRequest,
    ResumeRequest,
    SlotAdjustment,
    StartTimeAdjustRequest,
)
from evse_node.energy_management.state import NO_ORDERS
from evse_node.units import EpochSeconds, MilliwattHours, Milliwatts
from tests.unit.energy_management.plant import (
    EPOCH,
    HOUR,
    PFR,
    PLUGGED_IN,
    SFR,
    Bench,
    limited,
    needs,
)

BACK = PowerRange(Milliwatts(-3_680_000), Milliwatts(-1_380_000))
causes = st.sampled_from(AdjustmentCause)
seconds = st.integers(-100, 8 * HOUR)
powers = st.integers(-5_000_000, 5_000_000).map(Milliwatts)
durations = st.one_of(st.integers(0, 5 * HOUR), st.sampled_from([60, 600, HOUR]))
conditions = st.builds(
    lambda availability, current, intended, back, connected, wants, demand, start, gives: (
        Conditions(
            availability,
            PowerRange(Milliwatts(-3_680_000), PLUGGED_IN.power.maximum_mw),
            replace(limited(current, min(current, intended)), discharge_power=back),
            connected,
            wants,
            demand,
            start,
            # By itself it gives only where it may not be charged.
            gives if back is not None and not current else None,
        )
    ),
    st.sampled_from([Availability.ONLINE] * 8 + [Availability.FAULT, Availability.OFFLINE]),
    st.sampled_from([0, 6_000, 10_000, 16_000]),
    st.sampled_from([0, 8_000, 16_000, 16_000]),
    st.sampled_from([None, BACK, BACK, replace(BACK, minimum_mw=Milliwatts(-1_840_000))]),
    st.sampled_from([True] * 5 + [False]),
    st.booleans(),
    st.builds(
        lambda energy, deadline, goal, reserve: replace(
            needs(energy, deadline, goal), reserve_s=reserve
        ),
        st.integers(0, 30_000_000),
        st.one_of(st.none(), st.integers(0, 12 * HOUR)),
        st.integers(0, 2),
        st.sampled_from([0, 0, 600, 5 * HOUR]),
    ),
    st.one_of(st.none(), st.integers(0, 6 * HOUR).map(lambda each: EpochSeconds(EPOCH + each))),
    st.one_of(
        st.none(),
        st.builds(
            lambda until, available: DischargePlan(
                None if until is None else EpochSeconds(EPOCH + until),
                None if available is None else MilliwattHours(available),
            ),
            st.one_of(st.none(), st.integers(0, 6 * HOUR)),
            st.one_of(st.none(), st.integers(0, 60_000_000)),
        ),
    ),
)
constraints = st.builds(
    lambda start, duration, power, energy, load: Constraint(
        EpochSeconds(EPOCH + start), duration, power, MilliwattHours(energy), load
    ),
    seconds,
    durations,
    powers,
    st.integers(-5, 10_000_000),
    st.integers(-100, 100),
)
slots = st.builds(SlotAdjustment, st.integers(0, 10), durations, powers)
# The number of the forecast is filled in later.
events: st.SearchStrategy[Event | Conditions | float] = st.one_of(
    st.floats(0.1, 2 * HOUR),
    conditions,
    st.builds(OptOutChanged, st.frozensets(causes)),
    st.builds(PowerAdjustRequest, powers, durations, causes),
    st.just(CancelPowerAdjustRequest()),
    st.builds(StartTimeAdjustRequest, seconds.map(lambda each: EpochSeconds(EPOCH + each)), causes),
    st.builds(PauseRequest, durations, causes),
    st.just(ResumeRequest()),
    st.builds(ModifyForecastRequest, st.just(0), st.lists(slots, max_size=3).map(tuple), causes),
    st.builds(
        ConstraintRequest,
        st.lists(constraints, max_size=4).map(
            lambda some: tuple(sorted(some, key=lambda each: each.start_time))
        ),
        causes,
    ),
    st.just(CancelRequest()),
)


def check(bench: Bench) -> None:
    state = bench.appliance.state
    assert (state.esa_state is EsaState.PAUSED) == (state.pause is not None)
    assert (state.esa_state is EsaState.POWER_ADJUST_ACTIVE) == (state.adjustment is not None)
    for running in (state.pause, state.adjustment):
        assert running is None or running.cause not in state.opted_out
    assert state.altered_by not in state.opted_out
    is_managed = state.is_available and not state.is_idle
    if not is_managed:
        assert (state.forecast, state.pause, state.adjustment, state.options) == (
            None,
            None,
            None,
            (),
        )
    if state.update_reason is UpdateReason.INTERNAL and state.adjustment is None:
        assert bench.orders == NO_ORDERS
    if state.pause is not None:
        assert bench.orders.limit_ma == 0
    adjustment = state.adjustment
    is_back = adjustment is not None and adjustment.power_mw < 0
    assert (bench.orders.discharge_ma is not None) is is_back
    if is_back and state.idle_at is None:
        assert state.conditions.supply.discharge_power is not None
        assert bench.orders.limit_ma is None
    forecast = bench.appliance.forecast()
    if forecast is None:
        assert state.altered_by is None
        return
    assert 1 <= len(forecast.slots) <= MAXIMUM_SLOTS
    assert forecast.end_time - forecast.start_time == sum(
        slot.duration_s for slot in forecast.slots
    )
    assert forecast.end_time <= max(forecast.latest_end_time, forecast.end_time)
    assert all(slot.duration_s > 0 for slot in forecast.slots)
    assert all(slot.elapsed_s + slot.remaining_s == slot.duration_s for slot in forecast.slots)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([PFR, SFR]), st.lists(events, max_size=25))
def test_any_sequence_of_events_keeps_the_invariants(
    features: frozenset[str], story: list[Event | Conditions | float]
) -> None:
    bench = Bench(replace(PLUGGED_IN, demand=needs(7_360_000, 8 * HOUR)), features)
    check(bench)
    for event in story:
        bench.appliance.on_timer(bench.now)
        before = bench.appliance.state
        if isinstance(event, float):
            bench.wait(event)
        elif isinstance(event, Conditions):
            bench.change(event)
        else:
            if isinstance(event, ModifyForecastRequest) and before.forecast is not None:
                event = replace(event, forecast_id=before.forecast.id)
            if bench.ask(event) is not None:
                # Refused: nothing has changed.
                assert bench.appliance.state == before
        check(bench)
    bench.change(replace(PLUGGED_IN, is_connected=False))
    assert bench.orders == NO_ORDERS
    # What begins ends, once, before the next begins.
    running: list[type] = []
    for notice in bench.take():
        if isinstance(notice, PowerAdjustStarted | Paused):
            assert not running
            running.append(type(notice))
        else:
            opened = PowerAdjustStarted if isinstance(notice, PowerAdjustEnded) else Paused
            assert isinstance(notice, PowerAdjustEnded | Resumed)
            assert running == [opened]
            running.clear()
    assert not running
