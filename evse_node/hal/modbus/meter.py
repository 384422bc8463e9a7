"""Energy meters on Modbus RTU or TCP. A register map in TOML says where the values are.

The maps of `meters/` are read by name; any other by its file. A map has `function` (3 or
4), `format` of all values, `max-gap`, and under `[values]` for each quantity the registers
of its phases and a factor to base units (W, V, A, Hz, kWh).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, cast

from msgspec import Struct

from evse_node.errors import ConfigError, HalError
from evse_node.hal.interface import MeterValues
from evse_node.hal.modbus.connection import ModbusSpec, load_pymodbus
from evse_node.hal.optional_packages import load_extra
from evse_node.hal.toml_table import TomlTable, load_toml
from evse_node.units import Milliamps, Millivolts, MilliwattHours, Milliwatts

MAPS: Final = Path(__file__).parent / "meters"
_TIMEOUT_S: Final = 1.0
_FORMATS: Final = {"float32": ">f", "int32": ">i", "uint32": ">I"}
_LARGEST_READ: Final = 80


class Registers(Protocol):
    """A Modbus device's registers."""

    def read(self, function: int, address: int, count: int) -> Sequence[int]:
        """Return 16-bit registers. Raises HalError or OSError."""

    def close(self) -> None:
        """Let go of the bus."""


class Quantity(Struct, frozen=True):
    """Where a quantity is: a register for each phase, or one, and what its unit is worth."""

    registers: tuple[int, ...]
    factor: float


class RegisterMap(Struct, frozen=True):
    """Where a meter keeps its values; each takes two registers, high word first unless swapped."""

    name: str
    function: int
    format: str
    is_word_swapped: bool
    max_gap: int
    power: Quantity
    imported: Quantity
    exported: Quantity | None
    voltages: Quantity
    currents: Quantity
    frequency: Quantity | None

    def blocks(self) -> list[tuple[int, int]]:
        """Return address and length of as few reads as the gaps allow."""
        needed: set[int] = set()
        for quantity in (
            self.power,
            self.imported,
            self.exported,
            self.voltages,
            self.currents,
            self.frequency,
        ):
            needed.update(() if quantity is None else quantity.registers)
        found: list[tuple[int, int]] = []
        for address in sorted(needed):
            if found:
                start, length = found[-1]
                total = address + 2 - start
                if address - (start + length) <= self.max_gap and total <= _LARGEST_READ:
                    found[-1] = (start, total)
                    continue
            found.append((address, 2))
        return found

    def values(self, words: Mapping[int, int]) -> MeterValues:
        """Convert the words of all `blocks`, by address. Raises HalError for nonsense."""
        frequency = self._milli(words, self.frequency)
        return MeterValues(
            MilliwattHours(sum(self._milli(words, self.imported, 1_000))),
            MilliwattHours(sum(self._milli(words, self.exported, 1_000))),
            Milliwatts(sum(self._milli(words, self.power))),
            tuple(Millivolts(value) for value in self._milli(words, self.voltages)),
            tuple(Milliamps(value) for value in self._milli(words, self.currents)),
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
            (value,) = struct.unpack(self.format, struct.pack(">HH", high, low))
            if value != value or abs(value) > 1e12:
                raise HalError(f"the meter tells {value} in register 0x{register:04X}")
            found.append(round(value * quantity.factor * 1000 * scale))
        return found


def map_names() -> list[str]:
    """Return the names of the shipped maps."""
    return sorted(file.stem for file in MAPS.glob("*.toml"))


def load_map(name: str) -> RegisterMap:
    """Read a shipped map by name, or any by its file. Raises ConfigError."""
    file = MAPS / f"{name}.toml" if name in map_names() else Path(name).expanduser()
    if not file.is_file():
        raise ConfigError(
            f"meter.map: '{name}' is no file: give one, or one of {', '.join(map_names())}"
        )
    top = load_toml(file)
    found = read_map(top, top.text("name"))
    top.finish()
    return found


def read_map(top: TomlTable, name: str) -> RegisterMap:
    """Read a map from its table, for a meter that is part of something else. Raises ConfigError."""
    values = top.table("values")
    found = RegisterMap(
        name=name,
        function=top.whole("function", 3, 4),
        format=_FORMATS[top.one_of("format", tuple(_FORMATS))],
        is_word_swapped=top.flag("is-word-swapped", False),
        max_gap=top.whole("max-gap", 0, 80, 0),
        power=_quantity(values, "power-w"),
        imported=_quantity(values, "imported-kwh"),
        exported=_quantity(values, "exported-kwh") if values.has("exported-kwh") else None,
        voltages=_quantity(values, "voltage-v"),
        currents=_quantity(values, "current-a"),
        frequency=_quantity(values, "frequency-hz") if values.has("frequency-hz") else None,
    )
    values.finish()
    return found


def _quantity(values: TomlTable, key: str) -> Quantity:
    table = values.table(key)
    registers = table.take("registers", None, "a list of 1 to 3 addresses")
    if not isinstance(registers, list) or not 1 <= len(registers) <= 3:
        raise table.wrong("registers", registers, "a list of 1 to 3 addresses")
    for register in registers:
        if isinstance(register, bool) or not isinstance(register, int):
            raise table.wrong("registers", register, "addresses like 0x0034")
        if not 0 <= register <= 0xFFFE:
            raise table.wrong("registers", register, "addresses like 0x0034")
    quantity = Quantity(tuple(registers), table.number("factor", 1e-6, 1e6, 1))
    table.finish()
    return quantity


class ModbusMeter:
    """A `MeterSource`: reads all blocks of a map, then converts."""

    def __init__(
        self, registers: Registers, register_map: RegisterMap, *, is_port_shared: bool = False
    ) -> None:
        self._registers = registers
        self._map = register_map
        self._is_port_shared = is_port_shared
        self._blocks = register_map.blocks()

    def read(self) -> MeterValues:
        """Ask for all values. A shared port is given back."""
        try:
            return self._map.values(self._read_words())
        finally:
            if self._is_port_shared:
                self._registers.close()

    def _read_words(self) -> dict[int, int]:
        words: dict[int, int] = {}
        for address, count in self._blocks:
            block = self._registers.read(self._map.function, address, count)
            if len(block) != count:
                raise HalError(f"the meter answers with {len(block)} registers, not {count}")
            words.update(enumerate(block, address))
        return words

    def close(self) -> None:
        """Let go of the bus."""
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
    """Registers over pymodbus. A broken connection is made anew with the next read."""

    def __init__(self, spec: ModbusSpec) -> None:
        client = load_pymodbus("a Modbus meter")
        if spec.host:
            made = client.ModbusTcpClient(
                spec.host, port=spec.tcp_port, timeout=_TIMEOUT_S, retries=0
            )
        else:
            load_extra("serial", "a Modbus meter on a serial port")
            made = client.ModbusSerialClient(
                spec.port,
                baudrate=spec.baud,
                parity=spec.parity,
                timeout=_TIMEOUT_S,
                retries=0,
            )
        self._where = spec.host or spec.port
        self._error = cast(type[Exception], load_extra("pymodbus", "a meter").ModbusException)
        self._client = cast(_Client, made)
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
    """Return the meter at this address. Raises ConfigError for an unknown map."""
    return ModbusMeter(ModbusRegisters(spec), load_map(map_name), is_port_shared=is_port_shared)
