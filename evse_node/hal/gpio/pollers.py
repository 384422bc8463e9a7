"""Meter and card reader, asked again and again by a thread of their own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from evse_node.errors import HalError
from evse_node.hal.gpio.drivers import CardSource, MeterSource
from evse_node.hal.interface import MeterValues, Ratings
from evse_node.units import Milliamps, MilliwattHours, Milliwatts

_LOGGER: Final = logging.getLogger(__name__)

METER_POLL_S: Final = 1.0
CARD_POLL_S: Final = 0.2
_ABSENT_POLLS: Final = 3


class PolledMeter:
    """A `Meter` that shows the newest answer, as long as that is not too old."""

    def __init__(self, source: MeterSource, limit_s: float, clock: Callable[[], float]) -> None:
        self._source = source
        self._limit_s = limit_s
        self._clock = clock
        self._since = clock()
        self._answer: tuple[MeterValues, float] | None = None
        self._failure = "it has not answered yet"

    def poll(self) -> None:
        """Ask once. Never raises."""
        try:
            values = self._source.read()
        except Exception as error:
            self._failure = str(error)
            return
        before = self._answer
        if before is not None and values.imported_mwh < before[0].imported_mwh:
            self._failure = "its total ran backwards"
            return
        self._answer = (values, self._clock())

    def is_lost(self, now: float) -> bool:
        """Return whether it was silent for too long."""
        heard_at = self._since if self._answer is None else self._answer[1]
        return now - heard_at > self._limit_s

    @property
    def has_answered(self) -> bool:
        """Whether there is any answer."""
        return self._answer is not None

    def read(self) -> MeterValues:
        """Return the newest answer."""
        if self._answer is None or self.is_lost(self._clock()):
            raise HalError(f"the meter does not answer: {self._failure}")
        return self._answer[0]

    def close(self) -> None:
        """Let go of the meter's bus."""
        self._source.close()


class PulseMeter:
    """A `Meter` that counts pulses. Voltage is the nominal one, current follows from power.

    The total begins at 0 with each start; sessions are carried over that by the charger.
    """

    def __init__(self, pulses_per_kwh: int, ratings: Ratings, clock: Callable[[], float]) -> None:
        self._pulses_per_kwh = pulses_per_kwh
        self._ratings = ratings
        self._clock = clock
        self._pulses = 0
        self._last_ns: int | None = None
        self._interval_ns: int | None = None
        self._last_at = 0.0

    def on_pulse(self, timestamp_ns: int) -> None:
        """Count a pulse with the kernel's time of its edge."""
        if self._last_ns is not None and timestamp_ns > self._last_ns:
            self._interval_ns = timestamp_ns - self._last_ns
        self._pulses += 1
        self._last_ns, self._last_at = timestamp_ns, self._clock()

    def read(self) -> MeterValues:
        """Return the total, and the power by the time between the last two pulses."""
        power_mw = 0
        if self._interval_ns is not None:
            silent_ns = round((self._clock() - self._last_at) * 1e9)
            interval_ns = max(self._interval_ns, silent_ns)
            power_mw = 3_600_000_000_000_000_000 // (self._pulses_per_kwh * interval_ns)
            if silent_ns > 20 * self._interval_ns:
                power_mw = 0
        ratings = self._ratings
        volts = ratings.nominal_voltage_mv * ratings.phases
        return MeterValues(
            MilliwattHours(self._pulses * 1_000_000 // self._pulses_per_kwh),
            MilliwattHours(0),
            Milliwatts(power_mw),
            (ratings.nominal_voltage_mv,) * ratings.phases,
            (Milliamps(power_mw * 1000 // volts),) * ratings.phases,
        )


class CardPoller:
    """Tells each card once, until it was away for a moment."""

    def __init__(self, source: CardSource, tell: Callable[[bytes], None]) -> None:
        self._source = source
        self._tell = tell
        self._present: bytes | None = None
        self._absent = 0
        self._is_failing = False

    def poll(self) -> None:
        """Look once. Never raises; a reader that fails is logged once, and tried again."""
        try:
            uid = self._source.poll()
        except Exception as error:
            if not self._is_failing:
                _LOGGER.error("the card reader does not answer: %s", error)
            self._is_failing = True
            return
        if self._is_failing:
            _LOGGER.info("the card reader answers again")
            self._is_failing = False
        if uid is None:
            self._absent += 1
            if self._absent >= _ABSENT_POLLS:
                self._present = None
            return
        self._absent = 0
        if uid != self._present and 1 <= len(uid) <= 10:
            self._present = uid
            self._tell(uid)

    def close(self) -> None:
        """Let go of the reader's bus."""
        self._source.close()
