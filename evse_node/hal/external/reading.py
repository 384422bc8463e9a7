"""What a controller measures, as capabilities, and how to ask it before the backend runs."""

from __future__ import annotations

import asyncio
import threading
from typing import Final

from evse_node.errors import HalError
from evse_node.hal.external.link import ControllerStatus, Link

BEFORE_START_S: Final = 3.0


def read_once(link: Link, limit_s: float = BEFORE_START_S) -> ControllerStatus:
    """Ask a controller that nobody talks to, from outside of any event loop's work.

    It takes a thread with a loop of its own, and blocks the caller for up to the limit.
    Raises HalError.
    """
    answers: list[ControllerStatus | HalError] = []

    def run() -> None:
        try:
            answers.append(asyncio.run(_ask(link, limit_s)))
        except (HalError, OSError, TimeoutError) as error:
            answers.append(HalError(f"the controller does not answer: {error or 'silence'}"))

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
