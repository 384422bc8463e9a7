"""Thermometers: DS18B20 on 1-Wire, chips with a hwmon driver, TMP102 and LM75 on I2C.

A DS18B20 takes 0.75 s to answer, and a bus may hang; so a thread polls it, and
`PolledThermometer` returns the latest answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from evse_node.errors import HalError
from evse_node.hal.gpio.adc import I2cBus, open_i2c
from evse_node.hal.gpio.drivers import TemperatureSource
from evse_node.hal.gpio.specs import Ds18b20Spec, HwmonSpec, I2cThermometerSpec, TemperatureSpec

W1_DEVICES: Final = Path("/sys/bus/w1/devices")
HWMON_CLASS: Final = Path("/sys/class/hwmon")
TEMPERATURE_POLL_S: Final = 1.0
_LOWEST_MC: Final = -55_000
_HIGHEST_MC: Final = 125_000
# Register of a DS18B20 after power-on, before its first measurement.
_POWER_ON_MC: Final = 85_000
_NEAR_MC: Final = 5_000


class KernelThermometer:
    """File of the kernel with millidegrees: `temperature` of w1, `temp1_input` of hwmon."""

    def __init__(self, find: Callable[[], Path]) -> None:
        self._find = find

    def read(self) -> int:
        """Return millidegrees; a DS18B20 starts a measurement, which takes 0.75 s."""
        file = self._find()
        try:
            text = file.read_text().strip()
        except OSError as error:
            # The file of an unplugged sensor remains for a while; reading it fails.
            raise HalError(f"{file}: {os.strerror(error.errno or 0)}") from None
        try:
            return int(text)
        except ValueError:
            raise HalError(f"{file} holds {text!r}") from None

    def close(self) -> None:
        """Do nothing: no resource is held."""


class Ds18b20(KernelThermometer):
    """A DS18B20. A sudden 85 degrees is taken for a power-on reset, not a measurement."""

    def __init__(self, device: str, folder: Path = W1_DEVICES) -> None:
        super().__init__(lambda: find_w1(device, folder) / "temperature")
        self._before_mc: int | None = None

    def read(self) -> int:
        before_mc, now_mc = self._before_mc, super().read()
        if now_mc == _POWER_ON_MC and (
            before_mc is None or abs(before_mc - _POWER_ON_MC) > _NEAR_MC
        ):
            raise HalError("it reports 85 degrees, its value after power-on")
        self._before_mc = now_mc
        return now_mc


def find_w1(device: str, folder: Path = W1_DEVICES) -> Path:
    """Return the folder of a DS18B20; without an id, of the only one. Raises HalError."""
    there = {path.name: path for path in sorted(folder.glob("28-*"))}
    if device in there:
        return there[device]
    known = ", ".join(there) or "none"
    if device or len(there) != 1:
        wanted = device or "single one"
        raise HalError(f"no DS18B20 '{wanted}'; found: {known} (dtoverlay=w1-gpio)")
    return next(iter(there.values()))


def find_hwmon(name: str, number: int, folder: Path = HWMON_CLASS) -> Path:
    """Return the file of a hwmon chip's input. Raises HalError that lists the chips."""
    there: dict[str, Path] = {}
    for chip in sorted(folder.glob("hwmon*")):
        try:
            there.setdefault((chip / "name").read_text().strip(), chip)
        except OSError:
            continue
    if name not in there:
        raise HalError(f"no hwmon chip '{name}'; found: {', '.join(there) or 'none'}")
    return there[name] / f"temp{number}_input"


class I2cThermometer:
    """TMP102 or LM75: register 0 holds 256ths of a degree, high byte first."""

    def __init__(self, bus: I2cBus, spec: I2cThermometerSpec) -> None:
        self._bus = bus
        self._address = spec.address
        self._mask = spec.mask

    def read(self) -> int:
        """Return millidegrees. Raises OSError when the chip does not answer."""
        high, low = self._bus.read_i2c_block_data(self._address, 0, 2)
        raw = (high << 8 | low) & self._mask
        return int.from_bytes(raw.to_bytes(2), signed=True) * 1000 // 256

    def close(self) -> None:
        self._bus.close()


def open_temperature_source(spec: TemperatureSpec) -> TemperatureSource:
    """Open the bus of a thermometer, which need not answer yet. Raises HalError."""
    match spec:
        case Ds18b20Spec():
            return Ds18b20(spec.id)
        case HwmonSpec():
            return KernelThermometer(lambda: find_hwmon(spec.name, spec.input))
        case _:
            return I2cThermometer(open_i2c(spec.bus, f"a {spec.kind}"), spec)


def read_plausible(source: TemperatureSource) -> int:
    """Read a thermometer once. Raises HalError for a value out of its range."""
    try:
        temperature_mc = source.read()
    except OSError as error:
        raise HalError(str(error)) from error
    if not _LOWEST_MC <= temperature_mc <= _HIGHEST_MC:
        raise HalError(f"it reports {temperature_mc} millidegrees")
    return temperature_mc


class PolledThermometer(Struct, eq=False):
    """A `TemperatureSensor` that returns the latest answer until it is too old."""

    source: TemperatureSource
    limit_s: float
    clock: Callable[[], float]
    _answer: tuple[int, float] | None = None
    _failure: str = "no answer yet"

    def poll(self) -> None:
        """Read the thermometer once. Never raises."""
        try:
            temperature_mc = read_plausible(self.source)
        except Exception as error:
            self._failure = str(error)
            return
        self._answer = (temperature_mc, self.clock())

    def read_millicelsius(self) -> int:
        answer = self._answer
        if answer is None or self.clock() - answer[1] > self.limit_s:
            raise HalError(f"the thermometer does not answer: {self._failure}")
        return answer[0]

    def close(self) -> None:
        self.source.close()
