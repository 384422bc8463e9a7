"""The residual-current device: its trip, its test and the reset of its latch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from evse_node.hal.gpio.drivers import OutputLine
from evse_node.hal.gpio.square_wave import SquareWave

_SETTLE_S: Final = 0.1
"""After the test's end, before a latch is reset; and how long the trip has to stay away then."""


class Rcd:
    """What a board has of it; `tick` takes a reset on.

    `read_trip` may raise. A device without `reset` releases by itself. With `wave` the test
    needs a square wave, without it a level. Nobody resets while the contactor is closed.
    """

    def __init__(
        self,
        read_trip: Callable[[], bool],
        *,
        test: OutputLine | None = None,
        wave: SquareWave | None = None,
        reset: OutputLine | None = None,
        pulse_s: float = 0.1,
    ) -> None:
        self.read_trip = read_trip
        self._test = test
        self._wave = wave
        self._reset = reset
        self._pulse_s = pulse_s
        self._begins_at: float | None = None
        self._ends_at: float | None = None
        self._quiet_since: float | None = None

    @property
    def can_test(self) -> bool:
        """Whether it has a test input."""
        return self._test is not None

    @property
    def can_reset(self) -> bool:
        """Whether its trip is a latch that wants to be reset."""
        return self._reset is not None

    def begin_test(self) -> None:
        """Let a residual current flow."""
        if self._wave is not None:
            self._wave.start()
        elif self._test is not None:
            self._test.set(True)

    def end_test(self) -> None:
        """Let it flow no more."""
        if self._wave is not None:
            self._wave.stop()
        if self._test is not None:
            self._test.set(False)

    def begin_reset(self, now: float, *, after_test: bool = False) -> None:
        """Pulse the reset input; after a test, give the device a moment before."""
        self._quiet_since = None
        if self._reset is not None:
            self._reset.set(False)
            self._begins_at = now + (_SETTLE_S if after_test else 0.0)
            self._ends_at = None

    def end_reset(self) -> None:
        """Leave the reset input inactive."""
        self._begins_at = self._ends_at = None
        if self._reset is not None:
            self._reset.set(False)

    @property
    def is_resetting(self) -> bool:
        """Whether the pulse is still to come, or lasts."""
        return self._begins_at is not None or self._ends_at is not None

    def tick(self, now: float) -> None:
        """Take the pulse on, however late this is called: it is never left out. May raise."""
        if self._reset is None:
            return
        if self._begins_at is not None and now >= self._begins_at:
            self._reset.set(True)
            self._begins_at, self._ends_at = None, now + self._pulse_s
        elif self._ends_at is not None and now >= self._ends_at:
            self._reset.set(False)
            self._ends_at = None

    def has_released(self, now: float) -> bool:
        """Return whether the trip is away, and has been for a while if it was reset. May raise."""
        if self.is_resetting or self.read_trip():
            self._quiet_since = None
            return False
        if self._quiet_since is None:
            self._quiet_since = now
        return self._reset is None or now - self._quiet_since >= _SETTLE_S
