"""Square wave on a line: the heartbeat of a board, or the test current of an RCD.

A heartbeat is a dead man's switch: a board without edges opens by itself. So before each edge
`may_run` checks that the threads which supervise the contactor are alive.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct, field

from evse_node.hal.gpio.drivers import OutputLine

_LOGGER: Final = logging.getLogger(__name__)
_IDLE_S: Final = 0.1
_WARNING_INTERVAL_S: Final = 60.0


class SquareWave(Struct, eq=False):
    """One line, toggled by `beat`, which a thread calls in `run`.

    The line is inactive while stopped, and unchanged while `may_run(now)` is false. `limit_s`
    is how long the hardware waits for an edge; a longer pause is logged.
    """

    name: str
    line: OutputLine
    interval_s: float
    clock: Callable[[], float]
    may_run: Callable[[float], bool] = lambda now: True
    limit_s: float | None = None
    failure: str = ""
    _is_enabled: bool = False
    _is_active: bool = False
    _beat_at: float | None = None
    _warned_at: float | None = None
    _wake: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Start at once. Callable from any thread, like `stop`."""
        self._is_enabled = True
        self._wake.set()

    def stop(self) -> None:
        """Stop. Never blocks or fails."""
        self._is_enabled = False

    def run(self, halt: threading.Event) -> None:
        """Toggle the line until `halt` is set, then leave it inactive."""
        while not halt.is_set():
            self._wake.clear()  # before the check, so that no start is missed
            if self.beat(self.clock()):
                time.sleep(self.interval_s)
            else:
                self._wake.wait(self.interval_s if self._is_enabled else _IDLE_S)
        self.stop()
        self._deactivate()

    def beat(self, now: float) -> bool:
        """Toggle the line if due; return whether it was. Never raises."""
        if not self._is_enabled:
            self._deactivate()
            return False
        if self.failure or not self.may_run(now):
            self._beat_at = None
            return False
        try:
            self._is_active = not self._is_active
            self.line.set(self._is_active)
        except Exception as error:
            self._fail(error)
            return False
        self._check_pause(now)
        return True

    def _deactivate(self) -> None:
        self._beat_at = None
        if self._is_active:
            self._is_active = False
            try:
                self.line.set(False)
            except Exception as error:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self.failure:
            self.failure = str(error) or repr(error)
            _LOGGER.error("the %s's line cannot be driven: %s", self.name, self.failure)

    def _check_pause(self, now: float) -> None:
        before, self._beat_at = self._beat_at, now
        if before is None or self.limit_s is None:
            return
        pause_s = now - before
        if pause_s <= self.limit_s:
            return
        if self._warned_at is None or now - self._warned_at >= _WARNING_INTERVAL_S:
            self._warned_at = now
            _LOGGER.warning(
                "the %s paused for %.0f ms, where the board waits for %.0f: "
                "it may have opened by itself, and report a residual current",
                *(self.name, pause_s * 1000, self.limit_s * 1000),
            )
