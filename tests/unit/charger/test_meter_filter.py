"""Impossible readings, other meters, wrong directions and current without permission."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import pytest
from msgspec.structs import replace

from evse_node.charger.meter_filter import MeterFilter, is_grid_power
from evse_node.hal.interface import MeterValues, Ratings
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.state_machine.enums import State
from evse_node.state_machine.events import Disable, EnableCharging
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.session import MeterReading
from evse_node.units import Milliamps, Millivolts, MilliwattHours, Milliwatts
from tests.support.charger.charger_host import ChargerHost, charge

RATINGS = Ratings()
BASE_MWH = 12_348_870_000
GOOD = MeterValues(
    MilliwattHours(BASE_MWH),
    MilliwattHours(0),
    Milliwatts(3_680_000),
    (Millivolts(230_000),),
    (Milliamps(16_000),),
)
ENABLE = EnableCharging(None, Milliamps(6_000), Milliamps(16_000))

BAD_VALUES: list[dict[str, Any]] = [
    {"imported_mwh": 0},
    {"imported_mwh": -1},
    {"imported_mwh": BASE_MWH - 1_000},
    {"imported_mwh": 0x7FFFFFFF * 1_000},
    {"imported_mwh": 0xFFFFFFFF * 1_000_000},
    {"imported_mwh": 2 * BASE_MWH},
    {"imported_mwh": 10**36},
    {"imported_mwh": 10**400},
    {"imported_mwh": None},
    {"imported_mwh": math.nan},
    {"imported_mwh": -math.inf},
    {"exported_mwh": 500_000_000},
    {"exported_mwh": -3_400_000_000},
    {"power_mw": -3_400_000_000_000},
    {"power_mw": None},
    {"power_mw": math.nan},
    {"currents_ma": (2_147_483_647,)},
    {"currents_ma": (None,)},
    {"currents_ma": None},
    {"voltages_mv": (214_748_364_700,)},
    {"voltages_mv": (math.nan,)},
]


def bad(fields: dict[str, Any]) -> MeterValues:
    return replace(GOOD, **fields)


def meter_filter(*, can_discharge: bool = True) -> MeterFilter:
    return MeterFilter(can_discharge=can_discharge)


class TestOutlier:
    @pytest.mark.parametrize("fields", BAD_VALUES, ids=str)
    def test_single_outlier_is_dropped_and_counted(self, fields: dict[str, Any]) -> None:
        judge = meter_filter()
        assert judge.judge(GOOD, RATINGS, 0.0) == GOOD
        assert judge.judge(bad(fields), RATINGS, 1.0) == GOOD
        after = replace(GOOD, imported_mwh=MilliwattHours(BASE_MWH + 2_000))
        assert judge.judge(after, RATINGS, 2.0) == after
        assert (judge.condition.dropped_readings, judge.condition.exchanges) == (1, 0)

    def test_none_instead_of_values_is_outlier(self) -> None:
        judge = meter_filter()
        assert judge.judge(cast(MeterValues, None), RATINGS, 0.0) is None
        assert judge.judge(GOOD, RATINGS, 1.0) == GOOD

    def test_meter_without_valid_reading_for_ten_seconds_is_lost(self) -> None:
        judge = meter_filter()
        judge.judge(GOOD, RATINGS, 0.0)
        nonsense = bad({"currents_ma": (2_147_483_647,)})
        seen = [judge.judge(nonsense, RATINGS, float(second)) for second in range(1, 13)]
        assert seen == [GOOD] * 10 + [None] * 2
        assert judge.judge(GOOD, RATINGS, 13.0) == GOOD

    def test_run_of_outliers_is_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        judge = meter_filter()
        judge.judge(GOOD, RATINGS, 0.0)
        for second in range(1, 6):
            judge.judge(bad({"power_mw": None}), RATINGS, float(second))
        assert len(caplog.records) == 1
        assert judge.condition.dropped_readings == 5

    @pytest.mark.parametrize("step_mwh", [1_000, 100_000, 1_000_000])
    def test_coarse_meter_at_minimum_current_is_believed(self, step_mwh: int) -> None:
        judge = meter_filter()
        for second in range(0, 4 * 3600, 5):
            total_mwh = BASE_MWH + 1_380_000 * second // 3600 // step_mwh * step_mwh
            values = replace(GOOD, imported_mwh=MilliwattHours(total_mwh))
            assert judge.judge(values, RATINGS, float(second)) == values
        assert judge.condition.dropped_readings == 0

    @pytest.mark.parametrize("value", [None, math.nan, math.inf, -3.4e12, 10**400])
    def test_grid_power_out_of_range_is_no_reading(self, value: Any) -> None:
        assert not is_grid_power(value)
        assert is_grid_power(-4_000_000)


class TestExchangedMeter:
    @pytest.mark.parametrize("new_mwh", [0, 500_000_000, 3 * BASE_MWH])
    def test_third_agreeing_reading_continues_old_total(self, new_mwh: int) -> None:
        judge = meter_filter()
        judge.judge(GOOD, RATINGS, 0.0)
        totals = []
        for second in range(1, 8):
            other = replace(GOOD, imported_mwh=MilliwattHours(new_mwh + 1_000 * second))
            values = judge.judge(other, RATINGS, float(second))
            assert values is not None
            totals.append(values.imported_mwh - BASE_MWH)
        assert totals == [0, 0, 0, 1_000, 2_000, 3_000, 4_000]
        assert judge.condition.exchanges == 1

    def test_same_answer_read_thrice_at_once_is_not_another_meter(self) -> None:
        judge = meter_filter()
        judge.judge(GOOD, RATINGS, 0.0)
        for _ in range(10):
            assert judge.judge(bad({"imported_mwh": 0}), RATINGS, 1.0) == GOOD
        assert judge.condition.dropped_readings == 1

    def test_outliers_that_disagree_are_not_another_meter(self) -> None:
        judge = meter_filter()
        judge.judge(GOOD, RATINGS, 0.0)
        for second, total in enumerate([0, 9**12, 7, 8**12, 1], 1):
            assert judge.judge(bad({"imported_mwh": total}), RATINGS, float(second)) == GOOD
        assert judge.condition.exchanges == 0

    def test_stored_offset_does_not_apply_to_meter_that_restarted_while_off(self) -> None:
        judge = MeterFilter(
            can_discharge=True, offset=MeterReading(MilliwattHours(-BASE_MWH), MilliwattHours(0))
        )
        values = judge.judge(bad({"imported_mwh": 5}), RATINGS, 0.0)
        assert values is not None
        assert values.imported_mwh == 5


class TestReversedMeter:
    def readings(self, judge: MeterFilter) -> list[MeterValues]:
        seen = []
        for second in range(10):
            values = replace(
                GOOD,
                exported_mwh=MilliwattHours(1_000 * second),
                power_mw=Milliwatts(-3_600_000),
                currents_ma=(Milliamps(-16_000),),
            )
            found = judge.judge(values, RATINGS, float(second))
            assert found is not None
            seen.append(found)
        return seen

    def test_reversed_meter_is_reported_and_counts_as_imported(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        judge = meter_filter(can_discharge=False)
        last = self.readings(judge)[-1]
        assert (last.imported_mwh, last.exported_mwh) == (BASE_MWH + 9_000, 0)
        assert (last.power_mw, last.currents_ma) == (3_600_000, (16_000,))
        assert judge.condition.is_reversed
        assert [record.message for record in caplog.records] == [
            "the meter is wired backwards: it shows power from the vehicle"
        ]

    def test_charger_that_discharges_keeps_direction(self) -> None:
        judge = meter_filter()
        last = self.readings(judge)[-1]
        assert (last.imported_mwh, last.exported_mwh) == (BASE_MWH, 9_000)
        assert last.power_mw == -3_600_000
        assert not judge.condition.is_reversed


@pytest.fixture
def host() -> ChargerHost:
    host = ChargerHost()
    host.backend.car.charged.total_mwh = MilliwattHours(BASE_MWH)
    charge(host)
    host.charger.handle(ENABLE, host.now)
    host.run(600)
    return host


def charged_mwh(host: ChargerHost) -> int:
    session = host.charger.state.session
    assert session is not None
    return session.energy_charged_mwh(host.charger.state.meter)


Change = Callable[[MeterValues], MeterValues | None]


def replace_reading(host: ChargerHost, monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    read = host.backend.board.read
    monkeypatch.setattr(host.backend.board, "read", lambda: change(read()))


class TestCharging:
    @pytest.mark.parametrize("fields", BAD_VALUES, ids=str)
    def test_outlier_changes_neither_session_nor_charging(
        self, host: ChargerHost, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
    ) -> None:
        before_mwh = charged_mwh(host)
        replace_reading(host, monkeypatch, lambda values: replace(values, **fields))
        host.run(2)
        monkeypatch.undo()
        host.run(60)
        assert before_mwh < charged_mwh(host) < before_mwh + 400_000
        assert host.charger.state.state is State.PLUGGED_IN_CHARGING
        assert host.charger.state.faults == ()
        condition = host.charger.meter_condition
        assert condition is not None
        assert condition.dropped_readings >= 1

    def test_nonsense_that_lasts_is_meter_failure_until_it_ends(
        self, host: ChargerHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        huge = (Milliamps(2_147_483_647),) * 3
        replace_reading(host, monkeypatch, lambda values: replace(values, currents_ma=huge))
        host.run(15)
        assert host.charger.state.faults == (FaultState.METER_FAILURE,)
        assert not host.backend.board.is_closed
        monkeypatch.undo()
        host.run(15)
        assert host.charger.state.state is State.PLUGGED_IN_CHARGING

    @pytest.mark.parametrize("new_mwh", [0, 3 * BASE_MWH])
    def test_exchanged_meter_continues_session_also_after_restart(
        self, host: ChargerHost, new_mwh: int
    ) -> None:
        before_mwh, total_mwh = charged_mwh(host), host.charger.state.meter.imported_mwh
        host.backend.car.charged.total_mwh = MilliwattHours(new_mwh)
        host.run(600)
        after_mwh = charged_mwh(host)
        assert before_mwh + 500_000 < after_mwh < before_mwh + 2_000_000
        assert host.charger.state.meter.imported_mwh > total_mwh
        host.charger.save(host.now)
        backend = SimulatedBackend(clock=lambda: host.now, car=host.backend.car)
        again = ChargerHost(store=host.store, backend=backend, now=host.now)
        assert charged_mwh(again) == charged_mwh(host)
        assert again.charger.state.meter == host.charger.state.meter

    def test_current_through_open_contactor_is_contact_wet_failure(
        self, host: ChargerHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host.charger.handle(Disable(), host.now)
        host.run(60)
        assert not host.backend.board.is_closed
        start = host.now
        replace_reading(
            host,
            monkeypatch,
            lambda values: replace(
                values,
                imported_mwh=MilliwattHours(values.imported_mwh + int((host.now - start) * 1_000)),
                currents_ma=(Milliamps(16_000), Milliamps(0), Milliamps(0)),
            ),
        )
        host.run(9)
        assert host.charger.state.faults == ()
        host.run(12)
        assert host.charger.state.faults == (FaultState.CONTACT_WET_FAILURE,)

    def test_current_that_only_lingers_is_no_fault(
        self, host: ChargerHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host.charger.handle(Disable(), host.now)
        host.run(60)
        lingering = (Milliamps(2_000), Milliamps(0), Milliamps(0))
        replace_reading(host, monkeypatch, lambda values: replace(values, currents_ma=lingering))
        host.run(60)
        assert host.charger.state.faults == ()
