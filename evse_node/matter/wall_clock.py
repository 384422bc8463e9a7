"""The node's wall clock and local time, from the machine or from the Matter network.

One object is the time source of the whole node: event time stamps, certificates, the end
of enabled charging, and charging targets, which are in local time.

Spec: Matter Core 1.3 "Time Synchronization Cluster"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from enum import Enum, IntEnum
from typing import Final, NamedTuple, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from evse_node.units import MATTER_EPOCH_UNIX_S

_S: Final = 1_000_000
MATTER_EPOCH_US: Final = MATTER_EPOCH_UNIX_S * _S
"""The Matter epoch, 2000-01-01, in microseconds since 1970."""
MAX_EPOCH_US: Final = 0xFFFF_FFFF * _S
"""The last Matter time in microseconds that is representable in seconds."""
# The largest offset of a time zone in `datetime`.
_MAX_OFFSET_S: Final = 86_399


class ClockSource(Enum):
    """Source of the wall clock."""

    SYSTEM = "system"
    MATTER = "matter"


class Granularity(IntEnum):
    """Accuracy of the time. Spec: Matter Core 1.3 "GranularityEnum"."""

    NO_TIME = 0
    MINUTES = 1
    SECONDS = 2
    MILLISECONDS = 3
    MICROSECONDS = 4


# After so many seconds a crystal that is off by 100 ppm has left the level's bounds
# (50 ms, 5 s).
_LASTS_S: Final = {Granularity.MILLISECONDS: 500.0, Granularity.SECONDS: 50_000.0}


def lowered(granularity: Granularity) -> Granularity:
    """Return the granularity of a peer's time after transmission: one level less."""
    if granularity is Granularity.NO_TIME:
        return granularity
    return max(Granularity(granularity - 1), Granularity.MINUTES)


class TimeSource(IntEnum):
    """Source of the time; those that this node uses. Spec: Matter Core 1.3 "TimeSourceEnum"."""

    NONE = 0
    UNKNOWN = 1
    ADMIN = 2
    NODE_TIME_CLUSTER = 3
    NON_MATTER_SNTP = 4


class GivenTime(NamedTuple):
    """A time from a source: Matter time in microseconds, and its granularity."""

    epoch_us: int
    granularity: Granularity


OnTime: TypeAlias = Callable[[GivenTime | None, float], None]
"""`on_time(time, now)` is called once; None when the source did not respond."""


class TimeZone(Struct, frozen=True):
    """An offset from UTC. `valid_at` is Matter time in microseconds, 0 for now already."""

    offset_s: int = 0
    valid_at: int = 0
    name: str | None = None


class DstOffset(Struct, frozen=True):
    """Offset of daylight saving between two Matter times in microseconds; None has no end."""

    offset_s: int
    valid_starting: int
    valid_until: int | None


class _Setting(Struct, frozen=True):
    """Matter time as it was set: both clocks at that moment, and how good it was."""

    utc_us: int
    monotonic_s: float
    granularity: Granularity
    source: TimeSource


