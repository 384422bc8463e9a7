"""Extremes of a measurement period, and when they were measured.

Spec: Matter Application Clusters 1.3 "MeasurementRangeStruct", "MeasurementPeriodRanges Event"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from evse_node.cluster.definitions.definition import Value
from evse_node.cluster.servers.energy.measurement import Instant, MeasurementType, has_wall_times


class Extreme(Struct, frozen=True):
    """A value and when it was measured."""

    value: int
    at: Instant


class MeasurementRange(Struct, frozen=True):
    """The extremes of one type of measurement from `start` to `end`."""

    type: MeasurementType
    least: Extreme
    greatest: Extreme
    start: Instant
    end: Instant

    def to_struct(self) -> dict[str, Value]:
        """Return the MeasurementRangeStruct."""
        struct: dict[str, Value] = {
            "measurement_type": self.type,
            "min": self.least.value,
            "max": self.greatest.value,
        }
        moments = {
            "start": self.start,
            "end": self.end,
            "min": self.least.at,
            "max": self.greatest.at,
        }
        if has_wall_times(self.start, self.end) and None not in (
            self.least.at.epoch_s,
            self.greatest.at.epoch_s,
        ):
            return struct | {f"{name}_timestamp": at.epoch_s for name, at in moments.items()}
        return struct | {f"{name}_systime": at.system_ms for name, at in moments.items()}


class RangeTracker:
    """Collects the ranges of a period, which starts when power flows."""

    def __init__(self, types: Sequence[MeasurementType], period_s: float) -> None:
        self._types = tuple(types)
        self._period_ms = int(period_s * 1000)
        self._start: Instant | None = None
        self._extremes: dict[MeasurementType, tuple[Extreme, Extreme]] = {}

    def add(
        self, values: Mapping[MeasurementType, int | None], at: Instant, *, is_flowing: bool
    ) -> tuple[MeasurementRange, ...] | None:
        """Add values; return the ranges if the period ends now, else None."""
        if self._start is None:
            if not is_flowing:
                return None
            self._start = at
        for type_ in self._types:
            value = values.get(type_)
            if value is not None:
                self._widen(type_, Extreme(value, at))
        start = self._start
        if at.system_ms < start.system_ms + self._period_ms:
            return None
        ranges = tuple(
            MeasurementRange(type_, *self._extremes[type_], start, at)
            for type_ in self._types
            if type_ in self._extremes
        )
        self._start = None
        self._extremes = {}
        return ranges

    def _widen(self, type_: MeasurementType, new: Extreme) -> None:
        least, greatest = self._extremes.get(type_, (new, new))
        self._extremes[type_] = (
            new if new.value < least.value else least,
            new if new.value > greatest.value else greatest,
        )
