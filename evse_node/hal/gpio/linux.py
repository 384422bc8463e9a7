"""The `Drivers` of a real machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from evse_node.config.reading import TomlStruct, convert_options
from evse_node.errors import HalError
from evse_node.hal.gpio.adc import open_adc
from evse_node.hal.gpio.backend import GpioBackend
from evse_node.hal.gpio.board import board_names, load_board
from evse_node.hal.gpio.drivers import Adc, CardSource, MeterSource, TemperatureSource
from evse_node.hal.gpio.pwm import SysfsPwm
from evse_node.hal.gpio.specs import (
    AdcSpec,
    LineSpec,
    ModbusMeterSpec,
    PwmSpec,
    RfidSpec,
    TemperatureSpec,
)
from evse_node.hal.optional_packages import load_extra

if TYPE_CHECKING:
    from evse_node.hal.gpio.lines import GpioInputs, GpioOutput


def check_gpiod() -> None:
    """Check that `lines` can be imported. Raises ConfigError or HalError."""
    if not hasattr(load_extra("gpiod", "a board with GPIO lines"), "request_lines"):
        # On 32-bit Arm, pip silently falls back to version 1.
        raise HalError("the package 'gpiod' is too old: pip install 'gpiod>=2.1'")


class LinuxDrivers:
    """Lines by gpiod, PWM by sysfs, converters by spidev and smbus2."""

    def open_output(self, name: str, spec: LineSpec) -> GpioOutput:
        check_gpiod()
        from evse_node.hal.gpio.lines import GpioOutput

        return GpioOutput(name, spec)

    def open_inputs(self, specs: Mapping[str, LineSpec]) -> GpioInputs:
        check_gpiod()
        from evse_node.hal.gpio.lines import GpioInputs

        return GpioInputs(specs)

    def open_pwm(self, spec: PwmSpec) -> SysfsPwm:
        return SysfsPwm(spec)

    def open_adc(self, spec: AdcSpec) -> Adc:
        return open_adc(spec)

    def open_meter(self, spec: ModbusMeterSpec, *, is_port_shared: bool = False) -> MeterSource:
        from evse_node.hal.modbus.meter import open_modbus_meter

        return open_modbus_meter(spec.modbus, spec.map, is_port_shared=is_port_shared)

    def open_rfid(self, spec: RfidSpec) -> CardSource:
        from evse_node.hal.gpio.readers.rfid import open_card_source

        return open_card_source(spec)

    def open_temperature(self, spec: TemperatureSpec) -> TemperatureSource:
        from evse_node.hal.gpio.thermometers import open_temperature_source

        return open_temperature_source(spec)


class Options(TomlStruct, frozen=True):
    """Table `[hal]` of a configuration."""

    board: Annotated[
        str, Meta(min_length=1, description=f"a file, or one of {', '.join(board_names())}")
    ]


def create(options: Mapping[str, object]) -> GpioBackend:
    """Create the backend from the `[hal]` table. Raises ConfigError."""
    board = convert_options(options, Options).board
    return GpioBackend(load_board(board), LinuxDrivers())
