"""Meters: one on a bus, polled by a thread of its own, and one that sends pulses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from evse_node.errors import HalError
from evse_node.hal.gpio.drivers import MeterSource
from evse_node.hal.interface import MeterValues, Ratings
from evse_node.units import Milliamps, MilliwattHours, Milliwatts

METER_POLL_S: Final = 1.0


class PolledMeter:
    """A `Meter` that returns the latest answer until it is too old."""

    def __init__(self, source: MeterSource, limit_s: float, clock: Callable[[], float]) -> None:
        self._source = source
        self._limit_s = limit_s
        self._clock = clock
        self._since = clock()
        self._answer: tuple[MeterValues, float] | None = None
        self._failure = "no answer yet"

    def poll(self) -> None:
        """Read the meter once. Never raises."""
        try:
            values = self._source.read()
        except Exception as error:
            self._failure = str(error)
            return
        self._answer = (values, self._clock())

    def is_lost(self, now: float) -> bool:
        """Return whether the meter was silent for too long."""
        answered_at = self._since if self._answer is None else self._answer[1]
        return now - answered_at > self._limit_s

    @property
    def has_answered(self) -> bool:
        """Whether the meter has ever answered."""
        return self._answer is not None

    def read(self) -> MeterValues:
        if self._answer is None or self.is_lost(self._clock()):
            raise HalError(f"the meter does not answer: {self._failure}")
        return self._answer[0]

    def close(self) -> None:
        self._source.close()


class PulseMeter(Struct, eq=False):
    """A `Meter` that counts pulses. Voltage is nominal, current is derived from power.

    The total restarts at 0 with each start; the charger keeps sessions across that.
    """

    pulses_per_kwh: int
    ratings: Ratings
    clock: Callable[[], float]
    _pulses: int = 0
    _last_ns: int | None = None
    _interval_ns: int | None = None
    _last_at: float = 0.0

    def on_pulse(self, timestamp_ns: int) -> None:
        """Count a pulse with the kernel's time of its edge."""
        if self._last_ns is not None and timestamp_ns > self._last_ns:
            self._interval_ns = timestamp_ns - self._last_ns
        self._pulses += 1
        self._last_ns, self._last_at = timestamp_ns, self.clock()

    def read(self) -> MeterValues:
        """Return the total, and the power from the interval between the last two pulses."""
        power_mw = 0
        if self._interval_ns is not None:
            silent_ns = round((self.clock() - self._last_at) * 1e9)
            interval_ns = max(self._interval_ns, silent_ns)
            power_mw = 3_600_000_000_000_000_000 // (self.pulses_per_kwh * interval_ns)
            if silent_ns > 20 * self._interval_ns:
                power_mw = 0
        ratings = self.ratings
        volts = ratings.nominal_voltage_mv * ratings.phases
        return MeterValues(
            MilliwattHours(self._pulses * 1_000_000 // self.pulses_per_kwh),
            MilliwattHours(0),
            Milliwatts(power_mw),
            (ratings.nominal_voltage_mv,) * ratings.phases,
            (Milliamps(power_mw * 1000 // volts),) * ratings.phases,
        )
