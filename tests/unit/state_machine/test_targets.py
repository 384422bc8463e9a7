from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_node.state_machine.state import Vehicle
from evse_node.state_machine.targets import (
    ChargingTarget,
    ChargingTargetSchedule,
    NextCharge,
    TargetProblem,
    TargetsRefusedError,
    check_targets,
    find_next_target,
    merge_targets,
    plan_charge,
)
from evse_node.units import MATTER_EPOCH_UNIX_S, EpochSeconds, MilliwattHours, Milliwatts

NOON = ChargingTarget(720, 80)
EVENING = ChargingTarget(1200, 90)


def schedule(days: int, *targets: ChargingTarget) -> ChargingTargetSchedule:
    return ChargingTargetSchedule(days, targets)


class TestMerge:
    def test_schedule_with_equal_days_keeps_place(self) -> None:
        stored = (schedule(1, NOON), schedule(2, NOON))
        assert merge_targets(stored, [schedule(1, EVENING)]) == (
            schedule(1, EVENING),
            schedule(2, NOON),
        )

    def test_other_schedules_lose_days(self) -> None:
        assert merge_targets([schedule(0x7F, NOON)], [schedule(0x41, EVENING)]) == (
            schedule(0x3E, NOON),
            schedule(0x41, EVENING),
        )

    def test_schedule_without_days_is_removed(self) -> None:
        stored = [schedule(1, NOON), schedule(2, NOON), schedule(4, NOON)]
        assert merge_targets(stored, [schedule(3, EVENING)]) == (
            schedule(4, NOON),
            schedule(3, EVENING),
        )

    @given(
        st.lists(st.integers(1, 127), max_size=20).map(
            lambda masks: [schedule(mask, ChargingTarget(n)) for n, mask in enumerate(masks)]
        )
    )
    def test_each_day_has_latest_schedule(self, new: list[ChargingTargetSchedule]) -> None:
        merged = merge_targets((), new)
        assert len(merged) <= 7
        for bit in range(7):
            requested = [each.targets for each in new if each.days >> bit & 1]
            stored = [each.targets for each in merged if each.days >> bit & 1]
            assert stored == requested[-1:]


class TestCheck:
    @pytest.mark.parametrize(
        ("target", "has_soc", "problem"),
        [
            (ChargingTarget(1440, 50), True, TargetProblem.CONSTRAINT),
            (ChargingTarget(-1, 50), True, TargetProblem.CONSTRAINT),
            (ChargingTarget(0), True, TargetProblem.INCOMPLETE),
            (ChargingTarget(0, 101), True, TargetProblem.CONSTRAINT),
            (ChargingTarget(0, 50), False, TargetProblem.CONSTRAINT),
            (ChargingTarget(0), False, TargetProblem.EMPTY),
            (ChargingTarget(0, 50, MilliwattHours(-1)), True, TargetProblem.CONSTRAINT),
        ],
    )
    def test_invalid_targets_are_refused(
        self, target: ChargingTarget, has_soc: bool, problem: TargetProblem
    ) -> None:
        with pytest.raises(TargetsRefusedError) as caught:
            check_targets([schedule(1, target)], has_soc=has_soc)
        assert caught.value.problem is problem

    def test_days_are_checked_before_targets(self) -> None:
        with pytest.raises(TargetsRefusedError) as caught:
            check_targets([schedule(1), schedule(1, *[NOON] * 11)], has_soc=True)
        assert caught.value.problem is TargetProblem.CONSTRAINT


def epoch_s(year: int, month: int, day: int, *clock: int, zone: tzinfo = UTC) -> EpochSeconds:
    hour, minute, second = (*clock, 0, 0, 0)[:3]
    moment = datetime(year, month, day, hour, minute, second, tzinfo=zone)
    return EpochSeconds(int(moment.timestamp()) - MATTER_EPOCH_UNIX_S)


