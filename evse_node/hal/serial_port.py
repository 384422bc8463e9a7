"""A serial port in the event loop: data arrives by a callback, and writes never wait."""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
from collections.abc import Callable
from typing import Final, Protocol, cast

from evse_node.errors import HalError
from evse_node.hal.optional_packages import load_extra

_LARGEST_READ: Final = 4096
_PURPOSE: Final = "a controller on a serial port"


class Port(Protocol):
    """A stream of bytes to and from a device."""

    name: str

    async def open(self, on_data: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None:
        """Open the port. Both callbacks run in the event loop's thread.

        Raises HalError or OSError.
        """

    def close(self) -> None:
        """Close the port. May be repeated."""

    def write(self, data: bytes) -> None:
        """Send bytes without waiting. Raises HalError or OSError when they cannot be sent."""


class _Serial(Protocol):
    def fileno(self) -> int: ...

    def close(self) -> None: ...

    def reset_output_buffer(self) -> None: ...


class SerialPort:
    """A `Port` over pyserial, opened exclusively. Raises ConfigError without pyserial."""

    def __init__(self, name: str, baud: int) -> None:
        load_extra("serial", _PURPOSE)
        self.name = name
        self._baud = baud
        self._serial: _Serial | None = None
        self._fd = -1
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self, on_data: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None:
        serial = load_extra("serial", _PURPOSE)
        self.close()
        try:
            opened = cast(_Serial, serial.Serial(self.name, self._baud, timeout=0, exclusive=True))
        except (serial.SerialException, ValueError) as error:
            raise HalError(f"{self.name} cannot be opened: {error}") from None
        self._serial, self._fd = opened, opened.fileno()
        _keep_dtr(self._fd)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._on_readable, on_data, on_lost)

    def _on_readable(
        self, on_data: Callable[[bytes], None], on_lost: Callable[[str], None]
    ) -> None:
        try:
            data = os.read(self._fd, _LARGEST_READ)
        except BlockingIOError:
            return
        except OSError as error:
            data, reason = b"", error.strerror
        else:
            reason = "the device is gone"
        if data:
            on_data(data)
            return
        self.close()
        on_lost(f"{self.name}: {reason}")

    def close(self) -> None:
        """Close the device. Unsent data is dropped, since closing would wait for it."""
        opened, self._serial = self._serial, None
        loop, self._loop = self._loop, None
        if opened is None:
            return
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._fd)
        with contextlib.suppress(Exception):  # a device that was pulled out
            opened.reset_output_buffer()
        with contextlib.suppress(Exception):
            opened.close()

    def write(self, data: bytes) -> None:
        """Write bytes to the kernel's buffer, which has room for a command."""
        if self._serial is None:
            raise ConnectionError(f"{self.name} is not open")
        try:
            written = os.write(self._fd, data)
        except BlockingIOError:
            written = 0
        if written != len(data):
            raise HalError(f"{self.name} accepts no more data")


def _keep_dtr(fd: int) -> None:
    """Keep DTR up when the port is closed.

    Where it is wired to the controller's reset, each reopening would otherwise restart the
    controller, and retries would never get an answer.
    """
    with contextlib.suppress(termios.error):  # a port without such a line
        attributes = termios.tcgetattr(fd)
        attributes[2] &= ~termios.HUPCL
        termios.tcsetattr(fd, termios.TCSANOW, attributes)
