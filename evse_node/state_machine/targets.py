"""Charging targets: validation and merging of a week's targets, and the plan for the next one.

Spec: Matter Application Clusters 1.3 "SetTargets Command"
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, tzinfo
from enum import Enum
from math import log
from typing import Annotated, Final

from msgspec import Meta, Struct, field
from msgspec.structs import replace

from evse_node.errors import EvseNodeError
from evse_node.state_machine.state import Vehicle
from evse_node.units import (
    MATTER_EPOCH_UNIX_S,
    UINT63,
    EpochSeconds,
    MilliwattHours,
    Milliwatts,
)

MAXIMUM_TARGETS_PER_DAY: Final = 10
_ALL_DAYS: Final = 0x7F
_MINUTES_PER_DAY: Final = 24 * 60
_DAYS_PER_WEEK: Final = 7
LEEWAY_S: Final = 15 * 60
"""Margin between the planned end of charging and the target time."""
_SLOWER_FROM_PERCENT: Final = 80
_SLOWER_BY: Final = 0.9
"""Beyond that state of charge the draw is expected to fall linearly, by this share at 100 %."""


class ChargingTarget(Struct, frozen=True):
    """A target for a minute of the day, local time; None is not requested.

    Names and ranges of the stored JSON are given in the annotations.
    """

    minutes_past_midnight: Annotated[int, Meta(ge=0, lt=_MINUTES_PER_DAY)] = field(name="minutes")
    target_soc_percent: Annotated[int, Meta(ge=0, le=100)] | None = field(default=None, name="soc")
    added_energy_mwh: Annotated[MilliwattHours, UINT63] | None = field(
        default=None, name="energy_mwh"
    )


class ChargingTargetSchedule(Struct, frozen=True):
    """Targets of some days of the week. `days` has bit 0 for Sunday to bit 6 for Saturday."""

    days: Annotated[int, Meta(ge=0, le=_ALL_DAYS)]
    targets: tuple[ChargingTarget, ...]


class NextCharge(Struct, frozen=True):
    """Plan for the next target; None is not applicable.

    `required_energy_mwh` counts for the whole session, including energy already added. `is_met`:
    the target is reached.
    """

    start_time: EpochSeconds | None = None
    target_time: EpochSeconds | None = None
    required_energy_mwh: MilliwattHours | None = None
    target_soc_percent: int | None = None
    is_met: bool = False


class TargetProblem(Enum):
    """Reason for refusing a list of targets."""

    CONSTRAINT = "a value is out of range"
    INCOMPLETE = "a required value is missing"
    EMPTY = "a target has no value"
    EXHAUSTED = "too many targets for a day"


class TargetsRefusedError(EvseNodeError):
    """A list of targets cannot be stored; `problem` is the kind of the first violation."""

    def __init__(self, problem: TargetProblem, reason: str) -> None:
        self.problem = problem
        super().__init__(f"{problem.value}: {reason}")


def check_targets(schedules: Iterable[ChargingTargetSchedule], *, has_soc: bool) -> None:
    """Raise TargetsRefusedError unless all schedules may be stored.

    With `has_soc` each target requires a state of charge; without, only 100 % is allowed.
    """
    used_days = 0
    for schedule in schedules:
        if not 0 < schedule.days <= _ALL_DAYS:
            raise TargetsRefusedError(TargetProblem.CONSTRAINT, f"days 0x{schedule.days:02X}")
        if schedule.days & used_days:
            raise TargetsRefusedError(TargetProblem.CONSTRAINT, "a day is named twice")
        used_days |= schedule.days
        if len(schedule.targets) > MAXIMUM_TARGETS_PER_DAY:
            raise TargetsRefusedError(TargetProblem.EXHAUSTED, str(len(schedule.targets)))
        for target in schedule.targets:
            _check_target(target, has_soc)


def _check_target(target: ChargingTarget, has_soc: bool) -> None:
    percent = target.target_soc_percent
    if not 0 <= target.minutes_past_midnight < _MINUTES_PER_DAY:
        raise TargetsRefusedError(
            TargetProblem.CONSTRAINT, f"minute {target.minutes_past_midnight}"
        )
    if has_soc:
        if percent is None:
            raise TargetsRefusedError(TargetProblem.INCOMPLETE, "no TargetSoC")
        if not 0 <= percent <= 100:
            raise TargetsRefusedError(TargetProblem.CONSTRAINT, f"TargetSoC {percent}")
    elif percent is not None and percent != 100:
        raise TargetsRefusedError(
            TargetProblem.CONSTRAINT, f"TargetSoC {percent} without reports of the state of charge"
        )
    if percent is None and target.added_energy_mwh is None:
        raise TargetsRefusedError(TargetProblem.EMPTY, "neither TargetSoC nor AddedEnergy")
    if target.added_energy_mwh is not None and target.added_energy_mwh < 0:
        raise TargetsRefusedError(TargetProblem.CONSTRAINT, "AddedEnergy is below 0")


def merge_targets(
    stored: Sequence[ChargingTargetSchedule], new: Iterable[ChargingTargetSchedule]
) -> tuple[ChargingTargetSchedule, ...]:
    """Return the stored schedules with new ones merged in; a day's targets are replaced as a whole.

    A new schedule takes the place of one with the same days, or is appended; the others only
    lose the days that it contains.
    """
    merged = list(stored)
    for schedule in new:
        kept: list[ChargingTargetSchedule] = []
        is_placed = False
        for old in merged:
            days_left = old.days & ~schedule.days
            if old.days == schedule.days:
                kept.append(schedule)
                is_placed = True
            elif days_left:
                kept.append(replace(old, days=days_left))
        if not is_placed:
            kept.append(schedule)
        merged = kept
    return tuple(merged)


def find_next_target(
    schedules: Iterable[ChargingTargetSchedule], now: EpochSeconds, zone: tzinfo | None
) -> tuple[EpochSeconds, ChargingTarget] | None:
    """Return the next target within a week, and its time.

    `zone` is the time zone of the minutes (None: the system's). A wall-clock time skipped by
    daylight saving moves on by as much as the clock; of a repeated one, the first counts.
    """
    return next(iter(find_targets(schedules, now, zone)), None)


def find_targets(
    schedules: Iterable[ChargingTargetSchedule], now: EpochSeconds, zone: tzinfo | None
) -> list[tuple[EpochSeconds, ChargingTarget]]:
    """Return the targets of the week that begins now with their times, in order."""
    schedules = tuple(schedules)
    found: list[tuple[EpochSeconds, ChargingTarget]] = []
    midnight = datetime.fromtimestamp(now + MATTER_EPOCH_UNIX_S, zone).replace(
        hour=0, minute=0, second=0, microsecond=0, fold=0
    )
    for days in range(_DAYS_PER_WEEK + 1):  # today's weekday twice: past targets recur in a week
        day = midnight + timedelta(days=days)
        day_bit = 1 << (day.isoweekday() % 7)
        targets = (
            (_instant(day, target), target)
            for schedule in schedules
            if schedule.days & day_bit
            for target in schedule.targets
        )
        # Sort by instant: a skipped time may come after the following target.
        found += sorted(targets, key=lambda pair: pair[0])
    return [pair for pair in found if pair[0] > now]


def _instant(midnight: datetime, target: ChargingTarget) -> EpochSeconds:
    # Wall-clock arithmetic: a change of the clock in between moves the instant as well.
    hour, minute = divmod(target.minutes_past_midnight, 60)
    instant = midnight.replace(hour=hour, minute=minute).timestamp()
    return EpochSeconds(int(instant) - MATTER_EPOCH_UNIX_S)


def missing_energy(
    target: ChargingTarget, vehicle: Vehicle, added_mwh: int, *, has_soc: bool
) -> MilliwattHours | None:
    """Return the energy that is missing for a target, or None when it cannot be determined.

    `added_mwh` is the energy since plugging in, which AddedEnergy refers to, however often charging
    stops and starts. A known state of charge takes precedence over it.
    Spec: Matter Application Clusters 1.3 "TargetSoC Field", "AddedEnergy Field"
    """
    wanted_mwh = target.added_energy_mwh
    wanted_percent = target.target_soc_percent if has_soc else None
    percent, capacity_mwh = vehicle.state_of_charge_percent, vehicle.battery_capacity_mwh
    if wanted_percent is not None and percent is not None:
        if percent >= wanted_percent:
            return MilliwattHours(0)
        if capacity_mwh is not None:
            return MilliwattHours((wanted_percent - percent) * capacity_mwh // 100)
        if wanted_mwh is not None and added_mwh >= wanted_mwh:
            return None
    return None if wanted_mwh is None else MilliwattHours(max(0, wanted_mwh - added_mwh))


def plan_charge(
    target_time: EpochSeconds,
    target: ChargingTarget,
    *,
    now: EpochSeconds,
    power_mw: Milliwatts,
    vehicle: Vehicle,
    has_soc: bool,
    added_mwh: int = 0,
    delay_s: int = 0,
) -> NextCharge:
    """Return the plan for a target: required energy and latest start.

    For a battery of unknown size charging starts at once; the last fifth of a known one is planned
    with a falling draw. `delay_s` postpones the start.
    Spec: Matter Application Clusters 1.3 "NextChargeStartTime Attribute"
    """
    is_battery_known = (
        has_soc
        and vehicle.state_of_charge_percent is not None
        and vehicle.battery_capacity_mwh is not None
    )
    is_by_energy = target.added_energy_mwh is not None and (
        target.target_soc_percent is None or not is_battery_known
    )
    missing_mwh = missing_energy(target, vehicle, added_mwh, has_soc=has_soc)
    shown = NextCharge(
        target_time=target_time,
        required_energy_mwh=target.added_energy_mwh if is_by_energy else None,
        target_soc_percent=None if is_by_energy else target.target_soc_percent,
        is_met=missing_mwh == 0,
    )
    if missing_mwh == 0 or power_mw <= 0:
        return shown
    if missing_mwh is None:
        return replace(shown, start_time=now)
    missing_mwh = MilliwattHours(missing_mwh + _top_mwh(target, vehicle, has_soc=has_soc))
    start = target_time - (missing_mwh * 3600 // power_mw + LEEWAY_S) + delay_s
    return replace(shown, start_time=EpochSeconds(max(now, start)))


def select_target(
    upcoming: Sequence[tuple[EpochSeconds, ChargingTarget]],
    *,
    begun_for: EpochSeconds | None,
    now: EpochSeconds,
    power_mw: Milliwatts,
    vehicle: Vehicle,
    has_soc: bool,
    added_mwh: int,
) -> tuple[EpochSeconds, ChargingTarget]:
    """Return the target that determines the start: the next one, unless a later one starts earlier.

    99 % at 9:00 may require a start before 30 % at 7:00 does, or before 7:00 when that is met.
    `begun_for` is the time of a target that charging has begun for; it is kept while it requires
    as much energy as the next one.
    """

    def missing(target: ChargingTarget) -> int | None:
        return missing_energy(target, vehicle, added_mwh, has_soc=has_soc)

    selected = upcoming[0]
    first_mwh = missing(selected[1])
    if first_mwh is None or power_mw <= 0:
        return selected
    earliest: int | None = None
    for time, target in upcoming:
        missing_mwh = missing(target)
        if not missing_mwh or missing_mwh < first_mwh:
            continue
        if time == begun_for:
            return time, target
        plan = plan_charge(
            time,
            target,
            now=now,
            power_mw=power_mw,
            vehicle=vehicle,
            has_soc=has_soc,
            added_mwh=added_mwh,
        )
        before = upcoming[0][0] if earliest is None else earliest
        if plan.start_time is not None and plan.start_time < before:
            selected, earliest = (time, target), plan.start_time
    return selected


def _top_mwh(target: ChargingTarget, vehicle: Vehicle, *, has_soc: bool) -> int:
    """Return the energy that the falling draw near full would have allowed otherwise."""
    percent, capacity_mwh = vehicle.state_of_charge_percent, vehicle.battery_capacity_mwh
    wanted = target.target_soc_percent
    if not has_soc or percent is None or capacity_mwh is None or wanted is None:
        return 0
    span = 100 - _SLOWER_FROM_PERCENT
    begin, end = (max(0, each - _SLOWER_FROM_PERCENT) / span for each in (percent, wanted))
    time = log((1 - _SLOWER_BY * begin) / (1 - _SLOWER_BY * end)) / _SLOWER_BY
    return max(0, int((time - (end - begin)) * capacity_mwh * span / 100))