class TestNext:
    # 2025-06-11 is a Wednesday: bit 3.
    def test_next_target_is_today(self) -> None:
        now = epoch_s(2025, 6, 11, 10)
        found = find_next_target([schedule(0x08, EVENING, NOON)], now, UTC)
        assert found == (epoch_s(2025, 6, 11, 12), NOON)

    def test_next_target_is_later_today(self) -> None:
        now = epoch_s(2025, 6, 11, 12, 0, 1)
        found = find_next_target([schedule(0x08, EVENING, NOON)], now, UTC)
        assert found == (epoch_s(2025, 6, 11, 20), EVENING)

    @pytest.mark.parametrize("second", [0, 1, 59])
    def test_target_is_past_within_its_minute(self, second: int) -> None:
        now = epoch_s(2025, 6, 11, 12, 0, second)
        found = find_next_target([schedule(0x7F, NOON)], now, UTC)
        assert found == (epoch_s(2025, 6, 12, 12), NOON)

    def test_next_target_is_tomorrow(self) -> None:
        now = epoch_s(2025, 6, 11, 10)
        found = find_next_target([schedule(0x10, NOON)], now, UTC)
        assert found == (epoch_s(2025, 6, 12, 12), NOON)

    def test_next_target_after_saturday_is_sunday(self) -> None:
        now = epoch_s(2025, 6, 14, 22)
        found = find_next_target([schedule(0x01, NOON)], now, UTC)
        assert found == (epoch_s(2025, 6, 15, 12), NOON)

    @pytest.mark.parametrize(("bit", "day"), [(5, 13), (6, 14), (0, 15), (1, 16), (2, 17), (3, 18)])
    def test_next_target_is_found_on_each_day(self, bit: int, day: int) -> None:
        now = epoch_s(2025, 6, 11, 13)
        found = find_next_target([schedule(1 << bit, NOON)], now, UTC)
        assert found == (epoch_s(2025, 6, day, 12), NOON)

    def test_no_target_without_schedules(self) -> None:
        now = epoch_s(2025, 6, 11, 13)
        assert find_next_target([schedule(0x7F)], now, UTC) is None

    def test_target_follows_wall_clock_over_dst_change(self) -> None:
        berlin = ZoneInfo("Europe/Berlin")
        now = epoch_s(2025, 3, 29, 23, zone=berlin)
        found = find_next_target([schedule(0x01, NOON)], now, berlin)
        # The night is an hour shorter.
        assert found == (EpochSeconds(now + 12 * 3600), NOON)

    def test_skipped_time_moves_on_and_repeated_time_counts_once(self) -> None:
        berlin = ZoneInfo("Europe/Berlin")
        night = ChargingTarget(2 * 60 + 30, 80)
        found = find_next_target([schedule(0x01, night)], epoch_s(2025, 3, 29, 23), berlin)
        assert found == (
            epoch_s(2025, 3, 30, 1, 30),
            night,
        )  # 03:30 local time
        found = find_next_target([schedule(0x01, night)], epoch_s(2025, 10, 25, 23), berlin)
        assert found == (epoch_s(2025, 10, 26, 0, 30), night)
        # In the repeated hour, the target has passed.
        found = find_next_target([schedule(0x01, night)], epoch_s(2025, 10, 26, 1, 10), berlin)
        assert found == (epoch_s(2025, 11, 2, 1, 30), night)

    def test_skipped_time_hides_no_other_target(self) -> None:
        berlin = ZoneInfo("Europe/Berlin")
        half_past_two, three = ChargingTarget(2 * 60 + 30, 80), ChargingTarget(3 * 60, 90)
        week = [schedule(0x01, half_past_two, three)]
        found = find_next_target(week, epoch_s(2025, 3, 29, 23), berlin)
        assert found == (epoch_s(2025, 3, 30, 1), three)
        found = find_next_target(week, epoch_s(2025, 3, 30, 1), berlin)
        assert found == (epoch_s(2025, 3, 30, 1, 30), half_past_two)

    def test_time_zone_decides_day(self) -> None:
        auckland = ZoneInfo("Pacific/Auckland")
        now = epoch_s(2025, 6, 11, 13)  # Thursday local time
        found = find_next_target([schedule(0x10, NOON)], now, auckland)
        assert found == (epoch_s(2025, 6, 12, 12, zone=auckland), NOON)

    def test_system_time_zone_is_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import time

        monkeypatch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        try:
            found = find_next_target([schedule(0x7F, NOON)], epoch_s(2025, 6, 11, 9), None)
        finally:
            monkeypatch.undo()
            time.tzset()
        assert found == (epoch_s(2025, 6, 11, 10), NOON)


NOW = EpochSeconds(1_000_000)
LATER = EpochSeconds(NOW + 36_000)
HALF_FULL = Vehicle(50, MilliwattHours(70_000_000))
UNKNOWN = Vehicle()


