"""Charging session, from plugging in to unplugging.

Spec: Matter Application Clusters 1.3 "Sessions" (Energy EVSE)
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from evse_node.units import MilliwattHours

_SESSION_ID_LIMIT = 1 << 32
_NO_ENERGY = MilliwattHours(0)


class MeterReading(Struct, frozen=True):
    """Totals of the energy meter, which only count up."""

    imported_mwh: MilliwattHours = _NO_ENERGY
    exported_mwh: MilliwattHours = _NO_ENERGY


NO_READING = MeterReading()


def counter_offset(
    last: MeterReading, reading: MeterReading, *, is_counter_reset: bool
) -> MeterReading:
    """Return the offset for earlier readings that keeps differences over a counter reset.

    Zero without a reset.
    """

    def offset(before: int, after: int) -> MilliwattHours:
        return MilliwattHours(after - before if is_counter_reset or after < before else 0)

    return MeterReading(
        offset(last.imported_mwh, reading.imported_mwh),
        offset(last.exported_mwh, reading.exported_mwh),
    )


def shifted(start: MeterReading, offset: MeterReading) -> MeterReading:
    """Return an earlier reading on the present counter's scale."""
    return MeterReading(
        MilliwattHours(start.imported_mwh + offset.imported_mwh),
        MilliwattHours(start.exported_mwh + offset.exported_mwh),
    )


class Session(Struct, frozen=True):
    """The running session, or the last one when `is_active` is False.

    `started_at` and `ended_at` are monotonic seconds, `start` and `end` the meter's readings then.
    """

    id: int
    started_at: float
    start: MeterReading
    is_active: bool = True
    ended_at: float = 0.0
    end: MeterReading = NO_READING

    def duration_s(self, now: float) -> int:
        """Return the whole seconds so far, or of the ended session."""
        return max(0, int((now if self.is_active else self.ended_at) - self.started_at))

    def energy_charged_mwh(self, meter: MeterReading) -> MilliwattHours:
        """Return the energy delivered to the vehicle."""
        reading = meter if self.is_active else self.end
        return MilliwattHours(max(0, reading.imported_mwh - self.start.imported_mwh))

    def energy_discharged_mwh(self, meter: MeterReading) -> MilliwattHours:
        """Return the energy received from the vehicle."""
        reading = meter if self.is_active else self.end
        return MilliwattHours(max(0, reading.exported_mwh - self.start.exported_mwh))

    def ended(self, meter: MeterReading, now: float) -> Session:
        """Return the session with its values frozen."""
        return replace(self, is_active=False, ended_at=now, end=meter)


def next_session(last: Session | None, meter: MeterReading, now: float) -> Session:
    """Return a new session. Ids count up from 0 and wrap at 32 bits."""
    number = 0 if last is None else (last.id + 1) % _SESSION_ID_LIMIT
    return Session(number, now, meter)
