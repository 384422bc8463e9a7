"""Energy meters on Modbus RTU or TCP, read by a register map in TOML.

The maps of `meters/` are loaded by name, any other by its file. `[values]` gives for each
quantity the registers of its phases, and the factor from the meter's unit to W, V, A, Hz or kWh.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol, cast

from msgspec import Meta, field

from evse_node.config.reading import TomlStruct, load_toml
from evse_node.errors import ConfigError, HalError
from evse_node.hal.interface import MeterValues
from evse_node.hal.modbus.connection import ModbusSpec, create_client
from evse_node.hal.modbus.table import Address, Block, Table, group_reads
from evse_node.units import Milliamps, Millivolts, MilliwattHours, Milliwatts

MAPS: Final = Path(__file__).parent / "meters"
_TIMEOUT_S: Final = 1.0
_FORMATS: Final = {"float32": ">f", "int32": ">i", "uint32": ">I"}
_LARGEST_READ: Final = 80

_Register = Annotated[int, Meta(ge=0, le=0xFFFE, description="addresses like 0x0034")]


class Registers(Protocol):
    """Registers of a Modbus device."""

    def read(self, function: int, address: int, count: int) -> Sequence[int]:
        """Return 16-bit registers. Raises HalError or OSError."""

    def close(self) -> None:
        """Close the connection."""


class Quantity(TomlStruct, frozen=True):
    """Registers of a quantity, one for each phase or one in all, and the factor of their unit."""

    registers: Annotated[
        tuple[_Register, ...],
        Meta(min_length=1, max_length=3, description="a list of 1 to 3 addresses like [0x0034]"),
    ]
    factor: Annotated[float, Meta(ge=1e-6, le=1e6)] = 1.0


class Quantities(TomlStruct, frozen=True, kw_only=True):
    """Table `[values]` of a register map."""

    power_w: Quantity
    imported_kwh: Quantity
    exported_kwh: Quantity | None = None
    voltage_v: Quantity
    current_a: Quantity
    frequency_hz: Quantity | None = None

    def registers(self) -> list[int]:
        """Return the registers of all quantities that the meter has."""
        found = (getattr(self, name) for name in self.__struct_fields__)
        return [each for quantity in found if quantity is not None for each in quantity.registers]


class RegisterMap(TomlStruct, frozen=True, kw_only=True):
    """Registers of a meter; each value takes two, high word first unless swapped.

    `function` is 4 for input registers and 3 for holding registers. Values that are at most
    `max_gap` registers apart are read together. The bits of `not_available`, high word first, mean
    that the meter has no value.
    """

    function: Annotated[int, Meta(ge=3, le=4)]
    format: Literal["float32", "int32", "uint32"]
    is_word_swapped: bool = False
    max_gap: Annotated[int, Meta(ge=0, le=80)] = 0
    not_available: tuple[Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)], ...] = ()
    quantities: Quantities = field(name="values")

    def blocks(self) -> list[Block]:
        """Return as few reads as the gaps allow."""
        table = Table.INPUT if self.function == 4 else Table.HOLDING
        return group_reads(
            (Address(table, each) for each in self.quantities.registers()),
            self.max_gap,
            width=2,
            longest=_LARGEST_READ,
        )

    def values(self, words: Mapping[int, int]) -> MeterValues:
        """Convert the words of all `blocks`, by address. Raises HalError for invalid numbers."""
        quantities = self.quantities
        frequency = self._milli(words, quantities.frequency_hz)
        return MeterValues(
            MilliwattHours(sum(self._milli(words, quantities.imported_kwh, 1_000))),
            MilliwattHours(sum(self._milli(words, quantities.exported_kwh, 1_000))),
            Milliwatts(sum(self._milli(words, quantities.power_w))),
            tuple(Millivolts(value) for value in self._milli(words, quantities.voltage_v)),
            tuple(Milliamps(value) for value in self._milli(words, quantities.current_a)),
            frequency[0] if frequency else None,
        )

    def _milli(
        self, words: Mapping[int, int], quantity: Quantity | None, scale: int = 1
    ) -> list[int]:
        if quantity is None:
            return []
        found = []
        for register in quantity.registers:
            high, low = words[register], words[register + 1]
            if self.is_word_swapped:
                high, low = low, high
            if (high << 16 | low) in self.not_available:
                raise HalError(f"the meter has no value in register 0x{register:04X}")
            (value,) = struct.unpack(_FORMATS[self.format], struct.pack(">HH", high, low))
            if value != value or abs(value) > 1e12:
                raise HalError(f"the meter reports {value} in register 0x{register:04X}")
            found.append(round(value * quantity.factor * 1000 * scale))
        return found


class MeterMap(RegisterMap, frozen=True, kw_only=True):
    """A file with the register map of a meter."""

    name: Annotated[str, Meta(min_length=1)]


def map_names() -> list[str]:
    """Return the names of the shipped maps."""
    return sorted(file.stem for file in MAPS.glob("*.toml"))


def load_map(name: str) -> MeterMap:
    """Load a shipped map by name, or any by its file. Raises ConfigError."""
    file = MAPS / f"{name}.toml" if name in map_names() else Path(name).expanduser()
    if not file.is_file():
        raise ConfigError(
            f"meter.map: '{name}' is no file: give one, or one of {', '.join(map_names())}"
        )
    return load_toml(file, MeterMap)


class ModbusMeter:
    """A `MeterSource` that reads all blocks of a map, then converts them.

    A shared port is closed after each read, for the other device on it.
    """

    def __init__(
        self, registers: Registers, register_map: RegisterMap, *, is_port_shared: bool = False
    ) -> None:
        self._registers = registers
        self._map = register_map
        self._is_port_shared = is_port_shared
        self._blocks = register_map.blocks()

    def read(self) -> MeterValues:
        """Read all values."""
        try:
            return self._map.values(self._read_words())
        finally:
            if self._is_port_shared:
                self._registers.close()

    def _read_words(self) -> dict[int, int]:
        words: dict[int, int] = {}
        for _, address, count in self._blocks:
            block = self._registers.read(self._map.function, address, count)
            if len(block) != count:
                raise HalError(f"the meter returned {len(block)} registers instead of {count}")
            words.update(enumerate(block, address))
        return words

    def close(self) -> None:
        """Close the connection."""
        self._registers.close()


class _Answer(Protocol):
    registers: list[int]

    def isError(self) -> bool: ...  # noqa: N802 - pymodbus's name


class _Client(Protocol):
    def connect(self) -> bool: ...

    def close(self) -> None: ...

    def read_input_registers(self, address: int, *, count: int, device_id: int) -> _Answer: ...

    def read_holding_registers(self, address: int, *, count: int, device_id: int) -> _Answer: ...


class ModbusRegisters:
    """Registers over pymodbus; the next read reconnects after a failure."""

    def __init__(self, spec: ModbusSpec) -> None:
        client, self._error = create_client(spec, "a Modbus meter", _TIMEOUT_S, is_async=False)
        self._client = cast(_Client, client)
        self._where = spec.host or spec.port
        self._unit = spec.unit

    def read(self, function: int, address: int, count: int) -> Sequence[int]:
        """Read input (4) or holding (3) registers."""
        client = self._client
        try:
            if not client.connect():
                raise HalError(f"{self._where} cannot be opened")
            read = client.read_input_registers if function == 4 else client.read_holding_registers
            answer = read(address, count=count, device_id=self._unit)
        except self._error as error:
            client.close()
            raise HalError(f"unit {self._unit} on {self._where}: {error}") from None
        except OSError:
            client.close()
            raise
        if answer.isError():
            raise HalError(f"unit {self._unit} on {self._where} refuses: {answer}")
        return answer.registers

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def open_modbus_meter(
    spec: ModbusSpec, map_name: str, *, is_port_shared: bool = False
) -> ModbusMeter:
    """Return the meter at this address. Raises ConfigError for an unknown or invalid map."""
    return ModbusMeter(ModbusRegisters(spec), load_map(map_name), is_port_shared=is_port_shared)
