"""Daylight saving from a time zone database, for zones set by name.

Spec: Matter Core 1.3 "SetTimeZone Command", "TimeZoneDatabase Attribute"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from evse_node.matter.wall_clock import MAX_EPOCH_US, DstOffset, TimeZone

LookUpDst: TypeAlias = Callable[[str, int, int], Sequence[DstOffset] | None]
"""`look_up_dst(name, offset_s, epoch_us)` returns the DST offsets of a zone from a Matter time
on: the current period and the following ones, or None for an unknown name.
"""


def offsets_of(
    look_up_dst: LookUpDst, zones: Sequence[TimeZone], epoch_us: int
) -> tuple[DstOffset, ...] | None:
    """Return the DST offsets of successive zones from a Matter time on.

    None unless the database has all of them.
    """
    offsets: list[DstOffset] = []
    # ValidAt may lie beyond the range of calendars.
    zones = [zone for zone in zones if zone.valid_at <= MAX_EPOCH_US]
    for zone, following in zip(zones, [*zones[1:], None], strict=True):
        begin_us = max(zone.valid_at, epoch_us)
        found = look_up_dst(zone.name or "", zone.offset_s, begin_us)
        if found is None:
            return None
        end_us = None if following is None else following.valid_at
        for each in found:
            starting = max(each.valid_starting, begin_us) if offsets else each.valid_starting
            until = each.valid_until
            if end_us is not None:
                if starting >= end_us:
                    break
                until = end_us if until is None else min(until, end_us)
            offsets.append(DstOffset(each.offset_s, starting, until))
    return tuple(offsets)
