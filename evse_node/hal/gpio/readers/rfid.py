"""Opening of a board's card reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import ModuleType
from typing import Protocol, cast

from evse_node.errors import HalError
from evse_node.hal.gpio.adc import open_spi
from evse_node.hal.gpio.drivers import CardSource
from evse_node.hal.gpio.readers.mfrc522 import Mfrc522
from evse_node.hal.gpio.readers.pn532 import I2cLink, Pn532, SerialPort, UartLink
from evse_node.hal.gpio.specs import Mfrc522Spec, Pn532I2cSpec, Pn532UartSpec, RfidSpec
from evse_node.hal.optional_packages import load_extra

_BAUD = 115_200
_SPI_HZ = 1_000_000


class _Message(Protocol):
    def __iter__(self) -> Iterable[int]: ...


class _RawBus(Protocol):
    def i2c_rdwr(self, *messages: _Message) -> None: ...

    def close(self) -> None: ...


class SmbusTransfers:
    """Raw I2C transfers over smbus2."""

    def __init__(self, bus: int, address: int) -> None:
        module: ModuleType = load_extra("smbus2", "a PN532 on I2C")
        try:
            self._bus = cast(_RawBus, module.SMBus(bus))
        except OSError as error:
            raise HalError(f"/dev/i2c-{bus}: {error.strerror} (dtparam=i2c_arm=on)") from None
        self._make_write = cast(Callable[[int, bytes], _Message], module.i2c_msg.write)
        self._make_read = cast(Callable[[int, int], _Message], module.i2c_msg.read)
        self._address = address

    def write(self, data: bytes) -> None:
        self._bus.i2c_rdwr(self._make_write(self._address, data))

    def read(self, length: int) -> bytes:
        message = self._make_read(self._address, length)
        self._bus.i2c_rdwr(message)
        return bytes(cast("Iterable[int]", message))

    def close(self) -> None:
        self._bus.close()


def open_card_source(spec: RfidSpec) -> CardSource:
    """Open the reader's bus; each poll detects the reader. Raises HalError."""
    match spec:
        case Mfrc522Spec():
            return Mfrc522(open_spi(spec.bus, spec.chip_select, _SPI_HZ, "an MFRC522"))
        case Pn532I2cSpec():
            return Pn532(I2cLink(SmbusTransfers(spec.bus, spec.address)))
        case Pn532UartSpec():
            reopen = partial(open_serial, spec.port)
            return Pn532(UartLink(reopen(), reopen))


def open_serial(name: str) -> SerialPort:
    """Open a serial port for a PN532. Raises HalError."""
    serial = load_extra("serial", "a PN532 on a serial port")
    try:
        return cast(SerialPort, serial.Serial(name, _BAUD, timeout=0.1))
    except OSError as error:  # SerialException is one
        raise HalError(f"{name}: {error}") from None