def plan(
    target: ChargingTarget,
    vehicle: Vehicle = HALF_FULL,
    *,
    power: int = 7_360_000,
    has_soc: bool = True,
    at: EpochSeconds = LATER,
    added: int = 0,
    delay: int = 0,
) -> NextCharge:
    return plan_charge(
        at,
        target,
        now=NOW,
        power_mw=Milliwatts(power),
        vehicle=vehicle,
        has_soc=has_soc,
        added_mwh=added,
        delay_s=delay,
    )


def next_charge(
    start: int | None, energy_mwh: int | None, soc_percent: int | None, *, is_met: bool = False
) -> NextCharge:
    """Return a plan for the target at `LATER`."""
    return NextCharge(
        None if start is None else EpochSeconds(start),
        LATER,
        None if energy_mwh is None else MilliwattHours(energy_mwh),
        soc_percent,
        is_met=is_met,
    )


class TestPlan:
    def test_plan_uses_state_of_charge(self) -> None:
        # 21 kWh at 7.36 kW, with a margin of 15 minutes.
        start = LATER - 21_000_000 * 3600 // 7_360_000 - 900
        assert plan(ChargingTarget(0, 80)) == next_charge(start, None, 80)

    def test_state_of_charge_precedes_energy(self) -> None:
        planned = plan(ChargingTarget(0, 80, MilliwattHours(1)))
        assert planned == plan(ChargingTarget(0, 80))

    def test_plan_is_met_at_target_soc(self) -> None:
        assert plan(ChargingTarget(0, 50)) == next_charge(None, None, 50, is_met=True)
        assert plan(ChargingTarget(0, 20)) == next_charge(None, None, 20, is_met=True)

    def test_added_energy_replaces_unknown_state_of_charge(self) -> None:
        start = LATER - 25_000_000 * 3600 // 7_360_000 - 900
        target = ChargingTarget(0, 80, MilliwattHours(25_000_000))
        assert plan(target, UNKNOWN) == next_charge(start, 25_000_000, None)

    def test_plan_starts_at_once_when_nothing_is_known(self) -> None:
        assert plan(ChargingTarget(0, 80), UNKNOWN) == next_charge(NOW, None, 80)

    def test_plan_without_soc_feature_uses_energy(self) -> None:
        assert plan(ChargingTarget(0, 100), has_soc=False) == next_charge(NOW, None, 100)
        # The energy takes precedence over an unknown state of charge.
        both = ChargingTarget(0, 100, MilliwattHours(7_360_000))
        planned = plan(both, has_soc=False)
        assert planned == next_charge(LATER - 4500, 7_360_000, None)

    def test_plan_uses_energy_alone(self) -> None:
        target = ChargingTarget(0, None, MilliwattHours(7_360_000))
        assert plan(target, has_soc=False) == next_charge(LATER - 4500, 7_360_000, None)

    def test_plan_subtracts_added_energy(self) -> None:
        target = ChargingTarget(0, None, MilliwattHours(7_360_000))
        half = plan(target, has_soc=False, added=3_680_000)
        assert half == next_charge(LATER - 2700, 7_360_000, None)
        for added in (7_360_000, 9_000_000):
            done = plan(target, has_soc=False, added=added)
            assert done == next_charge(None, 7_360_000, None, is_met=True)
        # Discharged energy is charged in addition.
        assert plan(target, has_soc=False, added=-7_360_000).start_time == LATER - 8100

    def test_plan_for_battery_of_unknown_size(self) -> None:
        both = ChargingTarget(0, 80, MilliwattHours(7_360_000))
        assert plan(both, Vehicle(80)).is_met
        assert plan(both, Vehicle(79)).start_time == LATER - 4500
        # The energy is reached, but the percentage takes precedence.
        assert plan(both, Vehicle(79), added=7_360_000).start_time == NOW
        assert plan(ChargingTarget(0, 80), Vehicle(79)).start_time == NOW

    def test_delay_moves_start_but_not_before_now(self) -> None:
        target = ChargingTarget(0, None, MilliwattHours(7_360_000))
        delayed = plan(target, has_soc=False, delay=300)
        assert delayed.start_time == LATER - 4200
        assert plan(target, at=EpochSeconds(NOW + 60), delay=300).start_time == NOW

    def test_start_is_not_before_now(self) -> None:
        assert plan(ChargingTarget(0, 80), at=EpochSeconds(NOW + 60)).start_time == NOW

    def test_plan_without_power_has_no_start(self) -> None:
        assert plan(ChargingTarget(0, 80), power=0) == next_charge(None, None, 80)
