from __future__ import annotations

import logging

import pytest
from msgspec.structs import replace

from evse_node.energy_management.appliance import Appliance
from evse_node.energy_management.conditions import Availability
from evse_node.energy_management.enums import (
    AdjustmentCause,
    EndCause,
    EsaState,
    UpdateReason,
)
from evse_node.energy_management.events import (
    Paused,
    PowerAdjustEnded,
    PowerAdjustStarted,
    Resumed,
)
from evse_node.energy_management.forecast import PowerRange
from evse_node.energy_management.requests import (
    CancelPowerAdjustRequest,
    CancelRequest,
    ConstraintRequest,
    ModifyForecastRequest,
    OptOutChanged,
    PauseRequest,
    PowerAdjustRequest,
    PowerOption,
    Problem,
    ResumeRequest,
    Script,
    ScriptChanged,
    StartTimeAdjustRequest,
)
from evse_node.energy_management.state import NO_ORDERS, Orders
from evse_node.units import EpochSeconds, Milliamps, MilliwattHours, Milliwatts
from tests.unit.energy_management.plant import (
    AWAY,
    EPOCH,
    HOUR,
    PFR,
    PLUGGED_IN,
    POWER,
    PROMISED,
    SFR,
    SUPPLY,
    Bench,
    limited,
    needs,
)

LOCAL, GRID = AdjustmentCause.LOCAL, AdjustmentCause.GRID
FULL = POWER.maximum_mw
HALF = Milliwatts(1_840_000)
HALF_ADJUSTMENT = PowerAdjustRequest(HALF, 600, LOCAL)


def at(seconds: int) -> EpochSeconds:
    return EpochSeconds(EPOCH + seconds)


# Nothing to manage


def test_appliance_without_vehicle_has_no_forecast_and_no_options() -> None:
    bench = Bench(AWAY)
    state = bench.appliance.state
    assert (state.esa_state, state.options, state.forecast) == (EsaState.ONLINE, (), None)
    for request, problem in (
        (HALF_ADJUSTMENT, Problem.CONSTRAINT),
        (CancelPowerAdjustRequest(), Problem.STATE),
        (StartTimeAdjustRequest(at(60), LOCAL), Problem.IMPOSSIBLE),
        (PauseRequest(60, LOCAL), Problem.IMPOSSIBLE),
        (ResumeRequest(), Problem.STATE),
        (ModifyForecastRequest(8, (), LOCAL), Problem.IMPOSSIBLE),
        (ConstraintRequest((), LOCAL), Problem.IMPOSSIBLE),
        (CancelRequest(), Problem.IMPOSSIBLE),
    ):
        assert bench.ask(request) is problem
    assert bench.given == []
    assert bench.take() == []
    assert bench.appliance.next_deadline() is None


@pytest.mark.parametrize(
    ("availability", "state"),
    [(Availability.OFFLINE, EsaState.OFFLINE), (Availability.FAULT, EsaState.FAULT)],
)
def test_appliance_that_is_not_online_offers_nothing(
    availability: Availability, state: EsaState
) -> None:
    bench = Bench(replace(PLUGGED_IN, availability=availability))
    assert bench.appliance.state.esa_state is state
    assert bench.ask(HALF_ADJUSTMENT) is Problem.CONSTRAINT


def test_vehicle_without_demand_has_no_forecast() -> None:
    bench = Bench(replace(PLUGGED_IN, requests_energy=False))
    assert bench.appliance.state.options == ()
    assert bench.appliance.forecast() is None


def test_limit_below_minimum_current_leaves_no_power() -> None:
    low = limited(5_000)
    bench = Bench(replace(PLUGGED_IN, supply=low))
    assert bench.appliance.state.options == ()
    assert bench.appliance.forecast() is None


# Power adjustment


def test_power_adjustment_starts_limits_and_ends() -> None:
    bench = Bench()
    bench.meter = 1000
    assert bench.ask(HALF_ADJUSTMENT) is None
    assert bench.take() == [PowerAdjustStarted()]
    assert bench.orders == Orders(Milliamps(8_000), overrides_schedule=True)
    # The forecast includes it.
    first, *others = bench.forecast.slots
    assert (first.power_mw, first.duration_s) == (HALF, 600)
    assert others[0].power_mw == FULL
    assert bench.forecast.active_slot == 0
    bench.meter = 301_000
    bench.wait(600)
    assert bench.take() == [
        PowerAdjustEnded(EndCause.NORMAL_COMPLETION, 600, MilliwattHours(300_000))
    ]
    assert bench.orders == NO_ORDERS
    assert {slot.power_mw for slot in bench.forecast.slots} == {FULL}


def test_second_adjustment_continues_the_first() -> None:
    bench = Bench()
    bench.ask(HALF_ADJUSTMENT)
    bench.wait(300)
    assert bench.ask(PowerAdjustRequest(POWER.minimum_mw, 400, GRID)) is None
    assert bench.orders.limit_ma == 6_000
    bench.wait(399)
    assert bench.take() == [PowerAdjustStarted()]
    bench.meter = 5
    bench.wait(1)
    assert bench.take() == [PowerAdjustEnded(EndCause.NORMAL_COMPLETION, 700, MilliwattHours(5))]


