"""The `Drivers` of a real machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from evse_node.errors import ConfigError, HalError
from evse_node.hal.gpio.adc import open_adc
from evse_node.hal.gpio.backend import GpioBackend
from evse_node.hal.gpio.board import (
    AdcSpec,
    LineSpec,
    MeterSpec,
    PwmSpec,
    RfidSpec,
    TemperatureSpec,
)
from evse_node.hal.gpio.board_file import board_names, load_board
from evse_node.hal.gpio.drivers import Adc, CardSource, MeterSource, TemperatureSource
from evse_node.hal.gpio.pwm import SysfsPwm
from evse_node.hal.optional_packages import load_extra

if TYPE_CHECKING:
    from evse_node.hal.gpio.lines import GpioInputs, GpioOutput


def check_gpiod() -> None:
    """See to it that `lines` can be imported. Raises ConfigError or HalError."""
    if not hasattr(load_extra("gpiod", "a board with GPIO lines"), "request_lines"):
        # On 32-bit Arm, pip falls back to version 1 in silence.
        raise HalError("the package 'gpiod' is too old: pip install 'gpiod>=2.1'")


class LinuxDrivers:
    """Lines by gpiod, PWM by sysfs, converters by spidev and smbus2."""

    def open_output(self, name: str, spec: LineSpec) -> GpioOutput:
        """Take a line and drive it inactive, in one step."""
        check_gpiod()
        from evse_node.hal.gpio.lines import GpioOutput

        return GpioOutput(name, spec)

    def open_inputs(self, specs: Mapping[str, LineSpec]) -> GpioInputs:
        """Take all inputs."""
        check_gpiod()
        from evse_node.hal.gpio.lines import GpioInputs

        return GpioInputs(specs)

    def open_pwm(self, spec: PwmSpec) -> SysfsPwm:
        """Take the pilot's generator."""
        return SysfsPwm(spec)

    def open_adc(self, spec: AdcSpec) -> Adc:
        """Take the converter."""
        return open_adc(spec)

    def open_meter(self, spec: MeterSpec) -> MeterSource:
        """Take the meter's bus."""
        from evse_node.hal.modbus.meter import open_modbus_meter

        if spec.modbus is None:
            raise HalError("the board has no Modbus meter")
        return open_modbus_meter(spec.modbus, spec.map_name, is_port_shared=spec.is_port_shared)

    def open_rfid(self, spec: RfidSpec) -> CardSource:
        """Take the reader's bus."""
        from evse_node.hal.gpio.readers.rfid import open_card_source

        return open_card_source(spec)

    def open_temperature(self, spec: TemperatureSpec) -> TemperatureSource:
        """Take the thermometer's bus."""
        from evse_node.hal.gpio.temperature import open_temperature_source

        return open_temperature_source(spec)


def create(options: Mapping[str, object]) -> GpioBackend:
    """Make the backend from the `[hal]` table: `board` is a shipped board's name or a file.

    Raises ConfigError.
    """
    left = {key.replace("_", "-"): value for key, value in options.items()}
    board = left.pop("board", None)
    right = f"a file, or one of {', '.join(board_names())}"
    if not isinstance(board, str) or not board:
        problem = "is missing" if board is None else f"{board!r} cannot be used"
        raise ConfigError(f"hal.board: {problem}: give {right} (`board` in the table [hal])")
    if left:
        raise ConfigError(f"hal.{min(left)}: no such key; known is board")
    return GpioBackend(load_board(board), LinuxDrivers())
