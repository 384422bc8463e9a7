"""The command `safe-off` for any backend, by the configuration of a node that has died."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from evse_node.errors import HalError
from evse_node.hal.interface import EvseBackend
from evse_node.hal.registry import create_backend


def safe_off(name: str, options: Mapping[str, object]) -> None:
    """Take the hardware in hand, and leave it open and without an offer. Raises HalError."""
    board = options.get("board")
    if name == "gpio" and isinstance(board, str):
        # It switches off what it can reach, even where the rest of the board is broken.
        from evse_node.cli.gpio_commands import safe_off as board_off

        board_off(board)
        return
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    try:
        asyncio.run(_switch_off(create_backend(name, options)))
    except HalError as error:
        raise HalError(f"{name}: not in the safe state: {error}") from None
    print(f"{name}: off")


async def _switch_off(backend: EvseBackend) -> None:
    try:
        await backend.start(lambda event: None)
    finally:
        await backend.stop()
