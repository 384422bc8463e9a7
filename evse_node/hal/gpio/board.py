"""What is wired where: one board's description, as `board_file` reads it from TOML."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from msgspec import Struct, field

from evse_node.hal.interface import Ratings
from evse_node.hal.modbus.connection import ModbusSpec

PWM_PERIOD_NS: Final = 1_000_000
"""1 kHz. Spec: IEC 61851-1:2017 Table A.2"""


class Bias(Enum):
    """What the chip itself ties a line to."""

    AS_IS = "as-is"
    DISABLED = "disabled"
    PULL_UP = "pull-up"
    PULL_DOWN = "pull-down"


class LineSpec(Struct, frozen=True):
    """One line of a GPIO chip.

    `line` is the line's name or its number on the chip. `chips` are labels of chips, of
    which the first that the machine has is meant: one board fits several models of Pi.
    """

    line: str | int
    chips: tuple[str, ...]
    is_active_low: bool = False
    bias: Bias = Bias.AS_IS
    debounce_ms: int = 0


class ContactorSpec(Struct, frozen=True):
    """One or two coils, each with its mirror contact if it has one."""

    outputs: tuple[LineSpec, ...]
    feedbacks: tuple[LineSpec, ...] = ()


class HeartbeatSpec(Struct, frozen=True):
    """A line that must be toggled, or the board opens by itself.

    `interval_ms` is from edge to edge, `limit_ms` how long the board waits for one.
    `is_always`: not only while the contactor is ordered closed.
    """

    line: LineSpec
    interval_ms: float = 2.0
    limit_ms: float = 10.0
    is_always: bool = False


class RcdSpec(Struct, frozen=True):
    """The residual-current device: its trip contact and, if it has them, test and reset inputs.

    `test_hz` 0 is a test by a level, otherwise by a square wave. With `reset` the trip is a
    latch. `is_tested_on_demand`: also each time that a vehicle becomes ready.
    """

    trip: LineSpec
    test: LineSpec | None = None
    test_hz: int = 0
    is_tested_on_demand: bool = False
    reset: LineSpec | None = None
    reset_ms: int = 100


class PwmSpec(Struct, frozen=True):
    """The pilot's PWM: the chip by the name of its device, first one present, and the channel."""

    devices: tuple[str, ...]
    channel: int
    is_inverted: bool = False


class Calibration(NamedTuple):
    """Two measured points that turn raw counts into millivolts at the pin of the socket."""

    raw_1: float
    mv_1: float
    raw_2: float
    mv_2: float

    def to_mv(self, raw: float) -> int:
        """Return the voltage on the straight line through both points."""
        slope = (self.mv_2 - self.mv_1) / (self.raw_2 - self.raw_1)
        return round(self.mv_1 + (raw - self.raw_1) * slope)


class ChannelSpec(Struct, frozen=True):
    """One calibrated input of the converter."""

    channel: int
    calibration: Calibration


class PilotInputSpec(Struct, frozen=True):
    """How the pilot's voltage is measured.

    Without `low`, a burst of `samples` readings of `high` catches both levels of the
    PWM. With `low`, both inputs are behind peak detectors, and one reading each is enough.
    """

    high: ChannelSpec
    low: ChannelSpec | None = None
    samples: int = 48


class ProximityInputSpec(Struct, frozen=True):
    """How the plug's resistor is measured: `pull_up_ohm` to `supply_mv`, the plug to earth."""

    input: ChannelSpec
    supply_mv: int = 5_000
    pull_up_ohm: int = 1_000


class AdcKind(Enum):
    """Converters that are known."""

    MCP3008 = "mcp3008"  # 10 bits, SPI
    MCP3208 = "mcp3208"  # 12 bits, SPI; also MCP3204
    ADS1115 = "ads1115"  # 16 bits, I2C, 860 samples per second
    ADS1015 = "ads1015"  # 12 bits in the upper part of 16, otherwise the same

    @property
    def is_on_i2c(self) -> bool:
        """Whether it has an address, and no chip select."""
        return self in (AdcKind.ADS1115, AdcKind.ADS1015)


class AdcSpec(Struct, frozen=True):
    """The converter. SPI: bus and chip select; I2C: bus and address."""

    kind: AdcKind
    bus: int
    address: int
    speed_hz: int = 1_000_000


class LockSpec(Struct, frozen=True):
    """A lock: a motor with a line per direction, or with one line, a magnet that holds."""

    lock: LineSpec
    unlock: LineSpec | None = None
    feedback: LineSpec | None = None
    pulse_ms: int = 600


class ButtonAction(Enum):
    """What a button does."""

    RESET = "reset"  # acknowledges faults whose cause is gone
    CARD = "card"  # acts like a card held to the reader


