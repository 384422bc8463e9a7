"""Lock and lamp: outputs with a time course, advanced by `tick`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from evse_node.errors import HalError
from evse_node.hal.gpio.drivers import OutputLine

_FLASH_S: Final = 0.3
_ATTEMPTS: Final = 3
_PAUSE_S: Final = 1.0


class MotorLock:
    """A `CableLock`. A motor gets a pulse in its direction; a magnet is held.

    `read_locked` returns the feedback, None without one; `may_unlock` whether the contactor is
    open. A lock that does not reach its position is driven again twice.
    """

    def __init__(
        self,
        lock_line: OutputLine,
        unlock_line: OutputLine | None,
        pulse_s: float,
        *,
        read_locked: Callable[[], bool | None],
        may_unlock: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._lock_line = lock_line
        self._unlock_line = unlock_line
        self._pulse_s = pulse_s
        self._read_locked = read_locked
        self._may_unlock = may_unlock
        self._clock = clock
        self._ends_at: float | None = None
        self._repeats_at: float | None = None
        self._attempts = 0
        self.is_ordered_locked = False
        self.has_failed = False

    def lock(self) -> None:
        self._attempts = 0
        self._move(True)

    def unlock(self) -> None:
        """Release the plug. Raises HalError while the contactor is closed."""
        if not self._may_unlock():
            raise HalError("the plug stays locked while the contactor is closed")
        self._attempts = 0
        self._move(False)

    def _move(self, is_locked: bool) -> None:
        self.is_ordered_locked = is_locked
        self._attempts += 1
        self._repeats_at = None
        try:
            if self._unlock_line is None:
                self._lock_line.set(is_locked)
            else:
                off, on = self._unlock_line, self._lock_line
                if not is_locked:
                    off, on = on, off
                off.set(False)
                on.set(True)
        except OSError as error:
            raise HalError(f"a lock line cannot be driven: {error}") from error
        self._ends_at = self._clock() + self._pulse_s

    def tick(self, now: float) -> None:
        """End the pulse when it is due, and check the feedback."""
        if self._repeats_at is not None and now >= self._repeats_at:
            self._repeats_at = None
            if self.is_ordered_locked or self._may_unlock():
                self._move(self.is_ordered_locked)
        if self._ends_at is None or now < self._ends_at:
            return
        self._ends_at = None
        self.release()
        is_locked = self._read_locked()
        is_missed = is_locked is not None and is_locked is not self.is_ordered_locked
        # A plug that is not locked must not be under power: a fault at once.
        self.has_failed = is_missed and (self.is_ordered_locked or self._attempts >= _ATTEMPTS)
        if is_missed and self._attempts < _ATTEMPTS:
            self._repeats_at = now + _PAUSE_S

    def release(self) -> None:
        """Switch a motor off; a magnet keeps its state."""
        if self._unlock_line is not None:
            self._lock_line.set(False)
            self._unlock_line.set(False)


class Lamp:
    """Lamp: lit while power is on, blinking for a fault, flashing for a card."""

    def __init__(self, line: OutputLine, clock: Callable[[], float]) -> None:
        self._line = line
        self._clock = clock
        self._flash_until = 0.0
        self._is_lit: bool | None = None

    def flash(self) -> None:
        """Invert the lamp for a moment."""
        self._flash_until = self._clock() + _FLASH_S

    def tick(self, now: float, *, is_powered: bool, is_faulty: bool) -> None:
        is_lit = int(now * 4) % 2 == 0 if is_faulty else is_powered
        if now < self._flash_until:
            is_lit = not is_powered
        if is_lit is not self._is_lit:
            self._is_lit = is_lit
            self._line.set(is_lit)
