"""Units of quantities, and the epochs of Unix and Matter.

Quantities are integers of milliamperes, millivolts, milliwatts and milliwatt-hours; only
analogue inputs use floats. Monotonic time is a float of seconds named `now`; wall time has the
types below.
"""

from __future__ import annotations

from typing import Final, NewType

from msgspec import Meta

Milliamps = NewType("Milliamps", int)
Millivolts = NewType("Millivolts", int)
Milliwatts = NewType("Milliwatts", int)
MilliwattHours = NewType("MilliwattHours", int)
Ohms = NewType("Ohms", int)
EpochSeconds = NewType("EpochSeconds", int)
"""Seconds since 2000-01-01 00:00 UTC. Spec: Matter Core 1.3 "Epoch Time in Seconds"."""
UtcMilliseconds = NewType("UtcMilliseconds", int)
"""Milliseconds since 1970-01-01 00:00 UTC."""

MATTER_EPOCH_UNIX_S: Final = 946_684_800
"""The Matter epoch, 2000-01-01 00:00 UTC, in seconds since 1970."""

INT64: Final = Meta(ge=-(1 << 63), le=(1 << 63) - 1)
UINT63: Final = Meta(ge=0, le=(1 << 63) - 1)
UINT32: Final = Meta(ge=0, lt=1 << 32)
"""Ranges of numbers in stored JSON, checked when it is decoded."""


def epoch_s_from_utc_ms(utc_ms: int) -> EpochSeconds:
    """Convert milliseconds since 1970 to whole seconds since 2000, rounding down."""
    return EpochSeconds(utc_ms // 1000 - MATTER_EPOCH_UNIX_S)


def utc_ms_from_epoch_s(epoch_s: int) -> UtcMilliseconds:
    """Convert seconds since 2000 to milliseconds since 1970."""
    return UtcMilliseconds((epoch_s + MATTER_EPOCH_UNIX_S) * 1000)


def power_mw(voltage_mv: int, current_ma: int, phases: int = 1) -> Milliwatts:
    """Return the active power of `phases` equal phases at power factor 1."""
    return Milliwatts(voltage_mv * current_ma * phases // 1000)
