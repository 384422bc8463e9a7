"""The service manager that started the node, and is told that it is ready and alive."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from typing import Final

_LOGGER: Final = logging.getLogger(__name__)


class ServiceManager:
    """Tells systemd that the service is ready and alive, if it was started by systemd."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        microseconds = environment.get("WATCHDOG_USEC", "")
        self.limit_s = int(microseconds) / 1e6 if microseconds.isdecimal() else None

    def tell(self, text: str) -> None:
        """Send a notification like READY=1. Nothing happens without systemd."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notify:
                notify.sendto(text.encode(), address)
        except OSError as error:
            _LOGGER.debug("systemd cannot be told %s: %s", text, error)
