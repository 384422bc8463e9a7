"""What all card readers have in common: they are set up before the first look at a card."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol


class _Bus(Protocol):
    def close(self) -> None: ...


class CardReader(ABC):
    """A `CardSource` that is set up again after every failure: its chip may have been reset."""

    def __init__(self, bus: _Bus) -> None:
        self._closing = bus
        self._is_set_up = False

    def poll(self) -> bytes | None:
        """Look once for a card of ISO/IEC 14443 type A. Raises OSError or HalError."""
        try:
            if not self._is_set_up:
                self._set_up()
                self._is_set_up = True
            return self._look()
        except Exception:
            self._is_set_up = False
            raise

    def close(self) -> None:
        """Let go of the bus."""
        self._closing.close()

    @abstractmethod
    def _set_up(self) -> None:
        """Begin with the chip. Raises HalError when it is not there."""

    @abstractmethod
    def _look(self) -> bytes | None:
        """Return the uid of the card that is there, or None."""
