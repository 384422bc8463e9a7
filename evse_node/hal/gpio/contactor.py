"""The contactor's coils, behind a gate that any thread may shut and only the machine opens."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from evse_node.errors import HalError
from evse_node.hal.gpio.drivers import OutputLine
from evse_node.hal.gpio.square_wave import SquareWave

_LOGGER: Final = logging.getLogger(__name__)


class ContactorDriver:
    """Switches the coils.

    There is no lock, because a thread that hangs while it holds one would keep others from
    opening. Instead an opening that comes while `close` is at work is noticed by its count,
    and done once more after it: the last word is always "open".

    With a `heartbeat` the board opens by itself when that ends, which is done first: it
    cannot hang, and cannot fail.
    """

    def __init__(self, coils: Sequence[OutputLine], heartbeat: SquareWave | None = None) -> None:
        self._coils = tuple(coils)
        self._heartbeat = heartbeat
        self._openings = 0
        self._complaints: set[str] = set()
        self.is_ordered_closed = False
        self.is_broken = False

    def open(self) -> None:
        """Switch off, from any thread. Every coil is tried before HalError is raised.

        A coil that cannot be driven is let go of, so that the pull-down may drop it, and
        the gate is broken: it does not close any more.
        """
        self._openings += 1
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
                    self._complain(f"a contactor line cannot be let go of: {stuck!r}")
        if failure is not None:
            raise HalError(f"a contactor line cannot be driven: {failure}") from failure

    def try_open(self) -> bool:
        """Switch off without raising; return whether that was possible."""
        try:
            self.open()
        except HalError as error:
            self._complain(str(error))
            return False
        return True

    def _complain(self, text: str) -> None:
        """Log it once: while something is wrong, opening is tried again many times a second."""
        if text not in self._complaints:
            self._complaints.add(text)
            _LOGGER.error("%s", text)

    @property
    def openings(self) -> int:
        """How often it was switched off, for `close`."""
        return self._openings

    def close(self, openings: int) -> None:
        """Switch on, unless it was switched off since `openings` was read.

        Raises HalError, with every coil off, when that is not possible.
        """
        if self.is_broken:
            raise HalError("a contactor line cannot be driven since an earlier failure")
        if self._heartbeat is not None:
            self._heartbeat.start()
        try:
            for coil in self._coils:
                if self._openings == openings:
                    coil.set(True)
        except Exception as error:
            self.try_open()
            raise HalError(f"a contactor line cannot be driven: {error}") from error
        self.is_ordered_closed = True
        if self._openings != openings:
            self.open()
            raise HalError("the contactor was opened while it was to close")
