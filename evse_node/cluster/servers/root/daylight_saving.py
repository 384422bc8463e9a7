"""Daylight saving from a time zone database, for zones that were set by name.

Spec: Matter Core 1.3 "SetTimeZone Command", "TimeZoneDatabase Attribute"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from evse_node.matter.wall_clock import MAX_EPOCH_US, DstOffset, TimeZone

LookUpDst: TypeAlias = Callable[[str, int, int], Sequence[DstOffset] | None]
"""`look_up_dst(name, offset_s, epoch_us)` returns what is added to the zone's offset from a
Matter time on: the period of that time and those that follow, or None for an unknown name.
"""


def offsets_of(
    look_up_dst: LookUpDst, zones: Sequence[TimeZone], epoch_us: int
) -> tuple[DstOffset, ...] | None:
    """Return what is added in these zones from a Matter time on, each zone in its own time.

    None unless the database knows all of them.
    """
    offsets: list[DstOffset] = []
    # No calendar goes as far as the time of a zone may.
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
