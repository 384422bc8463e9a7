"""Daylight saving offsets from the system's time zone database."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from evse_node.matter.wall_clock import DstOffset
from evse_node.units import MATTER_EPOCH_UNIX_S

# Search path of zoneinfo, whose import takes longer than this module's work.
_FOLDERS: Final = (
    "/usr/share/zoneinfo",
    "/usr/lib/zoneinfo",
    "/usr/share/lib/zoneinfo",
    "/etc/zoneinfo",
)
_S: Final = 1_000_000
_DAY_S: Final = 86_400
# Shorter than any period of an offset has been.
_STEP_S: Final = 7 * _DAY_S
_BACK_S: Final = 366 * _DAY_S
_AHEAD_S: Final = 3 * 366 * _DAY_S
_MAX_PERIODS: Final = 4


def has_database(folders: Sequence[str] = _FOLDERS) -> bool:
    """Return whether the system has the database."""
    return any(Path(folder, "Etc/UTC").is_file() for folder in folders)


def zone_offset(name: str | None) -> Callable[[int], int]:
    """Return a function from UTC (seconds since 1970) to the offset of a zone in seconds.

    None is the machine's zone. Raises KeyError, ValueError or OSError for an unknown name.
    """
    if name is None:
        return lambda utc_s: time.localtime(utc_s).tm_gmtoff
    from zoneinfo import ZoneInfo

    zone = ZoneInfo(name)

    def offset_s(utc_s: int) -> int:
        offset = datetime.fromtimestamp(utc_s, zone).utcoffset()
        return 0 if offset is None else int(offset.total_seconds())

    return offset_s


def dst_offsets(name: str, offset_s: int, epoch_us: int) -> tuple[DstOffset, ...] | None:
    """Return the offsets added to a zone's `offset_s` from a Matter time in microseconds on.

    At most four periods; the last one has no end if no change follows for years. None for a
    zone that the database does not have.
    """
    try:
        total_s = zone_offset(name)
    except (KeyError, ValueError, OSError):
        return None
    now_s = epoch_us // _S + MATTER_EPOCH_UNIX_S
    begin_s = _change(total_s, now_s, max(now_s - _BACK_S, MATTER_EPOCH_UNIX_S))
    begin_us = 0 if begin_s is None else _epoch_us(begin_s)
    periods: list[DstOffset] = []
    while len(periods) < _MAX_PERIODS:
        end_s = _change(total_s, now_s, now_s + _AHEAD_S)
        end_us = None if end_s is None else _epoch_us(end_s)
        periods.append(DstOffset(total_s(now_s) - offset_s, begin_us, end_us))
        if end_s is None or end_us is None:
            break
        now_s, begin_us = end_s, end_us
    return tuple(periods)


def _change(total_s: Callable[[int], int], start: int, stop: int) -> int | None:
    """Return the first second of another offset after `start`, or of this one before it."""
    step = _STEP_S if stop > start else -_STEP_S
    here = total_s(start)
    for near in range(start, stop, step):
        far = near + step
        if total_s(far) == here:
            continue
        while abs(far - near) > 1:
            middle = (near + far) // 2
            if total_s(middle) == here:
                near = middle
            else:
                far = middle
        return max(near, far)
    return None


def _epoch_us(utc_s: int) -> int:
    return max(0, utc_s - MATTER_EPOCH_UNIX_S) * _S
