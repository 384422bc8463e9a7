"""Tables of a board's TOML file. `docs/raspberry-pi.md` explains the keys."""

from __future__ import annotations

import math
from enum import Enum
from typing import Annotated, ClassVar, Final, Literal, NamedTuple

from msgspec import Meta, field

from evse_node.config.reading import FieldError, TomlStruct, missing, unusable
from evse_node.hal.modbus.connection import ModbusKeys, ModbusSpec

PI_CHIPS: Final = ("pinctrl-rp1", "pinctrl-bcm2711", "pinctrl-bcm2835")
"""The pin controllers of the Pi 5, the Pi 4, and the Pi 2 and 3."""
PWM_PERIOD_NS: Final = 1_000_000
"""1 kHz. Spec: IEC 61851-1:2017 Table A.2"""

Name = Annotated[str, Meta(min_length=1)]
Names = Annotated[
    Name | Annotated[tuple[Name, ...], Meta(min_length=1)],
    Meta(description="a string or a list of strings"),
]
Bus = Annotated[int, Meta(ge=0, le=99)]
I2cAddress = Annotated[int, Meta(ge=3, le=0x77)]
ChipSelect = Annotated[int, Meta(ge=0, le=9)]
Channel = Annotated[int, Meta(ge=0, le=7)]
MeterLimit = Annotated[float, Meta(ge=1, le=60)]
ThermometerLimit = Annotated[float, Meta(ge=2, le=60)]

_MAP: Final = "a register map's name or file"
_RESET_MS: Final = 100


