"""One deadline among those of the stack's timers."""

from __future__ import annotations

from collections.abc import Callable

from evse_node.matter.timers import Timer, Timers


class Deadline:
    """Calls `ring` with the time at a moment that may be moved; never without timers."""

    def __init__(self, timers: Timers | None, ring: Callable[[float], None]) -> None:
        self._timers = timers
        self._ring = ring
        self._timer: Timer | None = None

    def set(self, when: float | None) -> None:
        """Ring at this time (monotonic seconds) and at no other, or not at all with None."""
        if self._timers is None:
            return
        if self._timer is not None:
            if self._timer.callback is not None and self._timer.when == when:
                return
            self._timer.cancel()
            self._timer = None
        if when is not None:
            self._timer = self._timers.call_at(when, self._ring)
