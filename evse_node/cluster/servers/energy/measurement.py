"""Accuracies, instants and quieter reporting, shared by the measurement clusters.

Spec: Matter Application Clusters 1.3 "Measurement and Sensing", Matter Core 1.3
"MeasurementAccuracyStruct"
"""

from __future__ import annotations

from enum import IntEnum
from itertools import pairwise
from typing import Final

from msgspec import Struct

from evse_node.cluster.definitions.definition import Value
from evse_node.units import epoch_s_from_utc_ms

_PERCENT_100THS: Final = 10_000


class MeasurementType(IntEnum):
    """Spec: Matter Core 1.3 "MeasurementTypeEnum"."""

    VOLTAGE = 1
    ACTIVE_CURRENT = 2
    REACTIVE_CURRENT = 3
    APPARENT_CURRENT = 4
    ACTIVE_POWER = 5
    REACTIVE_POWER = 6
    APPARENT_POWER = 7
    RMS_VOLTAGE = 8
    RMS_CURRENT = 9
    RMS_POWER = 10
    FREQUENCY = 11
    POWER_FACTOR = 12
    NEUTRAL_CURRENT = 13
    ELECTRICAL_ENERGY = 14


class AccuracyRange(Struct, frozen=True):
    """The maximum error of a value between `minimum` and `maximum`.

    `percent_100ths` is relative to the value, in hundredths of a percent; `fixed` is in the
    value's unit; both add up. Raises ValueError for an empty range or one with neither.
    """

    minimum: int
    maximum: int
    percent_100ths: int | None = None
    fixed: int | None = None

    def __post_init__(self) -> None:
        if self.maximum <= self.minimum:
            raise ValueError(f"range from {self.minimum} to {self.maximum} is empty")
        if self.percent_100ths is None and self.fixed is None:
            raise ValueError("a range needs a relative or a fixed accuracy")
        if self.percent_100ths is not None and not 0 <= self.percent_100ths <= _PERCENT_100THS:
            raise ValueError(f"{self.percent_100ths} hundredths of a percent")

    def to_struct(self) -> dict[str, Value]:
        """Return the MeasurementAccuracyRangeStruct."""
        struct: dict[str, Value] = {"range_min": self.minimum, "range_max": self.maximum}
        if self.percent_100ths is not None:
            struct["percent_max"] = self.percent_100ths
        if self.fixed is not None:
            struct["fixed_max"] = self.fixed
        return struct


class Accuracy(Struct, frozen=True):
    """The accuracy of one type of measurement. Raises ValueError if its ranges leave gaps.

    `is_measured` is False for estimates.
    """

    type: MeasurementType
    ranges: tuple[AccuracyRange, ...]
    is_measured: bool = True

    def __post_init__(self) -> None:
        if not self.ranges:
            raise ValueError("an accuracy needs a range")
        for before, after in pairwise(self.ranges):
            if after.minimum != before.maximum + 1:
                raise ValueError(f"no range starts at {before.maximum + 1}")

    @property
    def minimum(self) -> int:
        """The lower end of the measuring range."""
        return self.ranges[0].minimum

    @property
    def maximum(self) -> int:
        """The upper end of the measuring range."""
        return self.ranges[-1].maximum

    def to_struct(self) -> dict[str, Value]:
        """Return the MeasurementAccuracyStruct."""
        return {
            "measurement_type": self.type,
            "measured": self.is_measured,
            "min_measured_value": self.minimum,
            "max_measured_value": self.maximum,
            "accuracy_ranges": [item.to_struct() for item in self.ranges],
        }


def percent_accuracy(
    type_: MeasurementType, maximum: int, percent_100ths: int, *, is_signed: bool = False
) -> Accuracy:
    """Return the accuracy of an instrument whose error is relative to the value.

    Below 5 % of `maximum` (at least 3) the error stays that of 5 %. With `is_signed` the
    range is symmetric about zero.
    """
    low = max(maximum // 20, 2)
    fixed = max(low * percent_100ths // _PERCENT_100THS, 1)
    upper = AccuracyRange(low, maximum, percent_100ths=percent_100ths)
    if not is_signed:
        return Accuracy(type_, (AccuracyRange(0, low - 1, fixed=fixed), upper))
    return Accuracy(
        type_,
        (
            AccuracyRange(-maximum, -low, percent_100ths=percent_100ths),
            AccuracyRange(1 - low, low - 1, fixed=fixed),
            upper,
        ),
    )


class Instant(Struct, frozen=True):
    """A moment on both clocks: `epoch_s` since 2000 or None if unknown, `system_ms` since start.

    Spec: Matter Core 1.3 "Epoch Time in Seconds", "System Time in Milliseconds"
    """

    epoch_s: int | None
    system_ms: int

    @classmethod
    def at(cls, utc_ms: int | None, up_s: float) -> Instant:
        """Return the moment at `utc_ms` since 1970, `up_s` seconds after the start."""
        epoch_s = None if utc_ms is None else epoch_s_from_utc_ms(utc_ms)
        return cls(epoch_s, int(up_s * 1000))

    def earlier(self, seconds: int) -> Instant:
        """Return the moment this many seconds before, but not before the start."""
        epoch_s = None if self.epoch_s is None else self.epoch_s - seconds
        return Instant(epoch_s, max(0, self.system_ms - 1000 * seconds))


def has_wall_times(start: Instant, end: Instant) -> bool:
    """Return whether wall clock timestamps can describe a period.

    They cannot if the clock was set back meanwhile, or if both ends share one second.
    """
    return start.epoch_s is not None and end.epoch_s is not None and end.epoch_s > start.epoch_s


class QuietReporting(Struct, eq=False):
    """Rate limit for reports of a value that changes continuously.

    A significant change is due `fastest_s` after the last report, any other one `slowest_s`
    after it.

    Spec: Matter Core 1.3 "Quieter Reporting Quality"
    """

    fastest_s: float = 1.0
    slowest_s: float = 10.0
    _reported_at: float | None = None

    def is_due(self, now: float, *, is_significant: bool) -> bool:
        """Return whether to report a change now, and if so restart the interval.

        Call again with the next reading if the change is not due.
        """
        wait_s = self.fastest_s if is_significant else self.slowest_s
        if self._reported_at is not None and now < self._reported_at + wait_s:
            return False
        self._reported_at = now
        return True