class ButtonSpec(Struct, frozen=True):
    """One button; `uid` is the card that it stands for."""

    input: LineSpec
    action: ButtonAction
    uid: bytes = b""


class MeterSpec(Struct, frozen=True):
    """The meter: a register map with Modbus, or a pulse input.

    `limit_s` is how long it may be silent before it is lost. `is_port_shared`: another meter
    is on the same serial line, so that its port is only borrowed.
    """

    map_name: str = ""
    modbus: ModbusSpec | None = None
    pulse: LineSpec | None = None
    pulses_per_kwh: int = 1_000
    limit_s: float = 5.0
    is_port_shared: bool = False


class RfidKind(Enum):
    """Card readers that are known."""

    PN532_UART = "pn532-uart"
    PN532_I2C = "pn532-i2c"
    MFRC522 = "mfrc522"


class RfidSpec(Struct, frozen=True):
    """The card reader. UART: `port`; I2C: bus and address; SPI: bus and chip select."""

    kind: RfidKind
    port: str = ""
    bus: int = 0
    address: int = 0


class TemperatureKind(Enum):
    """Thermometers that are known."""

    DS18B20 = "ds18b20"  # 1-Wire
    HWMON = "hwmon"  # whatever the kernel has a driver for
    TMP102 = "tmp102"  # I2C, 12 bits
    LM75 = "lm75"  # I2C, 9 bits


class TemperatureSpec(Struct, frozen=True):
    """The thermometer. `device`: the DS18B20's id, "" for the only one, or hwmon's name.

    hwmon: `input`; I2C: bus and address. `limit_s` is how long it may be silent before it
    is lost.
    """

    kind: TemperatureKind
    device: str = ""
    input: int = 1
    bus: int = 1
    address: int = 0x48
    limit_s: float = 10.0


class WatchdogSpec(Struct, frozen=True):
    """The kernel's watchdog device."""

    device: str
    timeout_s: int = 10


class Board(Struct, frozen=True, kw_only=True):
    """A whole board. None is what it does not have."""

    name: str
    contactor: ContactorSpec
    pwm: PwmSpec
    adc: AdcSpec
    pilot: PilotInputSpec
    ratings: Ratings = field(default_factory=Ratings)
    proximity: ProximityInputSpec | None = None
    rcd: RcdSpec | None = None
    heartbeat: HeartbeatSpec | None = None
    emergency_stop: LineSpec | None = None
    lock: LockSpec | None = None
    buttons: tuple[ButtonSpec, ...] = ()
    led: LineSpec | None = None
    meter: MeterSpec | None = None
    grid_meter: MeterSpec | None = None
    rfid: RfidSpec | None = None
    temperature: TemperatureSpec | None = None
    watchdog: WatchdogSpec | None = None

    def outputs(self) -> dict[str, LineSpec]:
        """Return all output lines by what they do."""
        found = {
            f"contactor {number}": line for number, line in enumerate(self.contactor.outputs, 1)
        }
        if self.heartbeat is not None:
            found[HEARTBEAT] = self.heartbeat.line
        if self.rcd is not None and self.rcd.test is not None:
            found[RCD_TEST] = self.rcd.test
        if self.rcd is not None and self.rcd.reset is not None:
            found[RCD_RESET] = self.rcd.reset
        if self.lock is not None:
            found["lock"] = self.lock.lock
            if self.lock.unlock is not None:
                found["unlock"] = self.lock.unlock
        if self.led is not None:
            found["LED"] = self.led
        return found

    def inputs(self) -> dict[str, LineSpec]:
        """Return all input lines by what they tell."""
        found = {
            f"contactor {number} mirror contact": line
            for number, line in enumerate(self.contactor.feedbacks, 1)
        }
        if self.rcd is not None:
            found[RCD_TRIP] = self.rcd.trip
        if self.emergency_stop is not None:
            found[EMERGENCY_STOP] = self.emergency_stop
        if self.lock is not None and self.lock.feedback is not None:
            found[LOCK_FEEDBACK] = self.lock.feedback
        for number, button in enumerate(self.buttons, 1):
            found[f"button {number}"] = button.input
        if self.meter is not None and self.meter.pulse is not None:
            found[PULSE] = self.meter.pulse
        return found


HEARTBEAT: Final = "heartbeat"
RCD_TEST: Final = "RCD test"
RCD_RESET: Final = "RCD reset"
RCD_TRIP: Final = "RCD trip"
EMERGENCY_STOP: Final = "emergency stop"
LOCK_FEEDBACK: Final = "lock feedback"
PULSE: Final = "meter pulse"
