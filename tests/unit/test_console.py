"""What runs beside the node in the foreground ends with it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

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


async def test_a_drawing_is_waited_for(tmp_path: Path) -> None:
    drawn = tmp_path / "drawn"
    command = "import sys, pathlib; pathlib.Path(sys.argv[1]).touch()"
    async with asyncio.timeout(10):
        await _draw((sys.executable, "-c", command, str(drawn)), asyncio.Event())
    assert drawn.exists()