class WallClock:
    """What time it is, here and in UTC.

    `monotonic` is the clock that `now` comes from. `system_utc_us` returns the machine's
    time in microseconds since 1970, or None while its clock is not set, `system_offset_s`
    the offset of the machine's time zone at a time in seconds since 1970.

    With the source SYSTEM the machine's clock counts, and a time from Matter only while
    the machine has none. With the source MATTER the machine's clock is not used.
    The machine's time zone counts until one was set over Matter.

    `on_changed` observers are called with `now` when the time or the zone was set.
    """

    def __init__(
        self,
        source: ClockSource = ClockSource.SYSTEM,
        *,
        monotonic: Callable[[], float],
        system_utc_us: Callable[[], int | None],
        system_offset_s: Callable[[int], int] = lambda utc_s: 0,
    ) -> None:
        self.source = source
        self.on_changed: list[Callable[[float], None]] = []
        self.time_zones: tuple[TimeZone, ...] = (TimeZone(),)
        self.dst_offsets: tuple[DstOffset, ...] = ()
        self.zone: tzinfo = _LocalZone(self)
        self._monotonic = monotonic
        self._system_utc_us = system_utc_us
        self._system_offset_s = system_offset_s
        self._setting: _Setting | None = None

    # UTC

    def utc_us(self) -> int | None:
        """Return microseconds since 1970, or None while the time is not known."""
        system = self._system_us()
        if system is not None:
            return system
        setting = self._setting
        if setting is None:
            return None
        return setting.utc_us + int((self._monotonic() - setting.monotonic_s) * _S)

    def utc_ms(self) -> int | None:
        """Return milliseconds since 1970, or None while the time is not known."""
        utc_us = self.utc_us()
        return None if utc_us is None else utc_us // 1000

    def epoch_us(self) -> int | None:
        """Return Matter time in microseconds, or None while the time is not known."""
        utc_us = self.utc_us()
        return None if utc_us is None or utc_us < MATTER_EPOCH_US else utc_us - MATTER_EPOCH_US

    @property
    def granularity(self) -> Granularity:
        """The current accuracy, which degrades with the age of the setting."""
        if self._system_us() is not None:
            # The accuracy of the system clock is unknown; any way to set it achieves seconds.
            return Granularity.SECONDS
        setting = self._setting
        if setting is None:
            return Granularity.NO_TIME
        age_s = self._monotonic() - setting.monotonic_s
        level = setting.granularity
        while age_s > _LASTS_S.get(level, age_s):
            level = Granularity(level - 1)
        return level

    @property
    def time_source(self) -> TimeSource:
        """The source of the time."""
        if self._system_us() is not None:
            return TimeSource.UNKNOWN
        return TimeSource.NONE if self._setting is None else self._setting.source

    def accepts(self, granularity: Granularity, epoch_us: int = 0) -> bool:
        """Return whether a time with this granularity is at least as good as the present one."""
        return (
            granularity is not Granularity.NO_TIME
            and 0 <= epoch_us <= MAX_EPOCH_US
            and self._system_us() is None
            and granularity >= self.granularity
        )

    def set_epoch_us(self, epoch_us: int, granularity: Granularity, source: TimeSource) -> None:
        """Take Matter time in microseconds, at most MAX_EPOCH_US.

        `granularity` is how good it is after its way here.
        """
        now = self._monotonic()
        level = min(granularity, Granularity.MILLISECONDS)
        self._setting = _Setting(epoch_us + MATTER_EPOCH_US, now, level, source)
        self._notify(now)

    def _system_us(self) -> int | None:
        return self._system_utc_us() if self.source is ClockSource.SYSTEM else None

    # Local time

    def set_local_time(
        self, time_zones: Sequence[TimeZone], dst_offsets: Sequence[DstOffset]
    ) -> None:
        """Set one or two time zones, and the offsets of daylight saving.

        The offsets of daylight saving are in order and do not overlap.
        """
        self.time_zones = tuple(time_zones)
        self.dst_offsets = tuple(dst_offsets)
        self._notify(self._monotonic())

    def drop_past(self) -> None:
        """Remove time zones and offsets that have expired."""
        epoch_us = self.epoch_us()
        if epoch_us is None:
            return
        zones = self.time_zones
        while len(zones) > 1 and zones[1].valid_at <= epoch_us:
            zones = (replace(zones[1], valid_at=0), *zones[2:])
        self.time_zones = zones
        self.dst_offsets = tuple(
            each
            for each in self.dst_offsets
            if each.valid_until is None or each.valid_until > epoch_us
        )

    def next_change_us(self) -> int | None:
        """Return the Matter time in microseconds at which the local time's offset changes."""
        epoch_us = self.epoch_us()
        if epoch_us is None:
            return None
        moments = [each.valid_at for each in self.time_zones]
        for each in self.dst_offsets:
            moments.append(each.valid_starting)
            if each.valid_until is not None:
                moments.append(each.valid_until)
        return min((moment for moment in moments if moment > epoch_us), default=None)

    def dst_offset_s(self, epoch_us: int) -> int:
        """Return the offset of daylight saving at a Matter time in microseconds."""
        for each in self.dst_offsets:
            if each.valid_starting <= epoch_us and (
                each.valid_until is None or epoch_us < each.valid_until
            ):
                return each.offset_s
        return 0

    def local_epoch_us(self) -> int | None:
        """Return local time since 2000-01-01 local time in microseconds.

        None while the time is not known, or nothing of daylight saving.
        Spec: Matter Core 1.3 "LocalTime Attribute"
        """
        epoch_us = self.epoch_us()
        if epoch_us is None or not self.dst_offsets:
            return None
        return max(0, epoch_us + self._matter_offset_s(epoch_us) * _S)

    def offset_s(self, utc_s: int) -> int:
        """Return the offset of local time at a time in seconds since 1970."""
        if self.time_zones == (TimeZone(),) and not self.dst_offsets:
            return self._system_offset_s(utc_s)
        offset_s = self._matter_offset_s(utc_s * _S - MATTER_EPOCH_US)
        return max(-_MAX_OFFSET_S, min(offset_s, _MAX_OFFSET_S))

    def _matter_offset_s(self, epoch_us: int) -> int:
        offset_s = self.time_zones[0].offset_s
        for each in self.time_zones[1:]:
            if each.valid_at <= epoch_us:
                offset_s = each.offset_s
        return offset_s + self.dst_offset_s(epoch_us)

    def _notify(self, now: float) -> None:
        for observer in list(self.on_changed):
            observer(now)


class _LocalZone(tzinfo):
    """A clock's local time for `datetime`, following later settings of the clock."""

    def __init__(self, clock: WallClock) -> None:
        self._clock = clock

    def fromutc(self, dt: datetime) -> datetime:
        """Return the local time of a UTC time."""
        return dt + timedelta(seconds=self._clock.offset_s(_utc_s(dt)))

    def utcoffset(self, dt: datetime | None) -> timedelta:
        """Return the offset at a local time; in an hour that repeats, either one is returned."""
        if dt is None:
            return timedelta(seconds=self._clock.time_zones[0].offset_s)
        local_s = _utc_s(dt)
        # Taking local time for UTC may miss a close change, so the lookup is repeated.
        guess_s = self._clock.offset_s(local_s)
        return timedelta(seconds=self._clock.offset_s(local_s - guess_s))

    def dst(self, dt: datetime | None) -> None:
        """Return None, since the daylight saving part of the offset is unknown."""

    def tzname(self, dt: datetime | None) -> str | None:
        """Return the name of the time zone, if it has one."""
        return self._clock.time_zones[0].name or None


def _utc_s(dt: datetime) -> int:
    return int(dt.replace(tzinfo=UTC).timestamp())
