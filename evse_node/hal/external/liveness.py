"""Tells the service manager that the node lives, as long as its loop runs and its polls do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from evse_node.platform.systemd import ServiceManager

_MOST_S: Final = 1.0


class Liveness:
    """Says READY=1 once, and WATCHDOG=1 again and again while `is_alive`."""

    def __init__(self, manager: ServiceManager | None = None) -> None:
        self._manager = manager or ServiceManager()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, is_alive: Callable[[], bool]) -> None:
        """Be ready. Without a watchdog of the service manager nothing follows."""
        self._manager.tell("READY=1")
        self._feed(is_alive)

    def _feed(self, is_alive: Callable[[], bool]) -> None:
        limit_s = self._manager.limit_s
        if limit_s is None or not is_alive():
            return
        self._manager.tell("WATCHDOG=1")
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(min(_MOST_S, limit_s / 3), self._feed, is_alive)

    def end(self) -> None:
        """Say no more. May be repeated."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
