"""What a controller measures, as capabilities, and how to ask it before the backend runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final

from evse_node.errors import HalError
from evse_node.hal.external.link import ControllerStatus, Link, words_of

BEFORE_START_S: Final = 3.0
_FRESH_S: Final = 10.0


class EarlyReading:
    """What a controller tells before the backend runs. Who asks soon again gets the same."""

    def __init__(self, link: Link, clock: Callable[[], float]) -> None:
        self._link = link
        self._clock = clock
        self._answer: tuple[ControllerStatus | HalError, float] | None = None

    def status(self) -> ControllerStatus:
        """Ask the controller, or return what it told just before. Raises HalError."""
        now = self._clock()
        if self._answer is None or now - self._answer[1] > _FRESH_S:
            try:
                self._answer = (read_once(self._link), now)
            except HalError as error:
                self._answer = (error, now)
        answer = self._answer[0]
        if isinstance(answer, HalError):
            raise HalError(str(answer))
        return answer


def read_once(link: Link, limit_s: float = BEFORE_START_S) -> ControllerStatus:
    """Ask a controller that nobody talks to, from outside of any event loop's work.

    It takes a thread with a loop of its own, and blocks the caller for up to the limit.
    Raises HalError.
    """
    answers: list[ControllerStatus | HalError] = []

    def run() -> None:
        try:
            answers.append(asyncio.run(_ask(link, limit_s)))
        except Exception as error:
            # Whatever it is, a mistake of the link, too, must not end the thread without a word.
            answers.append(HalError(f"the controller does not answer: {words_of(error)}"))

    thread = threading.Thread(target=run, name="evse-controller", daemon=True)
    thread.start()
    thread.join(limit_s + 1.0)
    answer = answers[0] if answers else HalError("the controller's port hangs")
    if isinstance(answer, HalError):
        raise answer
    return answer


async def _ask(link: Link, limit_s: float) -> ControllerStatus:
    async with asyncio.timeout(limit_s):
        try:
            await link.open(lambda: None)
            return await link.read_status()
        finally:
            await link.close()
