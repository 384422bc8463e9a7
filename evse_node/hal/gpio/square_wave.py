"""A line that is toggled again and again: a board's heartbeat, or the test current of an RCD.

A heartbeat is the hardware's own dead man's switch: a board that gets no more edges opens by
itself. So nothing here goes on by its own: each edge asks anew whether it is wanted, and
whether those that watch over the contactor are alive.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from evse_node.hal.gpio.drivers import OutputLine

_LOGGER: Final = logging.getLogger(__name__)
_IDLE_S: Final = 0.1
_COMPLAINT_S: Final = 60.0


class SquareWave:
    """One line, moved on by `beat`; in a node a thread of its own does so in `run`.

    While it is not wanted, the line is inactive. While `may_run`, which gets the time, says
    no, the line stays as it is: there is no edge at all. `limit_s` is how long the hardware
    waits for an edge; a longer pause is logged.
    """

    def __init__(
        self,
        name: str,
        line: OutputLine,
        interval_s: float,
        *,
        clock: Callable[[], float],
        may_run: Callable[[float], bool] = lambda now: True,
        limit_s: float | None = None,
    ) -> None:
        self.name = name
        self.failure = ""
        self._line = line
        self._interval_s = interval_s
        self._clock = clock
        self._may_run = may_run
        self._limit_s = limit_s
        self._is_wanted = False
        self._is_active = False
        self._beat_at: float | None = None
        self._complained_at: float | None = None
        self._wake = threading.Event()

    def start(self) -> None:
        """Begin at once. Callable from any thread, as `stop` is."""
        self._is_wanted = True
        self._wake.set()

    def stop(self) -> None:
        """End it. This waits for nothing and cannot fail."""
        self._is_wanted = False

    def run(self, halt: threading.Event) -> None:
        """Beat until `halt` is set, then leave the line inactive."""
        while not halt.is_set():
            self._wake.clear()  # before the look: a start right after it is not missed
            if self.beat(self._clock()):
                time.sleep(self._interval_s)
            else:
                self._wake.wait(self._interval_s if self._is_wanted else _IDLE_S)
        self.stop()
        self._rest()

    def beat(self, now: float) -> bool:
        """Put out the next edge; return whether there was one. Never raises."""
        if not self._is_wanted:
            self._rest()
            return False
        if self.failure or not self._may_run(now):
            self._beat_at = None
            return False
        try:
            self._is_active = not self._is_active
            self._line.set(self._is_active)
        except Exception as error:
            self._fail(error)
            return False
        self._watch_pause(now)
        return True

    def _rest(self) -> None:
        self._beat_at = None
        if self._is_active:
            self._is_active = False
            try:
                self._line.set(False)
            except Exception as error:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self.failure:
            self.failure = str(error) or repr(error)
            _LOGGER.error("the %s's line cannot be driven: %s", self.name, self.failure)

    def _watch_pause(self, now: float) -> None:
        before, self._beat_at = self._beat_at, now
        if before is None or self._limit_s is None:
            return
        pause_s = now - before
        if pause_s <= self._limit_s:
            return
        if self._complained_at is None or now - self._complained_at >= _COMPLAINT_S:
            self._complained_at = now
            _LOGGER.warning(
                "the %s paused for %.0f ms, where the board waits for %.0f: "
                "it may have opened by itself, and call that a residual current",
                *(self.name, pause_s * 1000, self._limit_s * 1000),
            )
