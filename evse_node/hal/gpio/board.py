"""Wiring of a board, read from its TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from msgspec import field
from msgspec.structs import replace

from evse_node.config.reading import FieldError, TomlStruct, load_toml, unusable
from evse_node.errors import ConfigError
from evse_node.hal.gpio.specs import (
    PI_CHIPS,
    AdcSpec,
    ButtonSpec,
    ContactorSpec,
    HeartbeatSpec,
    I2cAdcSpec,
    I2cThermometerSpec,
    LineSpec,
    LockSpec,
    MeterSpec,
    Mfrc522Spec,
    ModbusMeterSpec,
    Name,
    Names,
    PilotSpec,
    Pn532I2cSpec,
    ProximitySpec,
    RatingsSpec,
    RcdSpec,
    RfidSpec,
    SpiAdcSpec,
    TemperatureSpec,
    WatchdogSpec,
)
from evse_node.hal.interface import Ratings
from evse_node.units import Milliamps, Millivolts

BOARDS: Final = Path(__file__).parent / "boards"
"""The boards that are shipped."""

# Names of lines beside "contactor 1", "button 1" and the like
HEARTBEAT: Final = "heartbeat"
RCD_TEST: Final = "RCD test"
RCD_RESET: Final = "RCD reset"
RCD_TRIP: Final = "RCD trip"
EMERGENCY_STOP: Final = "emergency stop"
LOCK_FEEDBACK: Final = "lock feedback"
PULSE: Final = "meter pulse"


class Board(TomlStruct, frozen=True, kw_only=True):
    """A whole board. None is a part that it does not have."""

    name: Name
    chip: Names = PI_CHIPS
    rated: RatingsSpec = field(name="ratings", default_factory=RatingsSpec)
    contactor: ContactorSpec
    pilot: PilotSpec
    adc: AdcSpec
    proximity: ProximitySpec | None = None
    rcd: RcdSpec | None = None
    heartbeat: HeartbeatSpec | None = None
    emergency_stop: LineSpec | None = None
    lock: LockSpec | None = None
    buttons: tuple[ButtonSpec, ...] = field(name="button", default=())
    led: LineSpec | None = None
    meter: MeterSpec | None = None
    grid_meter: ModbusMeterSpec | None = None
    rfid: RfidSpec | None = None
    temperature: TemperatureSpec | None = None
    watchdog: WatchdogSpec | None = None

    def __post_init__(self) -> None:
        self._check_channels()
        self._check_lines()
        self._check_buses()

    @property
    def ratings(self) -> Ratings:
        """Ratings of the charger."""
        return Ratings(
            maximum_current_ma=Milliamps(round(self.rated.maximum_current_a * 1000)),
            phases=self.rated.phases,
            nominal_voltage_mv=Millivolts(round(self.rated.nominal_v * 1000)),
            contactor_timeout_s=self.contactor.timeout_ms / 1000,
        )

    @property
    def is_meter_port_shared(self) -> bool:
        """Whether both meters are on one serial port, which is closed after each read then."""
        meter, grid_meter = self.meter, self.grid_meter
        if meter is None or grid_meter is None or meter.pulse is not None:
            return False
        return meter.modbus.port == grid_meter.modbus.port != ""

    def outputs(self) -> dict[str, LineSpec]:
        """Return all output lines by their purpose."""
        lines: dict[str, LineSpec | None] = {
            "contactor 1": self.contactor.output,
            "contactor 2": self.contactor.second_output,
            HEARTBEAT: self.heartbeat,
        }
        if self.rcd is not None:
            lines |= {RCD_TEST: self.rcd.test, RCD_RESET: self.rcd.reset}
        if self.lock is not None:
            lines |= {"lock": self.lock.output, "unlock": self.lock.unlock_output}
        return self._placed({**lines, "LED": self.led})

    def inputs(self) -> dict[str, LineSpec]:
        """Return all input lines by the name of their signal."""
        lines: dict[str, LineSpec | None] = {
            "contactor 1 mirror contact": self.contactor.feedback,
            "contactor 2 mirror contact": self.contactor.second_feedback,
        }
        if self.rcd is not None:
            lines[RCD_TRIP] = self.rcd.trip
        lines[EMERGENCY_STOP] = self.emergency_stop
        if self.lock is not None:
            lines[LOCK_FEEDBACK] = self.lock.feedback
        lines |= {f"button {number}": line for number, line in enumerate(self.buttons, 1)}
        if self.meter is not None:
            lines[PULSE] = self.meter.pulse
        return self._placed(lines)

    def _placed(self, lines: dict[str, LineSpec | None]) -> dict[str, LineSpec]:
        """Return the present lines, each with its chip."""
        return {
            name: line if line.chip is not None else replace(line, chip=self.chip)
            for name, line in lines.items()
            if line is not None
        }

    def _check_channels(self) -> None:
        pilot, adc = self.pilot, self.adc
        for key, channel in (
            ("pilot.channel", pilot.channel),
            ("pilot.low-channel", pilot.low_channel),
            ("proximity.channel", None if self.proximity is None else self.proximity.channel),
        ):
            if channel is not None and channel >= adc.channels:
                raise unusable(key, channel, f"0 to {adc.channels - 1}, which an {adc.kind} has")
        if isinstance(adc, I2cAdcSpec) and pilot.low_channel is None:
            raise FieldError(
                "pilot.low-channel",
                f"is missing: an {adc.kind} is too slow to catch both levels of the pilot, "
                "give the channels of two peak detectors",
                " ",
            )

    def _check_lines(self) -> None:
        seen: dict[tuple[str | int, tuple[str, ...]], str] = {}
        for purpose, spec in (*self.outputs().items(), *self.inputs().items()):
            other = seen.setdefault((spec.line, spec.chips), purpose)
            if other != purpose:
                raise ValueError(f"line {spec.line!r} is wired twice: {other}, and {purpose}")

    def _check_buses(self) -> None:
        """Refuse two parts at one address: each would read the other's answers."""
        seen: dict[str, str] = {}
        for key, part in (
            ("adc", self.adc),
            ("rfid", self.rfid),
            ("temperature", self.temperature),
        ):
            if isinstance(part, I2cAdcSpec | Pn532I2cSpec | I2cThermometerSpec):
                place = f"address 0x{part.address:02x} of i2c {part.bus}"
            elif isinstance(part, SpiAdcSpec | Mfrc522Spec):
                place = f"chip select {part.chip_select} of spi {part.bus}"
            else:
                continue
            other = seen.setdefault(place, key)
            if other != key:
                raise ValueError(f"{other} and {key} are both at {place}")


def board_names() -> list[str]:
    """Return the names of the shipped boards."""
    return sorted(file.stem for file in BOARDS.glob("*.toml"))


def load_board(name: str) -> Board:
    """Load a shipped board by its name, or any other by its file.

    Raises ConfigError with one line: file, key, value, what would be right.
    """
    file = BOARDS / f"{name}.toml" if name in board_names() else Path(name).expanduser()
    if not file.is_file():
        raise ConfigError(
            f"board: '{name}' is no file: give one, or one of {', '.join(board_names())}"
        )
    return load_toml(file, Board)
