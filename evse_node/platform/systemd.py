"""Notifications to systemd: the service is ready, and its watchdog is fed.

Spec: sd_notify(3)
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping
from typing import Final

_LOGGER: Final = logging.getLogger(__name__)
_LONGEST_INTERVAL_S: Final = 1.0


class ServiceManager:
    """Connection to the systemd that started this process, if any.

    `limit_s` is its watchdog's timeout, None without one.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        microseconds = environment.get("WATCHDOG_USEC", "")
        self.limit_s = int(microseconds) / 1e6 if microseconds.isdecimal() else None

    def notify(self, text: str) -> None:
        """Send a notification such as READY=1. Does nothing without systemd."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notify:
                notify.sendto(text.encode(), address)
        except OSError as error:
            _LOGGER.debug("systemd: %s was not sent: %s", text, error)


class Liveness:
    """READY=1 once, then WATCHDOG=1 at intervals while a condition holds."""

    def __init__(self, manager: ServiceManager | None = None) -> None:
        self._manager = manager or ServiceManager()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, is_alive: Callable[[], bool]) -> None:
        """Report ready, and feed the watchdog, if there is one, until `is_alive` returns False."""
        self._manager.notify("READY=1")
        self._feed(is_alive)

    def _feed(self, is_alive: Callable[[], bool]) -> None:
        limit_s = self._manager.limit_s
        if limit_s is None or not is_alive():
            return
        self._manager.notify("WATCHDOG=1")
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(min(_LONGEST_INTERVAL_S, limit_s / 3), self._feed, is_alive)

    def end(self) -> None:
        """Stop feeding the watchdog. May be repeated."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