@pytest.mark.parametrize(
    ("power", "duration", "is_good"),
    [
        (POWER.minimum_mw, 30, True),
        (FULL, 4 * HOUR, True),
        (POWER.minimum_mw - 1, 60, False),
        (FULL + 1, 60, False),
        (FULL, 29, False),
        (FULL, 4 * HOUR + 1, False),
    ],
)
def test_adjustment_outside_the_options_is_refused(
    power: int, duration: int, is_good: bool
) -> None:
    request = PowerAdjustRequest(Milliwatts(power), duration, LOCAL)
    assert (Bench().ask(request) is None) is is_good


def test_adjustment_without_feature_is_refused() -> None:
    assert Bench(features=SFR).ask(HALF_ADJUSTMENT) is Problem.CONSTRAINT


def test_adjustment_is_not_offered_without_slack_before_the_target() -> None:
    tight = replace(PLUGGED_IN, demand=needs(7_360_000, 2 * HOUR + 5))
    assert Bench(tight).appliance.state.options == ()
    none_to_miss = replace(SUPPLY, minimum_ma=Milliamps(16_000))
    bench = Bench(replace(tight, supply=none_to_miss))
    [option] = bench.appliance.state.options
    assert option.power.minimum_mw == option.power.maximum_mw


def test_cancelled_adjustment_ends_with_cause_cancelled() -> None:
    bench = Bench()
    bench.ask(HALF_ADJUSTMENT)
    bench.wait(10)
    assert bench.ask(CancelPowerAdjustRequest()) is None
    assert bench.take()[-1] == PowerAdjustEnded(EndCause.CANCELLED, 10, MilliwattHours(0))
    assert bench.orders == NO_ORDERS


def test_adjustment_replaces_a_requested_forecast() -> None:
    bench = Bench(PROMISED)
    bench.ask(StartTimeAdjustRequest(at(HOUR), GRID))
    assert bench.orders == Orders(Milliamps(0), overrides_schedule=True)
    assert bench.ask(HALF_ADJUSTMENT) is None
    assert bench.orders.limit_ma == 8_000
    bench.wait(600)
    assert bench.orders == Orders(Milliamps(0), overrides_schedule=True)
    assert bench.forecast.start_time == at(HOUR)


# Pause


def test_pause_stops_charging_until_its_end() -> None:
    bench = Bench(PROMISED)
    end = bench.forecast.end_time
    bench.wait(100)
    assert bench.ask(PauseRequest(300, GRID)) is None
    assert bench.take() == [Paused()]
    assert bench.appliance.state.esa_state is EsaState.PAUSED
    assert bench.appliance.state.update_reason is UpdateReason.GRID
    assert bench.orders == Orders(Milliamps(0))
    assert bench.forecast.end_time == end + 300
    bench.wait(300)
    assert bench.take() == [Resumed(EndCause.NORMAL_COMPLETION)]
    assert bench.orders == NO_ORDERS
    assert bench.appliance.state.update_reason is UpdateReason.INTERNAL


def test_pause_of_requested_forecast_keeps_the_request() -> None:
    bench = Bench(PROMISED)
    bench.ask(StartTimeAdjustRequest(at(60), LOCAL))
    assert bench.ask(PauseRequest(60, GRID)) is Problem.IMPOSSIBLE
    bench.wait(120)
    end = bench.forecast.end_time
    assert bench.ask(PauseRequest(300, GRID)) is None
    bench.wait(100)
    # What changes meanwhile does not change the forecast.
    bench.change(replace(PROMISED, supply=limited(20_000)))
    assert bench.ask(ResumeRequest()) is None
    assert bench.appliance.state.update_reason is UpdateReason.LOCAL
    assert bench.forecast.end_time == end + 100
    assert bench.orders.overrides_schedule


def test_opt_out_ends_only_the_pause_of_its_cause() -> None:
    bench = Bench(PROMISED)
    bench.ask(StartTimeAdjustRequest(at(60), LOCAL))
    bench.wait(120)
    bench.ask(PauseRequest(300, GRID))
    bench.ask(OptOutChanged(frozenset({GRID})))
    assert bench.take() == [Paused(), Resumed(EndCause.USER_OPT_OUT)]
    assert bench.appliance.state.update_reason is UpdateReason.LOCAL
    bench.ask(OptOutChanged(frozenset({GRID, LOCAL})))
    assert bench.appliance.state.update_reason is UpdateReason.INTERNAL
    assert bench.orders == NO_ORDERS


# Idle


