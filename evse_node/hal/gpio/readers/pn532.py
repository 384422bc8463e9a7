"""The PN532 card reader over UART or I2C, by NXP's user manual UM0701-02.

A frame is 00 00 FF, length, its complement, direction (D4 to the chip, D5 from it), data,
checksum, 00. The chip acknowledges each command with 00 00 FF 00 FF 00, then answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from evse_node.errors import HalError
from evse_node.hal.gpio.readers.card_reader import CardReader

ACK: Final = bytes.fromhex("0000ff00ff00")
_TO_CHIP: Final = 0xD4
_FROM_CHIP: Final = 0xD5
_SAM_CONFIGURATION: Final = 0x14
_RF_CONFIGURATION: Final = 0x32
_IN_LIST_PASSIVE_TARGET: Final = 0x4A
_IN_RELEASE: Final = 0x52
_LIMIT_S: Final = 0.5
_LONGEST_FRAME: Final = 64


class Pn532Link(Protocol):
    """Connection to the chip."""

    def wake(self) -> None:
        """Wake the chip up and drop earlier input."""

    def write(self, frame: bytes) -> None:
        """Send bytes."""

    def read(self, limit_s: float) -> bytes:
        """Return one frame with its beginning 00 00 FF, "" if none came in time."""

    def close(self) -> None:
        """Close the bus."""


def encode_frame(data: bytes) -> bytes:
    """Return the frame of a command."""
    body = bytes((_TO_CHIP,)) + data
    length = len(body)
    head = bytes((0x00, 0x00, 0xFF, length, -length & 0xFF))
    return head + body + bytes((-sum(body) & 0xFF, 0x00))


def decode_frame(frame: bytes) -> bytes:
    """Return an answer's data. Raises HalError for anything that is not a whole frame."""
    if len(frame) < 7 or frame[:3] != b"\x00\x00\xff":
        raise HalError(f"the PN532 does not answer with a frame: {frame.hex() or 'silence'}")
    length = frame[3]
    body = frame[5 : 5 + length]
    if (length + frame[4]) & 0xFF or len(frame) < 6 + length:
        raise HalError("the PN532's frame has a wrong length")
    if (sum(body) + frame[5 + length]) & 0xFF or not body or body[0] != _FROM_CHIP:
        raise HalError("the PN532's frame has a wrong checksum")
    return body[1:]


class Pn532(CardReader):
    """The chip behind its link."""

    def __init__(self, link: Pn532Link) -> None:
        super().__init__(link)
        self._link = link

    def _set_up(self) -> None:
        self._link.wake()
        self._call(bytes((_SAM_CONFIGURATION, 0x01, 0x14, 0x01)))
        # One try for a passive target instead of endless ones.
        self._call(bytes((_RF_CONFIGURATION, 0x05, 0xFF, 0x01, 0x01)))

    def _read_card(self) -> bytes | None:
        answer = self._call(bytes((_IN_LIST_PASSIVE_TARGET, 0x01, 0x00)))
        if not answer or answer[0] == 0:
            return None
        # Count, number, SENS_RES (2), SEL_RES, length of the uid, uid.
        if len(answer) < 6 or len(answer) < 6 + answer[5]:
            raise HalError("the PN532 reports an incomplete card")
        uid = answer[6 : 6 + answer[5]]
        self._call(bytes((_IN_RELEASE, 0x00)))
        return uid or None

    def _call(self, command: bytes) -> bytes:
        self._link.write(encode_frame(command))
        acknowledged = self._link.read(_LIMIT_S)
        if acknowledged[: len(ACK)] != ACK:
            raise HalError("the PN532 does not acknowledge")
        answer = decode_frame(self._link.read(_LIMIT_S))
        if not answer or answer[0] != command[0] + 1:
            raise HalError("the PN532 answered another command")
        return answer[1:]


class SerialPort(Protocol):
    """Subset of `serial.Serial`."""

    timeout: float | None

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes before the timeout."""

    def write(self, data: bytes) -> int | None:
        """Write bytes."""

    def reset_input_buffer(self) -> None:
        """Drop received bytes."""

    def close(self) -> None:
        """Close the port."""


class UartLink:
    """A UART at 115200 baud. It is reopened after a failure: a USB adapter may be unplugged."""

    def __init__(self, port: SerialPort, reopen: Callable[[], SerialPort]) -> None:
        self._port = port
        self._reopen = reopen
        self._has_failed = False

    def wake(self) -> None:
        """Wake the chip by a long preamble."""
        if self._has_failed:
            self._port.close()
            self._port = self._reopen()
        self._has_failed = True  # until the chip has answered
        self._port.write(b"\x55\x55" + bytes(14))
        self._port.reset_input_buffer()

    def write(self, frame: bytes) -> None:
        self._port.write(frame)

    def read(self, limit_s: float) -> bytes:
        """Read up to the start of a frame, then its length."""
        end = time.monotonic() + limit_s
        self._port.timeout = limit_s
        window = b""
        while window[-3:] != b"\x00\x00\xff":
            if time.monotonic() > end:
                return b""
            byte = self._port.read(1)
            if not byte:
                return b""
            window = (window + byte)[-3:]
        self._has_failed = False
        head = self._port.read(2)
        if len(head) < 2 or head in (b"\x00\xff", b"\xff\x00"):
            return window + head + self._port.read(1)
        return window + head + self._port.read(head[0] + 2)

    def close(self) -> None:
        self._port.close()


class I2cTransfers(Protocol):
    """Raw transfers to one address."""

    def write(self, data: bytes) -> None:
        """Write bytes."""

    def read(self, length: int) -> bytes:
        """Read bytes."""

    def close(self) -> None:
        """Close the bus."""


class I2cLink:
    """An I2C link. Each read begins with a status byte, 1 when a frame is ready."""

    def __init__(self, bus: I2cTransfers) -> None:
        self._bus = bus

    def wake(self) -> None:
        """Wake the chip by any transfer; the first may be refused."""
        try:
            self._bus.write(b"\x00")
        except OSError:
            time.sleep(0.002)

    def write(self, frame: bytes) -> None:
        self._bus.write(frame)

    def read(self, limit_s: float) -> bytes:
        """Wait for the status byte, then read a frame."""
        end = time.monotonic() + limit_s
        while time.monotonic() <= end:
            answer = self._bus.read(1 + _LONGEST_FRAME)
            if answer[:1] == b"\x01":
                start = answer.find(b"\x00\x00\xff", 1)
                return answer[start:] if start >= 0 else b""
            time.sleep(0.005)
        return b""

    def close(self) -> None:
        self._bus.close()
