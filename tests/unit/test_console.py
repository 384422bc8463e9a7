"""What runs beside the node in the foreground ends with it."""

from __future__ import annotations

import asyncio
import sys

from evse_node.console import _draw


async def test_a_drawing_that_takes_long_does_not_outlive_the_node() -> None:
    stop = asyncio.Event()
    drawing = asyncio.create_task(
        _draw((sys.executable, "-c", "import time; time.sleep(60)"), stop)
    )
    await asyncio.sleep(0.1)
    assert not drawing.done()
    stop.set()
    async with asyncio.timeout(10):
        await drawing


async def test_a_drawing_is_waited_for() -> None:
    async with asyncio.timeout(10):
        await _draw((sys.executable, "-c", "pass"), asyncio.Event())
