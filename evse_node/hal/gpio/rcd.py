"""Residual-current device: its trip, its test and the reset of its latch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from evse_node.hal.gpio.drivers import OutputLine
from evse_node.hal.gpio.square_wave import SquareWave

_SETTLE_S: Final = 0.1
"""Delay between the end of a test and the reset; also how long the trip must stay inactive."""


class Rcd(Struct, eq=False):
    """Trip, test and reset lines of an RCD; `tick` advances a reset.

    `read_trip` may raise. A device without `reset` releases by itself. With `wave` the test
    uses a square wave, otherwise a level. Callers never reset while the contactor is closed.
    """

    read_trip: Callable[[], bool]
    test: OutputLine | None = None
    wave: SquareWave | None = None
    reset: OutputLine | None = None
    pulse_s: float = 0.1
    _begins_at: float | None = None
    _ends_at: float | None = None
    _quiet_since: float | None = None

    @property
    def can_test(self) -> bool:
        """Whether the device has a test input."""
        return self.test is not None

    @property
    def can_reset(self) -> bool:
        """Whether the trip is a latch."""
        return self.reset is not None

    def begin_test(self) -> None:
        if self.wave is not None:
            self.wave.start()
        elif self.test is not None:
            self.test.set(True)

    def end_test(self) -> None:
        if self.wave is not None:
            self.wave.stop()
        if self.test is not None:
            self.test.set(False)

    def begin_reset(self, now: float, *, after_test: bool = False) -> None:
        """Pulse the reset input, after a test with a delay."""
        self._quiet_since = None
        if self.reset is not None:
            self.reset.set(False)
            self._begins_at = now + (_SETTLE_S if after_test else 0.0)
            self._ends_at = None

    def end_reset(self) -> None:
        """Set the reset input inactive."""
        self._begins_at = self._ends_at = None
        if self.reset is not None:
            self.reset.set(False)

    @property
    def is_resetting(self) -> bool:
        """Whether the pulse is pending or active."""
        return self._begins_at is not None or self._ends_at is not None

    def tick(self, now: float) -> None:
        """Advance the pulse, which is never skipped, however late this is called. May raise."""
        if self.reset is None:
            return
        if self._begins_at is not None and now >= self._begins_at:
            self.reset.set(True)
            self._begins_at, self._ends_at = None, now + self.pulse_s
        elif self._ends_at is not None and now >= self._ends_at:
            self.reset.set(False)
            self._ends_at = None

    def has_released(self, now: float) -> bool:
        """Return whether the trip is inactive, after a reset for long enough. May raise."""
        if self.is_resetting or self.read_trip():
            self._quiet_since = None
            return False
        if self._quiet_since is None:
            self._quiet_since = now
        return self.reset is None or now - self._quiet_since >= _SETTLE_S
