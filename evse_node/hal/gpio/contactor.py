"""Coils of the contactor: any thread may open, only the machine's thread closes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from evse_node.errors import HalError
from evse_node.hal.gpio.drivers import OutputLine
from evse_node.hal.gpio.square_wave import SquareWave

_LOGGER: Final = logging.getLogger(__name__)


class ContactorDriver:
    """Driver of the coils.

    There is no lock: a thread that hangs while holding one would keep others from opening.
    Instead `close` detects openings during its work by their count, and then opens again.

    With a `heartbeat` the board opens by itself when that ends. It is stopped first, since
    stopping it can neither block nor fail.
    """

    def __init__(self, coils: Sequence[OutputLine], heartbeat: SquareWave | None = None) -> None:
        self._coils = tuple(coils)
        self._heartbeat = heartbeat
        self.openings = 0  # so far, for `close`
        self._logged: set[str] = set()
        self.is_ordered_closed = False
        self.is_broken = False

    def open(self) -> None:
        """Open, from any thread. Raises HalError after trying every coil.

        A line that cannot be driven is released, so that the pull-down may drop its coil, and
        `is_broken` prevents any further closing.
        """
        self.openings += 1
        self.is_ordered_closed = False
        if self._heartbeat is not None:
            self._heartbeat.stop()
        failure: Exception | None = None
        for coil in self._coils:
            try:
                coil.set(False)
            except Exception as error:
                failure = error
                self.is_broken = True
                try:
                    coil.close()
                except Exception as stuck:
                    self._log_once(f"a contactor line cannot be released: {stuck!r}")
        if failure is not None:
            raise HalError(f"a contactor line cannot be driven: {failure}") from failure

    def try_open(self) -> bool:
        """Open without raising; return whether that succeeded."""
        try:
            self.open()
        except HalError as error:
            self._log_once(str(error))
            return False
        return True

    def _log_once(self, text: str) -> None:
        """Log a text once: while a failure lasts, opening is retried many times a second."""
        if text not in self._logged:
            self._logged.add(text)
            _LOGGER.error("%s", text)

    def close(self, openings: int) -> None:
        """Close, unless an opening came after `openings` was read.

        Raises HalError, with every coil off, when that fails.
        """
        if self.is_broken:
            raise HalError("a contactor line cannot be driven since an earlier failure")
        if self._heartbeat is not None:
            self._heartbeat.start()
        try:
            for coil in self._coils:
                if self.openings == openings:
                    coil.set(True)
        except Exception as error:
            self.try_open()
            raise HalError(f"a contactor line cannot be driven: {error}") from error
        self.is_ordered_closed = True
        if self.openings != openings:
            self.open()
            raise HalError("the contactor was opened during closing")
