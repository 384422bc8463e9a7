"""The MFRC522 card reader over SPI, by NXP's data sheet, and ISO/IEC 14443-3 type A.

A card sends its uid in up to three parts of four bytes; a part that begins with 88 is
continued in the next one.
"""

from __future__ import annotations

import time
from functools import reduce
from operator import xor
from typing import Final

from evse_node.errors import HalError
from evse_node.hal.gpio.adc import SpiBus
from evse_node.hal.gpio.readers.card_reader import CardReader

_COMMAND: Final = 0x01
_COM_IRQ: Final = 0x04
_ERROR: Final = 0x06
_FIFO_DATA: Final = 0x09
_FIFO_LEVEL: Final = 0x0A
_BIT_FRAMING: Final = 0x0D
_COLLISION: Final = 0x0E
_MODE: Final = 0x11
_TX_CONTROL: Final = 0x14
_TX_ASK: Final = 0x15
_TIMER_MODE: Final = 0x2A
_TIMER_PRESCALER: Final = 0x2B
_TIMER_RELOAD_HIGH: Final = 0x2C
_TIMER_RELOAD_LOW: Final = 0x2D
_VERSION: Final = 0x37

_IDLE: Final = 0x00
_TRANSCEIVE: Final = 0x0C
_SOFT_RESET: Final = 0x0F

_REQUEST: Final = 0x26
_SELECT: Final = (0x93, 0x95, 0x97)
_CASCADE: Final = 0x88
_FULL_ASK: Final = 0x40
_LIMIT_S: Final = 0.05


class Mfrc522(CardReader):
    """The chip behind its registers."""

    def __init__(self, bus: SpiBus) -> None:
        super().__init__(bus)
        self._bus = bus

    def _set_up(self) -> None:
        self._write(_COMMAND, _SOFT_RESET)
        time.sleep(0.05)
        version = self._read(_VERSION)
        if version in (0x00, 0xFF):
            raise HalError("no MFRC522 answers on the SPI bus")
        # The timer ends a wait after 25 ms: 40 kHz, 1000 ticks.
        self._write(_TIMER_MODE, 0x80)
        self._write(_TIMER_PRESCALER, 0xA9)
        self._write(_TIMER_RELOAD_HIGH, 0x03)
        self._write(_TIMER_RELOAD_LOW, 0xE8)
        self._write(_TX_ASK, _FULL_ASK)
        self._write(_MODE, 0x3D)
        self._write(_TX_CONTROL, self._read(_TX_CONTROL) | 0x03)

    def _read_card(self) -> bytes | None:
        if self._read(_TX_ASK) != _FULL_ASK:
            # Without its settings it receives no card, and reports no error.
            raise HalError("the MFRC522 was removed or reset")
        if self._transceive(bytes((_REQUEST,)), last_bits=7) is None:
            return None
        uid = b""
        for select in _SELECT:
            part = self._transceive(bytes((select, 0x20)))
            if part is None:
                return None
            if len(part) != 5 or reduce(xor, part):
                raise HalError("a card's uid came with a wrong checksum")
            if part[0] != _CASCADE:
                return uid + part[:4]
            uid += part[1:4]
            if not self._select(select, part):
                return None
        raise HalError("a card's uid has no last part")

    def _select(self, select: int, part: bytes) -> bool:
        """Select the card, so that it sends the next part."""
        frame = bytes((select, 0x70)) + part
        return self._transceive(frame + crc_a(frame)) is not None

    def _transceive(self, data: bytes, last_bits: int = 0) -> bytes | None:
        """Send to the card and return its answer, or None."""
        self._write(_COMMAND, _IDLE)
        self._write(_COM_IRQ, 0x7F)
        self._write(_FIFO_LEVEL, 0x80)
        self._write(_COLLISION, 0x80)
        for byte in data:
            self._write(_FIFO_DATA, byte)
        self._write(_BIT_FRAMING, last_bits)
        self._write(_COMMAND, _TRANSCEIVE)
        self._write(_BIT_FRAMING, 0x80 | last_bits)
        end = time.monotonic() + _LIMIT_S
        while True:
            flags = self._read(_COM_IRQ)
            if flags & 0x30:  # received, or idle
                break
            if flags & 0x01 or time.monotonic() > end:
                return None
        if self._read(_ERROR) & 0x1B:
            return None  # incomplete, or two cards
        return bytes(self._read(_FIFO_DATA) for _ in range(self._read(_FIFO_LEVEL)))

    def _write(self, register: int, value: int) -> None:
        self._bus.xfer2([register << 1 & 0x7E, value])

    def _read(self, register: int) -> int:
        return self._bus.xfer2([register << 1 & 0x7E | 0x80, 0])[1]


def crc_a(data: bytes) -> bytes:
    """Return CRC_A, low byte first. Spec: ISO/IEC 14443-3 Annex B."""
    crc = 0x6363
    for byte in data:
        byte ^= crc & 0xFF
        byte ^= byte << 4 & 0xFF
        crc = crc >> 8 ^ byte << 8 ^ byte << 3 ^ byte >> 4
    return (crc & 0xFFFF).to_bytes(2, "little")