def _as_tuple(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


class Bias(Enum):
    """Resistor of the GPIO chip on a line."""

    AS_IS = "as-is"
    DISABLED = "disabled"
    PULL_UP = "pull-up"
    PULL_DOWN = "pull-down"


class LineSpec(TomlStruct, frozen=True):
    """One line of a GPIO chip, by its name or its number on the chip.

    `chip` holds labels of chips, the first present one counts: a board fits several models of
    Pi. None is the board's `chip`.
    """

    line: Annotated[Name | int, Meta(description="the line's name, like 'GPIO17', or its number")]
    chip: Names | None = None
    active: Literal["high", "low"] = "high"
    bias: Bias = Bias.AS_IS
    debounce_ms: Annotated[int, Meta(ge=0, le=1_000)] = 0

    @property
    def chips(self) -> tuple[str, ...]:
        return _as_tuple(self.chip or PI_CHIPS)

    @property
    def is_active_low(self) -> bool:
        """Whether the low level is the active one."""
        return self.active == "low"


class RatingsSpec(TomlStruct, frozen=True):
    """Ratings of the charger."""

    maximum_current_a: Annotated[float, Meta(ge=6, le=80)] = 32
    phases: Annotated[int, Meta(ge=1, le=3)] = 1
    nominal_v: Annotated[float, Meta(ge=100, le=500)] = 230


class ContactorSpec(TomlStruct, frozen=True, kw_only=True):
    """One or two coils, each with its mirror contact if it has one."""

    output: LineSpec
    feedback: LineSpec | None = None
    second_output: LineSpec | None = None
    second_feedback: LineSpec | None = None
    timeout_ms: Annotated[int, Meta(ge=50, le=10_000)] = 500

    def __post_init__(self) -> None:
        if self.second_feedback is not None and self.second_output is None:
            raise missing("second-output", "the line of the second coil")


class HeartbeatSpec(LineSpec, frozen=True):
    """A line that must be toggled, or the board opens by itself.

    `interval_ms` is from edge to edge, `limit_ms` how long the board waits for one; `phase` is
    when it does so.
    """

    interval_ms: Annotated[float, Meta(ge=0.5, le=1_000)] = 2.0
    limit_ms: Annotated[float, Meta(ge=1, le=10_000)] = 10.0
    phase: Literal["closed", "always"] = field(name="while", default="closed")

    def __post_init__(self) -> None:
        if self.limit_ms < 2 * self.interval_ms:
            raise unusable("limit-ms", self.limit_ms, "twice the interval at least")

    @property
    def is_always(self) -> bool:
        """Whether the line is toggled also while the contactor is open."""
        return self.phase == "always"


class RcdSpec(TomlStruct, frozen=True):
    """Residual-current device: its trip contact, and its test and reset inputs if it has them.

    `test_hz` 0 is a test by a level, otherwise by a square wave. With `reset` the trip is a
    latch. `test_on_demand`: also each time that a vehicle becomes ready.
    """

    trip: LineSpec
    test: LineSpec | None = None
    test_hz: Annotated[int, Meta(ge=0, le=200)] = 0
    test_on_demand: bool = False
    reset: LineSpec | None = None
    reset_ms: Annotated[int, Meta(ge=10, le=1_000)] = _RESET_MS

    def __post_init__(self) -> None:
        if self.test is None and (self.test_hz or self.test_on_demand):
            key = "test-hz" if self.test_hz else "test-on-demand"
            raise FieldError(key, "no such key without `test`, the RCD's test input")
        if self.reset is None and self.reset_ms != _RESET_MS:
            raise FieldError("reset-ms", "no such key without `reset`, the RCD's reset input")


class Point(NamedTuple):
    """A measured point: counts of the converter, and the voltage at the pin of the socket."""

    raw: float
    mv: float


class Calibration(TomlStruct, frozen=True, array_like=True):
    """Two measured points that turn raw counts into millivolts at the pin of the socket."""

    first: Point
    second: Point

    def __post_init__(self) -> None:
        (raw_1, mv_1), (raw_2, mv_2) = self.first, self.second
        is_finite = all(map(math.isfinite, (raw_1, mv_1, raw_2, mv_2)))
        if not is_finite or raw_1 == raw_2 or mv_1 == mv_2:
            raise ValueError("two different points")

    def to_mv(self, raw: float) -> int:
        """Return the voltage on the straight line through both points."""
        (raw_1, mv_1), (raw_2, mv_2) = self.first, self.second
        return round(mv_1 + (raw - raw_1) * (mv_2 - mv_1) / (raw_2 - raw_1))


Points = Annotated[
    Calibration,
    Meta(description="two different points [raw, millivolts] like [[0, -12000], [4095, 12000]]"),
]


class PwmSpec(TomlStruct, frozen=True):
    """PWM of the pilot: the first present device of a chip, and its channel."""

    pwm_device: Names
    pwm_channel: Annotated[int, Meta(ge=0, le=63)]
    is_inverted: bool = False

    @property
    def devices(self) -> tuple[str, ...]:
        return _as_tuple(self.pwm_device)


class PilotSpec(PwmSpec, frozen=True, kw_only=True):
    """The pilot: its PWM, and the inputs that measure it.

    Without `low_channel`, a burst of `samples` readings catches both levels of the PWM. With
    it, both inputs are behind peak detectors, and one reading each is enough.
    """

    channel: Channel
    calibration: Points
    low_channel: Channel | None = None
    low_calibration: Points | None = None
    samples: Annotated[int, Meta(ge=16, le=200)] | None = None

    def __post_init__(self) -> None:
        if self.low_channel is not None and self.low_calibration is None:
            raise missing("low-calibration", "two points of the converter's low-channel")
        if self.low_channel is None and self.low_calibration is not None:
            raise missing("low-channel", "the channel of low-calibration")
        if self.low_channel is not None and self.samples is not None:
            raise FieldError("samples", "no such key beside low-channel")

    @property
    def burst(self) -> int:
        """Number of readings that catch both levels."""
        return self.samples or 48


class ProximitySpec(TomlStruct, frozen=True, kw_only=True):
    """Input of the plug's resistor: `pull_up_ohm` to `supply_mv`, the plug to earth."""

    channel: Channel
    calibration: Points
    supply_mv: Annotated[int, Meta(ge=1_000, le=24_000)] = 5_000
    pull_up_ohm: Annotated[int, Meta(ge=100, le=100_000)] = 1_000


class Part(TomlStruct, frozen=True, tag_field="kind"):
    """A table whose key `kind` names the chip."""

    @property
    def kind(self) -> str:
        """Name of the chip, as in the file."""
        return str(self.__struct_config__.tag)


class SpiAdcSpec(Part, frozen=True):
    """A converter on SPI with eight channels."""

    channels: ClassVar[int] = 8
    bus: Bus = 0
    chip_select: ChipSelect = 0
    speed_hz: Annotated[int, Meta(ge=10_000, le=4_000_000)] = 1_000_000


class Mcp3008Spec(SpiAdcSpec, frozen=True, tag="mcp3008"):
    """10 bits."""


class Mcp3208Spec(SpiAdcSpec, frozen=True, tag="mcp3208"):
    """12 bits; also MCP3204."""


class I2cAdcSpec(Part, frozen=True):
    """A converter on I2C with four channels."""

    channels: ClassVar[int] = 4
    bus: Bus = 1
    address: I2cAddress = 0x48


class Ads1115Spec(I2cAdcSpec, frozen=True, tag="ads1115"):
    """16 bits, 860 samples per second."""


class Ads1015Spec(I2cAdcSpec, frozen=True, tag="ads1015"):
    """12 bits in the upper part of 16, otherwise the same."""


AdcSpec = Mcp3008Spec | Mcp3208Spec | Ads1115Spec | Ads1015Spec


class LockSpec(TomlStruct, frozen=True):
    """A lock: a motor with a line per direction, or with one line, a magnet that holds."""

    output: LineSpec
    unlock_output: LineSpec | None = None
    feedback: LineSpec | None = None
    pulse_ms: Annotated[int, Meta(ge=50, le=5_000)] = 600


class ResetButtonSpec(LineSpec, frozen=True, tag_field="action", tag="reset"):
    """A button that acknowledges faults whose cause is gone."""


class CardButtonSpec(LineSpec, frozen=True, kw_only=True, tag_field="action", tag="card"):
    """A button that acts like a card held to the reader."""

    uid: Annotated[
        str,
        Meta(pattern=r"^\s*([0-9a-fA-F]{2}\s*){1,10}$", description="1 to 10 bytes in hexadecimal"),
    ]


ButtonSpec = ResetButtonSpec | CardButtonSpec


class ModbusMeterSpec(ModbusKeys, frozen=True, kw_only=True):
    """A meter on Modbus: its register map, and how long it may be silent before it is lost."""

    map: Annotated[Name, Meta(description=_MAP)]
    limit_s: MeterLimit = 5.0

    @property
    def modbus(self) -> ModbusSpec:
        """Address of the meter."""
        return self.modbus_spec()


class MeterSpec(ModbusMeterSpec, frozen=True, kw_only=True):
    """The charger's meter: on Modbus, or a pulse input."""

    map: Annotated[str, Meta(description=_MAP)] = ""
    pulse: LineSpec | None = None
    pulses_per_kwh: Annotated[int, Meta(ge=1, le=100_000)] | None = None

    def __post_init__(self) -> None:
        if self.pulse is None:
            if not self.map:
                raise missing("map", f"{_MAP}, or a pulse line")
            if self.pulses_per_kwh is not None:
                raise FieldError("pulses-per-kwh", "no such key without `pulse`")
            super().__post_init__()
            return
        if self.pulses_per_kwh is None:
            raise missing("pulses-per-kwh", "1 to 100000, from the label of the meter")
        for key in ("map", "host", "port", "baud", "parity", "unit"):
            if getattr(self, key):
                raise FieldError(key, "no such key beside `pulse`")


class Pn532UartSpec(Part, frozen=True, tag="pn532-uart"):
    """A PN532 on a serial port."""

    port: Annotated[Name, Meta(description="a serial port")]


class Pn532I2cSpec(Part, frozen=True, tag="pn532-i2c"):
    """A PN532 on I2C."""

    bus: Bus = 1
    address: I2cAddress = 0x24


class Mfrc522Spec(Part, frozen=True, tag="mfrc522"):
    """An MFRC522 on SPI."""

    bus: Bus = 0
    chip_select: ChipSelect = 1


RfidSpec = Pn532UartSpec | Pn532I2cSpec | Mfrc522Spec


class Ds18b20Spec(Part, frozen=True, tag="ds18b20"):
    """A DS18B20 on 1-Wire; `id` "" is the only one. All thermometers are lost after `limit_s`."""

    id: str = ""
    limit_s: ThermometerLimit = 10.0


class HwmonSpec(Part, frozen=True, tag="hwmon"):
    """A thermometer with a driver in the kernel."""

    name: Annotated[Name, Meta(description="what the chip's file `name` holds, like lm75")]
    input: Annotated[int, Meta(ge=0, le=99)] = 1
    limit_s: ThermometerLimit = 10.0


class I2cThermometerSpec(Part, frozen=True):
    """A thermometer on I2C; `mask` are the bits that the chip defines."""

    mask: ClassVar[int]
    bus: Bus = 1
    address: I2cAddress = 0x48
    limit_s: ThermometerLimit = 10.0


class Tmp102Spec(I2cThermometerSpec, frozen=True, tag="tmp102"):
    """12 bits."""

    mask: ClassVar[int] = 0xFFF0


class Lm75Spec(I2cThermometerSpec, frozen=True, tag="lm75"):
    """At least 9 bits."""

    mask: ClassVar[int] = 0xFF80


TemperatureSpec = Ds18b20Spec | HwmonSpec | Tmp102Spec | Lm75Spec


class WatchdogSpec(TomlStruct, frozen=True):
    """The kernel's watchdog device."""

    device: Name = "/dev/watchdog"
    timeout_s: Annotated[int, Meta(ge=2, le=60)] = 10
