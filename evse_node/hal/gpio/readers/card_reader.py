"""Base of the card readers, and the poller that reports their cards."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, Protocol

from evse_node.hal.card_presence import CardPresence
from evse_node.hal.gpio.drivers import CardSource

_LOGGER: Final = logging.getLogger(__name__)

CARD_POLL_S: Final = 0.2


class _Bus(Protocol):
    def close(self) -> None: ...


class CardReader(ABC):
    """A `CardSource` that is set up again after every failure: its chip may have been reset."""

    def __init__(self, bus: _Bus) -> None:
        self._closing = bus
        self._is_set_up = False

    def poll(self) -> bytes | None:
        """Return the uid of a present ISO/IEC 14443 type A card. Raises OSError or HalError."""
        try:
            if not self._is_set_up:
                self._set_up()
                self._is_set_up = True
            return self._read_card()
        except Exception:
            self._is_set_up = False
            raise

    def close(self) -> None:
        self._closing.close()

    @abstractmethod
    def _set_up(self) -> None:
        """Initialize the chip. Raises HalError when it does not answer."""

    @abstractmethod
    def _read_card(self) -> bytes | None:
        """Return the uid of the present card, or None."""


class CardPoller:
    """Poller that reports each card once, until it was removed."""

    def __init__(
        self,
        source: CardSource,
        report: Callable[[bytes], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._report = report
        self._clock = clock
        self._presence = CardPresence()
        self._is_failing = False

    def poll(self) -> None:
        """Poll the reader once. Never raises; a failure is logged once, then retried."""
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
        tapped = self._presence.update(uid, self._clock())
        if tapped is not None:
            self._report(tapped)

    def close(self) -> None:
        self._source.close()
