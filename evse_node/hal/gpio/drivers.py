"""Protocols of the hardware, implemented by `linux` and by tests.

Calls return quickly unless the class says otherwise, and raise OSError or HalError on failure.
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
    """An output line. True is active, whichever level that is."""

    def set(self, is_active: bool) -> None:
        """Drive the line. Callable from any thread."""

    def close(self) -> None:
        """Release the line. May be repeated."""


class Edge(NamedTuple):
    """A change of a line; the timestamp is the kernel's monotonic time."""

    name: str
    is_active: bool
    timestamp_ns: int


class Inputs(Protocol):
    """All input lines, by name."""

    def filenos(self) -> list[int]:
        """Return descriptors that become readable when `read_edges` has edges."""

    def read_edges(self) -> Iterable[Edge]:
        """Return pending edges without waiting."""

    def is_active(self, name: str) -> bool:
        """Return the state of a line. Callable from several threads at a time."""

    def close(self) -> None:
        """Release the lines. May be repeated."""


class PilotPwm(Protocol):
    """PWM of the pilot: 0 is constant -12 V, 1000 constant +12 V."""

    def drive(self, duty_permille: int) -> None:
        """Set the duty cycle."""

    def disable(self) -> None:
        """Stop the PWM, with the pilot at -12 V."""

    def close(self) -> None:
        """Release the channel, which keeps its last output. May be repeated."""


class Adc(Protocol):
    """An analogue converter, used by one thread."""

    def read(self, channel: int) -> int:
        """Return one reading, in counts."""

    def close(self) -> None:
        """Close the bus. May be repeated."""


class MeterSource(Protocol):
    """An energy meter that answers slowly; used by one thread."""

    def read(self) -> MeterValues:
        """Read the meter and wait for the answer."""

    def close(self) -> None:
        """Close the bus. May be repeated."""


class CardSource(Protocol):
    """A card reader that is polled; used by one thread."""

    def poll(self) -> bytes | None:
        """Return the uid of the present card, or None."""

    def close(self) -> None:
        """Close the bus. May be repeated."""


class TemperatureSource(Protocol):
    """A thermometer that answers slowly; used by one thread."""

    def read(self) -> int:
        """Measure, and return millidegrees Celsius."""

    def close(self) -> None:
        """Close the bus. May be repeated."""


class Drivers(Protocol):
    """Factory of hardware. Each method raises HalError when it is missing or in use."""

    def open_output(self, name: str, spec: LineSpec) -> OutputLine:
        """Request a line and drive it inactive, in one step."""

    def open_inputs(self, specs: Mapping[str, LineSpec]) -> Inputs:
        """Request all inputs."""

    def open_pwm(self, spec: PwmSpec) -> PilotPwm:
        """Open the PWM of the pilot, which starts with constant -12 V."""

    def open_adc(self, spec: AdcSpec) -> Adc:
        """Open the converter."""

    def open_meter(self, spec: ModbusMeterSpec, *, is_port_shared: bool = False) -> MeterSource:
        """Open the bus of a meter; the meter need not answer yet."""

    def open_rfid(self, spec: RfidSpec) -> CardSource:
        """Open the bus of the reader; the reader need not answer yet."""

    def open_temperature(self, spec: TemperatureSpec) -> TemperatureSource:
        """Open the bus of the thermometer; the thermometer need not answer yet."""
