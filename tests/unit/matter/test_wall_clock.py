from datetime import UTC, datetime

import pytest

from evse_node.matter.wall_clock import (
    MATTER_EPOCH_US,
    ClockSource,
    DstOffset,
    Granularity,
    TimeSource,
    TimeZone,
    WallClock,
    lowered,
)

DAY_US = 86_400_000_000
# 2026-01-01 00:00 UTC
START_US = 26 * 365 * DAY_US + 7 * DAY_US
S = 1_000_000


class Machine:
    """A machine whose clocks the test moves."""

    def __init__(self, source: ClockSource = ClockSource.SYSTEM) -> None:
        self.now = 1000.0
        self.utc_us: int | None = None
        self.clock = WallClock(
            source,
            monotonic=lambda: self.now,
            system_utc_us=lambda: self.utc_us,
            system_offset_s=lambda utc_s: 1234,
        )


@pytest.fixture
def machine() -> Machine:
    return Machine(ClockSource.MATTER)


def set_time(machine: Machine, epoch_us: int = START_US) -> None:
    machine.clock.set_epoch_us(epoch_us, Granularity.SECONDS, TimeSource.ADMIN)


def epoch_us(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * S - MATTER_EPOCH_US  # type: ignore[misc,arg-type]


def test_constants_match_calendar() -> None:
    assert epoch_us(2026, 1, 1) == START_US


def test_matter_time_advances_with_monotonic_clock(machine: Machine) -> None:
    machine.utc_us = 77
    clock = machine.clock
    assert clock.utc_us() is None
    assert clock.utc_ms() is None
    assert clock.epoch_us() is None
    assert clock.granularity is Granularity.NO_TIME
    assert clock.time_source is TimeSource.NONE
    set_time(machine)
    machine.now += 1.5
    assert clock.epoch_us() == START_US + 1_500_000
    assert clock.utc_ms() == (START_US + MATTER_EPOCH_US) // 1000 + 1500
    assert clock.time_source is TimeSource.ADMIN


def test_system_time_takes_precedence_over_matter_time() -> None:
    machine = Machine()
    clock = machine.clock
    assert clock.accepts(Granularity.MINUTES)
    set_time(machine, 5 * S)
    assert clock.epoch_us() == 5 * S
    machine.utc_us = MATTER_EPOCH_US + 9
    assert clock.epoch_us() == 9
    assert not clock.accepts(Granularity.MICROSECONDS)
    assert clock.time_source is TimeSource.UNKNOWN
    assert clock.granularity is Granularity.SECONDS


def test_time_before_matter_epoch_is_none() -> None:
    machine = Machine()
    machine.utc_us = MATTER_EPOCH_US - 1
    assert machine.clock.epoch_us() is None
    assert machine.clock.utc_us() == MATTER_EPOCH_US - 1


def test_granularity_degrades_with_age(machine: Machine) -> None:
    machine.clock.set_epoch_us(START_US, Granularity.MICROSECONDS, TimeSource.NON_MATTER_SNTP)
    seen = []
    for wait_s in (0, 400, 200, 49_000, 1_000_000):
        machine.now += wait_s
        seen.append(machine.clock.granularity)
    assert seen == [3, 3, 2, 2, 1]
    assert machine.clock.accepts(Granularity.MINUTES)
    assert not machine.clock.accepts(Granularity.NO_TIME)


def test_time_with_worse_granularity_is_rejected(machine: Machine) -> None:
    set_time(machine)
    assert machine.clock.accepts(Granularity.SECONDS)
    assert not machine.clock.accepts(Granularity.MINUTES)


def test_time_from_peer_loses_one_granularity_level() -> None:
    assert [lowered(level) for level in Granularity] == [0, 1, 1, 2, 3]


def test_observers_are_notified_of_time_and_zone(machine: Machine) -> None:
    times: list[float] = []
    machine.clock.on_changed.append(times.append)
    set_time(machine)
    machine.now += 1
    machine.clock.set_local_time([TimeZone(3600)], [])
    assert times == [1000.0, 1001.0]


def test_system_time_zone_applies_until_one_is_set(machine: Machine) -> None:
    clock = machine.clock
    assert clock.offset_s(0) == 1234
    clock.set_local_time([TimeZone()], [DstOffset(0, 0, None)])
    assert clock.offset_s(0) == 0
    clock.set_local_time([TimeZone(7200)], [])
    assert clock.offset_s(0) == 7200


def test_local_time_is_none_without_time_or_dst_offsets(machine: Machine) -> None:
    clock = machine.clock
    clock.set_local_time([TimeZone(7200)], [DstOffset(0, 0, None)])
    assert clock.local_epoch_us() is None
    set_time(machine)
    assert clock.local_epoch_us() == START_US + 7200 * S
    clock.set_local_time([TimeZone(7200)], [])
    assert clock.local_epoch_us() is None


def test_expired_zones_and_offsets_are_dropped(machine: Machine) -> None:
    clock = machine.clock
    zones = [TimeZone(3600, 0, "A"), TimeZone(7200, START_US + 10 * S, "B")]
    offsets = [
        DstOffset(60, 0, START_US + 20 * S),
        DstOffset(120, START_US + 30 * S, START_US + 40 * S),
    ]
    clock.set_local_time(zones, offsets)
    clock.drop_past()
    assert clock.time_zones == tuple(zones)
    assert clock.next_change_us() is None
    set_time(machine)
    seen = []
    while (change_us := clock.next_change_us()) is not None:
        now_us = clock.epoch_us()
        assert now_us is not None
        machine.now += (change_us - now_us) / S
        clock.drop_past()
        local_us = clock.local_epoch_us()
        seen.append(
            (
                round(machine.now) - 1000,
                clock.time_zones[0].name,
                len(clock.dst_offsets),
                None if local_us is None else round((local_us - change_us) / S),
            )
        )
    assert seen == [
        (10, "B", 2, 7260),
        (20, "B", 1, 7200),
        (30, "B", 1, 7320),
        (40, "B", 0, None),
    ]
    assert clock.time_zones == (TimeZone(7200, 0, "B"),)


def berlin(machine: Machine) -> WallClock:
    machine.clock.set_local_time(
        [TimeZone(3600, 0, "Europe/Berlin")],
        [
            DstOffset(3600, epoch_us(2026, 3, 29, 1), epoch_us(2026, 10, 25, 1)),
            DstOffset(0, epoch_us(2026, 10, 25, 1), None),
        ],
    )
    return machine.clock


@pytest.mark.parametrize(
    ("utc", "local"),
    [
        ((2026, 1, 15, 12), "2026-01-15 13:00+01:00"),
        ((2026, 3, 29, 0, 59), "2026-03-29 01:59+01:00"),
        ((2026, 3, 29, 1, 0), "2026-03-29 03:00+02:00"),
        ((2026, 7, 1, 22, 30), "2026-07-02 00:30+02:00"),
        ((2026, 10, 25, 2, 0), "2026-10-25 03:00+01:00"),
    ],
)
def test_zone_converts_datetimes(machine: Machine, utc: tuple[int, ...], local: str) -> None:
    zone = berlin(machine).zone
    moment = datetime(*utc, tzinfo=UTC)  # type: ignore[misc,arg-type]
    found = moment.astimezone(zone)
    assert found.isoformat(" ", "minutes") == local
    assert found.timestamp() == moment.timestamp()
    assert found.tzname() == "Europe/Berlin"
    assert found.dst() is None
    # As charging targets are found: a wall-clock time of the same day.
    assert found.replace(hour=23, minute=0).isoformat(" ", "minutes")[11:16] == "23:00"


def test_zone_follows_later_settings(machine: Machine) -> None:
    zone = berlin(machine).zone
    machine.clock.set_local_time([TimeZone(-18_000)], [DstOffset(0, 0, None)])
    assert datetime(2026, 7, 1, tzinfo=UTC).astimezone(zone).hour == 19
    assert datetime.now(zone).tzname() is None


@pytest.mark.parametrize(("dst_s", "offset_s"), [(2**31 - 1, 86_399), (-(2**31), -86_399)])
def test_zone_accepts_any_offset(machine: Machine, dst_s: int, offset_s: int) -> None:
    machine.clock.set_local_time([TimeZone(3600)], [DstOffset(dst_s, 0, None)])
    moment = datetime(2026, 7, 1, tzinfo=UTC).astimezone(machine.clock.zone)
    found = moment.utcoffset()
    assert found is not None
    assert found.total_seconds() == offset_s
    assert moment.timestamp() == datetime(2026, 7, 1, tzinfo=UTC).timestamp()
