"""Commands to an OpenEVSE controller and their answers, one at a time, over a port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from evse_node.errors import HalError
from evse_node.hal.external.openevse.rapi import (
    LAST_SEQUENCE,
    Answer,
    Damaged,
    FrameReader,
    News,
    encode,
)
from evse_node.hal.serial_port import Port

_ATTEMPTS: Final = 2


class RapiClient:
    """Matches answers to commands by their sequence ids; news go to `on_news`.

    `limit_s` is how long an answer may take; a command is sent a second time after that, so
    send none that may not come twice. What came too late for its command is dropped.
    """

    def __init__(self, port: Port, on_news: Callable[[News], None], limit_s: float) -> None:
        self._port = port
        self._on_news = on_news
        self._limit_s = limit_s
        self._reader = FrameReader()
        self._sequence = 0
        self._answer: Answer | None = None
        self._arrived = asyncio.Event()
        self._damage = ""
        self._lost = ""

    async def open(self) -> None:
        """Take the port."""
        self._reader.reset()
        self._lost = ""
        # An event belongs to the loop that first waits for it.
        self._arrived = asyncio.Event()
        await self._port.open(self._on_data, self._on_lost)

    def close(self) -> None:
        """Let go of the port."""
        self._port.close()

    def send(self, text: str) -> None:
        """Send a command whose answer nobody waits for."""
        self._port.write(encode(text, self._next_sequence()))

    async def ask(self, text: str) -> Answer:
        """Return the answer to a command.

        Raises HalError for silence and damage, OSError when the port is gone.
        """
        self._damage = ""
        for _ in range(_ATTEMPTS):
            self._answer = None
            self._arrived.clear()
            self.send(text)
            # An answer that is there already needs no waiting.
            if not self._arrived.is_set() and not await self._wait():
                continue
            answer = self._heard()
            if answer is not None and answer.sequence is not None:
                return answer
        raise HalError(f"{self._port.name}: {self._damage or 'no answer'} (to {text})")

    async def _wait(self) -> bool:
        try:
            async with asyncio.timeout(self._limit_s):
                await self._arrived.wait()
        except TimeoutError:
            # After a stall of the loop, answer and end of the wait come at the same time.
            return self._arrived.is_set()
        return True

    def _heard(self) -> Answer | None:
        if self._lost:
            raise ConnectionError(self._lost)
        return self._answer

    async def get(self, text: str, *, least: int) -> tuple[str, ...]:
        """Return the words of an answer that is to be OK and have at least so many."""
        answer = await self.ask(text)
        if not answer.is_ok:
            raise HalError(f"{self._port.name}: {text} is refused")
        if len(answer.words) < least:
            raise HalError(f"{self._port.name}: {text} is answered with {answer.words}")
        return answer.words

    def _next_sequence(self) -> int:
        self._sequence = self._sequence % LAST_SEQUENCE + 1
        return self._sequence

    def _on_data(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            match frame:
                case News():
                    self._on_news(frame)
                case Damaged(reason):
                    self._damage = reason
                case Answer(is_ok, _, sequence):
                    # Without an id it is the refusal of a command that came damaged.
                    if sequence == self._sequence or (sequence is None and not is_ok):
                        if sequence is None:
                            self._damage = "the command came damaged"
                        self._answer = frame
                        self._arrived.set()

    def _on_lost(self, reason: str) -> None:
        self._lost = reason
        self._arrived.set()


def number(word: str, base: int = 10) -> int:
    """Read a number that the controller tells. Raises HalError."""
    try:
        if "_" not in word:
            return int(word, base)
    except ValueError:
        pass
    raise HalError(f"the controller tells {word!r}, which is no number")
