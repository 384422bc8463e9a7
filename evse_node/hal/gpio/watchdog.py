"""Watchdogs of the service manager and the kernel.

The backend's tick feeds both while the sampler is alive. So a stuck loop or sampler ends in a
restart, and with `safe-off` as ExecStopPost= in the safe state.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import struct
from typing import Final

from evse_node.errors import HalError
from evse_node.hal.gpio.specs import WatchdogSpec
from evse_node.platform.systemd import ServiceManager

_LOGGER: Final = logging.getLogger(__name__)
_SET_TIMEOUT: Final = 0xC0045706  # WDIOC_SETTIMEOUT of linux/watchdog.h
_FEED_S: Final = 1.0


class KernelWatchdog:
    """Watchdog device: once opened, it resets the machine unless it is fed."""

    def __init__(self, spec: WatchdogSpec) -> None:
        """Open the device. Raises HalError."""
        try:
            self._fd = os.open(spec.device, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise HalError(f"{spec.device}: {error.strerror}: the watchdog is needed") from None
        try:
            fcntl.ioctl(self._fd, _SET_TIMEOUT, struct.pack("i", spec.timeout_s))
        except OSError as error:
            self.close()
            raise HalError(f"{spec.device}: {spec.timeout_s} s: {error.strerror}") from None

    def feed(self) -> None:
        """Postpone the reset."""
        os.write(self._fd, b"\0")

    def close(self) -> None:
        """Disarm the watchdog by the magic character V. May be repeated."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.write(fd, b"V")
            os.close(fd)


class Watchdogs:
    """Both watchdogs, fed about once a second."""

    def __init__(self, spec: WatchdogSpec | None, manager: ServiceManager | None = None) -> None:
        self._manager = manager or ServiceManager()
        self._kernel = None if spec is None else KernelWatchdog(spec)
        limits = [self._manager.limit_s, None if spec is None else spec.timeout_s]
        shortest = min((limit for limit in limits if limit is not None), default=_FEED_S * 3)
        self._interval_s = min(_FEED_S, shortest / 3)
        self._fed_at: float | None = None

    def ready(self) -> None:
        """Notify the service manager that the start is complete."""
        self._manager.notify("READY=1")

    def feed(self, now: float) -> None:
        """Feed both watchdogs. Never raises."""
        if self._fed_at is not None and now - self._fed_at < self._interval_s:
            return
        self._fed_at = now
        self._manager.notify("WATCHDOG=1")
        if self._kernel is not None:
            try:
                self._kernel.feed()
            except OSError as error:
                _LOGGER.error("the watchdog device cannot be fed: %s", error)

    def close(self) -> None:
        if self._kernel is not None:
            self._kernel.close()
