"""What the logic of a board needs of hardware: small protocols, brought by `linux` or a test.

All calls are quick, and raise OSError or HalError when the hardware does not obey.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from evse_node.hal.gpio.specs import (
    AdcSpec,
    LineSpec,
    ModbusMeterSpec,
    PwmSpec,
    RfidSpec,
    TemperatureSpec,
)
from evse_node.hal.interface import MeterValues


class OutputLine(Protocol):
    """A line that is driven. True is active, whatever level that is."""

    def set(self, is_active: bool) -> None:
        """Drive the line. Callable from any thread."""

    def close(self) -> None:
        """Let go of the line. May be repeated."""


class Edge(NamedTuple):
    """A line that has changed; the time is the kernel's, monotonic."""

    name: str
    is_active: bool
    timestamp_ns: int


class Inputs(Protocol):
    """All lines that are read, by the names that were given."""

    def filenos(self) -> list[int]:
        """Return descriptors that become readable when `read_edges` has something."""

    def read_edges(self) -> Iterable[Edge]:
        """Return what has changed, without waiting."""

    def is_active(self, name: str) -> bool:
        """Return how a line is now. Callable from any thread, also at the same time."""

    def close(self) -> None:
        """Let go of the lines. May be repeated."""


class PilotPwm(Protocol):
    """The generator behind the pilot's driver: 0 is constant -12 V, 1000 constant +12 V."""

    def drive(self, duty_permille: int) -> None:
        """Put out this duty cycle from now on."""

    def disable(self) -> None:
        """Stop the generator for good, with the pilot at -12 V."""

    def close(self) -> None:
        """Let go of the channel, which keeps its last output. May be repeated."""


class Adc(Protocol):
    """An analogue converter, used by one thread."""

    def read(self, channel: int) -> int:
        """Return one reading, in counts."""

    def close(self) -> None:
        """Let go of the bus. May be repeated."""


class MeterSource(Protocol):
    """An energy meter that takes its time to answer; used by one thread."""

    def read(self) -> MeterValues:
        """Ask the meter and wait for the answer."""

    def close(self) -> None:
        """Let go of the bus. May be repeated."""


class CardSource(Protocol):
    """A card reader that is polled; used by one thread."""

    def poll(self) -> bytes | None:
        """Return the uid of the card that is there, or None."""

    def close(self) -> None:
        """Let go of the bus. May be repeated."""


class TemperatureSource(Protocol):
    """A thermometer that takes its time to answer; used by one thread."""

    def read(self) -> int:
        """Measure, and return millidegrees Celsius."""

    def close(self) -> None:
        """Let go of the bus. May be repeated."""


class Drivers(Protocol):
    """Opens hardware. Each method raises HalError when it is not there or taken."""

    def open_output(self, name: str, spec: LineSpec) -> OutputLine:
        """Take a line and drive it inactive, in one step."""

    def open_inputs(self, specs: Mapping[str, LineSpec]) -> Inputs:
        """Take all inputs."""

    def open_pwm(self, spec: PwmSpec) -> PilotPwm:
        """Take the pilot's generator. It starts with constant -12 V."""

    def open_adc(self, spec: AdcSpec) -> Adc:
        """Take the converter."""

    def open_meter(self, spec: ModbusMeterSpec, *, is_port_shared: bool = False) -> MeterSource:
        """Take the meter's bus; the meter itself need not answer yet."""

    def open_rfid(self, spec: RfidSpec) -> CardSource:
        """Take the reader's bus; the reader itself need not answer yet."""

    def open_temperature(self, spec: TemperatureSpec) -> TemperatureSource:
        """Take the thermometer's bus; the thermometer itself need not answer yet."""