def test_vehicle_without_demand_becomes_idle_after_a_minute() -> None:
    bench = Bench(PROMISED)
    bench.ask(HALF_ADJUSTMENT)
    bench.change(replace(PROMISED, requests_energy=False))
    bench.wait(59)
    assert bench.take() == [PowerAdjustStarted()]
    bench.wait(2)
    assert bench.take() == [PowerAdjustEnded(EndCause.OFFLINE, 60, MilliwattHours(0))]
    assert bench.appliance.forecast() is None
    bench.change(PROMISED)
    assert bench.forecast.active_slot == 0


# Scripts


def test_script_replaces_charger_without_orders() -> None:
    bench = Bench(PROMISED)
    bench.ask(HALF_ADJUSTMENT)
    power = PowerRange(Milliwatts(1), Milliwatts(3_600_000))
    script = Script(power, (PowerOption(power, 1, 100),))
    bench.ask(ScriptChanged(script))
    assert bench.take()[-1] == PowerAdjustEnded(EndCause.CANCELLED, 0, MilliwattHours(0))
    assert bench.orders == NO_ORDERS
    assert bench.appliance.forecast() is None
    assert bench.appliance.state.power == power
    bench.change(replace(AWAY, availability=Availability.FAULT))
    assert bench.appliance.state.esa_state is EsaState.ONLINE
    assert bench.ask(PowerAdjustRequest(Milliwatts(3_600_000), 10, LOCAL)) is None
    assert bench.orders == NO_ORDERS
    bench.wait(10)
    # No meter counts for a script: it is what was asked for.
    assert bench.take()[-1] == PowerAdjustEnded(
        EndCause.NORMAL_COMPLETION, 10, MilliwattHours(10_000)
    )
    bench.ask(ScriptChanged(None))
    assert bench.appliance.state.esa_state is EsaState.FAULT


# The driver


def test_only_requested_changes_are_reported_promptly() -> None:
    bench = Bench(PROMISED)
    bench.prompts.clear()
    bench.change(replace(PROMISED, supply=limited(10_000)))
    assert bench.prompts == [False]
    bench.ask(PauseRequest(60, LOCAL))
    assert bench.prompts == [False, True]
    bench.wait(60)
    assert bench.prompts == [False, True, True]
    bench.ask(PauseRequest(59, LOCAL))
    assert bench.prompts[-1] is False


def test_events_from_apply_are_queued() -> None:
    class Answering(Bench):
        def apply(self, orders: Orders, now: float) -> None:
            super().apply(orders, now)
            if orders.limit_ma is not None:
                self.current = AWAY
                self.appliance.on_timer(now)

    bench = Answering(PROMISED)
    bench.ask(HALF_ADJUSTMENT)
    assert bench.given == [Orders(Milliamps(8_000), True), NO_ORDERS]
    assert [type(notice) for notice in bench.take()] == [PowerAdjustStarted, PowerAdjustEnded]


def test_due_events_are_processed_before_a_refusal() -> None:
    bench = Bench(PROMISED)
    bench.ask(HALF_ADJUSTMENT)
    bench.now += 600
    assert bench.ask(CancelPowerAdjustRequest()) is Problem.STATE
    assert bench.take() == [
        PowerAdjustStarted(),
        PowerAdjustEnded(EndCause.NORMAL_COMPLETION, 600, MilliwattHours(0)),
    ]
    assert bench.orders == NO_ORDERS
    assert bench.prompts[-1]


def test_endless_events_of_the_plant_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    class Restless(Bench):
        def apply(self, orders: Orders, now: float) -> None:
            super().apply(orders, now)
            self.current = AWAY if len(self.given) % 2 else PROMISED
            self.appliance.handle(OptOutChanged(frozenset({GRID})), now)
            self.appliance._orders = Orders(Milliamps(len(self.given)))

    with caplog.at_level(logging.ERROR):
        bench = Restless(PROMISED)
        bench.ask(HALF_ADJUSTMENT)
    assert "does not settle" in caplog.text


def test_meter_is_read_only_for_adjustments() -> None:
    class Metered(Bench):
        reads = 0

        def meter_mwh(self) -> MilliwattHours:
            self.reads += 1
            return super().meter_mwh()

    bench = Metered(PROMISED)
    bench.wait(HOUR)
    bench.ask(PauseRequest(60, LOCAL))
    assert bench.reads == 0
    assert isinstance(bench.appliance, Appliance)
    bench.ask(ResumeRequest())
    bench.ask(HALF_ADJUSTMENT)
    assert bench.reads > 0
    assert bench.appliance.state.features == PFR


def test_observers_are_not_called_without_changes() -> None:
    bench = Bench(PROMISED)
    bench.prompts.clear()
    for _ in range(3):
        bench.now += 1
        bench.appliance.on_timer(bench.now)
    assert bench.prompts == []
    bench.change(replace(PROMISED, supply=limited(10_000)))
    assert bench.prompts == [False]
    deadline = bench.appliance.next_deadline()
    assert deadline is not None
    bench.now = deadline
    bench.appliance.on_timer(bench.now)
    assert bench.prompts == [False, False]
