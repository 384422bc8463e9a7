"""Analogue converters: MCP3008 and MCP3208 on SPI, ADS1115 on I2C."""

from __future__ import annotations

import time
from typing import Final, Protocol

from evse_node.errors import HalError
from evse_node.hal.gpio.drivers import Adc
from evse_node.hal.gpio.specs import AdcSpec, I2cAdcSpec, Mcp3208Spec, SpiAdcSpec
from evse_node.hal.optional_packages import load_extra


class SpiBus(Protocol):
    """Subset of `spidev.SpiDev`."""

    def xfer2(self, values: list[int]) -> list[int]:
        """Exchange bytes with chip select held."""

    def close(self) -> None:
        """Close the device."""


class I2cBus(Protocol):
    """Subset of `smbus2.SMBus`."""

    def read_i2c_block_data(self, address: int, register: int, length: int) -> list[int]:
        """Read bytes from a register."""

    def write_i2c_block_data(self, address: int, register: int, data: list[int]) -> None:
        """Write bytes to a register."""

    def close(self) -> None:
        """Close the device."""


def open_adc(spec: AdcSpec) -> Adc:
    """Open the converter. Raises HalError without its bus."""
    purpose = f"an {spec.kind}"
    if isinstance(spec, I2cAdcSpec):
        return Ads1115(open_i2c(spec.bus, purpose), spec.address)
    return Mcp3x08(open_spi(spec.bus, spec.chip_select, spec.speed_hz, purpose), spec)


def open_spi(bus: int, chip_select: int, speed_hz: int, purpose: str) -> SpiBus:
    """Open an SPI device in mode 0. Raises HalError."""
    device = load_extra("spidev", purpose).SpiDev()
    try:
        device.open(bus, chip_select)
        device.max_speed_hz = speed_hz
        device.mode = 0
    except OSError as error:
        device.close()
        raise HalError(
            f"/dev/spidev{bus}.{chip_select}: {error.strerror} (dtparam=spi=on; group spi)"
        ) from None
    found: SpiBus = device
    return found


def open_i2c(bus: int, purpose: str) -> I2cBus:
    """Open an I2C bus. Raises HalError."""
    try:
        found: I2cBus = load_extra("smbus2", purpose).SMBus(bus)
    except OSError as error:
        raise HalError(
            f"/dev/i2c-{bus}: {error.strerror} (dtparam=i2c_arm=on; group i2c)"
        ) from None
    return found


class Mcp3x08:
    """Eight single-ended channels of 10 or 12 bits.

    A reading is three bytes: start bit, single-ended, channel; the result comes in the
    same bits of the answer after a null bit.
    """

    def __init__(self, bus: SpiBus, spec: SpiAdcSpec) -> None:
        self._bus = bus
        self._is_12_bits = isinstance(spec, Mcp3208Spec)

    def read(self, channel: int) -> int:
        """Return 0 to 1023, or to 4095. Raises HalError when nothing answers on the bus."""
        if self._is_12_bits:
            answer = self._bus.xfer2([0x06 | channel >> 2, (channel & 3) << 6, 0])
            null, raw = answer[1] & 0x10, (answer[1] & 0x0F) << 8 | answer[2]
        else:
            answer = self._bus.xfer2([0x01, 0x80 | channel << 4, 0])
            null, raw = answer[1] & 0x04, (answer[1] & 0x03) << 8 | answer[2]
        if null:
            # A chip pulls this bit low; on an empty bus it floats high.
            raise HalError("no converter answers on the SPI bus")
        return raw

    def close(self) -> None:
        self._bus.close()


class Ads1115:
    """Four single-ended channels of 16 bits, each reading a conversion of its own.

    An ADS1015 has the same registers, and 12 bits in the upper part of a result; what is
    860 samples per second here is 3300 there.

    Full scale is 4.096 V; a count is 125 microvolts. A conversion takes 1.2 ms at 860
    samples per second; the "ready" bit of the chip ends the wait.
    """

    _CONVERSION: Final = 0x00
    _CONFIG: Final = 0x01
    _READY: Final = 0x80
    _LIMIT_S: Final = 0.01

    def __init__(self, bus: I2cBus, address: int) -> None:
        self._bus = bus
        self._address = address

    def read(self, channel: int) -> int:
        """Return -32768 to 32767. Raises OSError or HalError when the chip does not answer."""
        # Start, single-ended channel, 4.096 V, one shot; 860 per second, no comparator.
        config = [0x80 | (4 + channel) << 4 | 1 << 1 | 1, 0xE3]
        self._bus.write_i2c_block_data(self._address, self._CONFIG, config)
        end = time.monotonic() + self._LIMIT_S
        while True:
            time.sleep(0.0012)
            status = self._bus.read_i2c_block_data(self._address, self._CONFIG, 2)
            if status[0] & self._READY:
                break
            if time.monotonic() > end:
                raise HalError("the ads1115 did not complete its conversion")
        high, low = self._bus.read_i2c_block_data(self._address, self._CONVERSION, 2)
        return int.from_bytes((high, low), signed=True)

    def close(self) -> None:
        self._bus.close()
