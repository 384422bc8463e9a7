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
    Notification,
    encode,
)
from evse_node.hal.serial_port import Port

_ATTEMPTS: Final = 2


class RapiClient:
    """Client of one controller. Answers match commands by their sequence ids.

    A command without an answer after `limit_s` is sent a second time, so it must be repeatable.
    Late answers are dropped.
    """

    def __init__(
        self, port: Port, on_notification: Callable[[Notification], None], limit_s: float
    ) -> None:
        self._port = port
        self._on_notification = on_notification
        self._limit_s = limit_s
        self._reader = FrameReader()
        self._sequence = 0
        self._answer: Answer | None = None
        self._arrived = asyncio.Event()
        self._damage = ""
        self._lost = ""

    async def open(self) -> None:
        self._reader.reset()
        self._lost = ""
        # An event belongs to the loop that first waits for it.
        self._arrived = asyncio.Event()
        await self._port.open(self._on_data, self._on_lost)

    def close(self) -> None:
        self._port.close()

    def send(self, text: str) -> None:
        """Send a command without waiting for its answer."""
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
            # The answer may be there already.
            if not self._arrived.is_set() and not await self._wait():
                continue
            answer = self._received()
            if answer is not None and answer.sequence is not None:
                return answer
        raise HalError(f"{self._port.name}: {self._damage or 'no answer'} (to {text})")

    async def _wait(self) -> bool:
        try:
            async with asyncio.timeout(self._limit_s):
                await self._arrived.wait()
        except TimeoutError:
            # After a stall of the loop, answer and timeout coincide.
            return self._arrived.is_set()
        return True

    def _received(self) -> Answer | None:
        if self._lost:
            raise ConnectionError(self._lost)
        return self._answer

    async def get(self, text: str, *, least: int) -> tuple[str, ...]:
        """Return the words of an OK with at least so many. Raises HalError."""
        answer = await self.ask(text)
        if not answer.is_ok:
            raise HalError(f"{self._port.name}: {text} was refused")
        if len(answer.words) < least:
            raise HalError(f"{self._port.name}: {text} is answered with {answer.words}")
        return answer.words

    def _next_sequence(self) -> int:
        self._sequence = self._sequence % LAST_SEQUENCE + 1
        return self._sequence

    def _on_data(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            match frame:
                case Notification():
                    self._on_notification(frame)
                case Damaged(reason):
                    self._damage = reason
                case Answer(is_ok, _, sequence):
                    # A refusal without an id is for a command that arrived damaged.
                    if sequence == self._sequence or (sequence is None and not is_ok):
                        if sequence is None:
                            self._damage = "the command arrived damaged"
                        self._answer = frame
                        self._arrived.set()

    def _on_lost(self, reason: str) -> None:
        self._lost = reason
        self._arrived.set()


def number(word: str, base: int = 10) -> int:
    """Return the number of an answer's word. Raises HalError."""
    try:
        if "_" not in word:
            return int(word, base)
    except ValueError:
        pass
    raise HalError(f"the controller sent {word!r} instead of a number")
