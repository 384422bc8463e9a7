"""Registers in the register maps of EVSE controllers: conditions, quantities and writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

from msgspec import Meta, field

from evse_node.config.reading import FieldError, TomlStruct, missing
from evse_node.hal.modbus.table import Address, Table

WHOLE_WORD: Final = 0xFFFF

Words = Mapping[Address, int]
"""Contents of the registers that were read."""

_Word = Annotated[int, Meta(ge=0, le=WHOLE_WORD)]
WordList = Annotated[
    tuple[_Word, ...],
    Meta(min_length=1, description=f"a list of whole numbers from 0 to {WHOLE_WORD}"),
]
_Factor = Annotated[float, Meta(ge=1e-6, le=1e6)]


class Register(TomlStruct, frozen=True, kw_only=True):
    """One register, or one bit of the tables of bits, and the bits of it that count."""

    coil: _Word | None = None
    discrete: _Word | None = None
    input: _Word | None = None
    holding: _Word | None = None
    mask: Annotated[int, Meta(ge=1, le=WHOLE_WORD)] = WHOLE_WORD

    def __post_init__(self) -> None:
        if len(self._addresses()) != 1:
            raise ValueError("give exactly one of coil, discrete, input, holding")

    def _addresses(self) -> list[Address]:
        numbers = zip(Table, (self.coil, self.discrete, self.input, self.holding), strict=True)
        return [Address(table, number) for table, number in numbers if number is not None]

    @property
    def address(self) -> Address:
        """Return the table and the address in it."""
        return self._addresses()[0]

    def bits(self, words: Words) -> int:
        return words[self.address] & self.mask


class Condition(Register, frozen=True, kw_only=True):
    """Holds when the register has one of the values; without values, when any bit is set."""

    values: WordList = field(default=(), name="is")

    def holds(self, words: Words) -> bool:
        bits = self.bits(words)
        return bits in self.values if self.values else bits != 0


def all_hold(conditions: tuple[Condition, ...], words: Words) -> bool:
    """Return whether all conditions are met."""
    return all(condition.holds(words) for condition in conditions)


class Scale(Register, frozen=True, kw_only=True):
    """A quantity in a register: steps per ampere, degree or second, and the value of step 0.

    `fine_per_unit` replaces `per_unit` while `fine_if` holds.
    """

    unit: ClassVar[str]
    per_unit: _Factor = 1.0
    fine_per_unit: _Factor | None = None
    offset: Annotated[float, Meta(ge=-1e6, le=1e6)] = 0.0
    fine_if: Condition | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fine_if is not None and self.fine_per_unit is None:
            raise missing(f"fine-per-{self.unit}", "1e-06 to 1e+06")
        if self.fine_if is None and self.fine_per_unit is not None:
            raise missing("fine-if", "the condition for this")

    def steps(self, words: Words) -> float:
        """Return the steps per unit now."""
        if self.fine_if is not None and self.fine_if.holds(words):
            return self.fine_per_unit or self.per_unit
        return self.per_unit

    def milli(self, words: Words) -> int:
        """Return the quantity in thousandths of its unit."""
        return round((self.bits(words) / self.steps(words) + self.offset) * 1000)

    def word(self, milli: int, words: Words) -> int:
        """Return the word for a quantity, rounded down and limited to the register's width."""
        steps = int((milli / 1000 - self.offset) * self.steps(words) + 1e-6)
        return min(max(steps, 0), self.mask)


class Current(Scale, frozen=True, kw_only=True):
    """A current in a register."""

    unit = "ampere"
    per_unit: _Factor = field(default=1.0, name="per-ampere")
    fine_per_unit: _Factor | None = field(default=None, name="fine-per-ampere")


class Temperature(Scale, frozen=True, kw_only=True):
    """A temperature in a register."""

    unit = "degree"
    per_unit: _Factor = field(default=1.0, name="per-degree")
    fine_per_unit: _Factor | None = field(default=None, name="fine-per-degree")


class Duration(Scale, frozen=True, kw_only=True):
    """A time in a register."""

    unit = "second"
    per_unit: _Factor = field(default=1.0, name="per-second")
    fine_per_unit: _Factor | None = field(default=None, name="fine-per-second")


class Write(Current, frozen=True, kw_only=True):
    """One register to write: a fixed `value`, or with `per-ampere` the current.

    With `broadcast_unit` it is a broadcast to that unit, without an answer: `count` registers,
    of which the first is that of unit 1. It is left out unless `only_if` holds, and repeated
    after `repeat_s`. The register does not keep the value of a write that `is_command`.
    """

    per_unit: _Factor = field(default=0.0, name="per-ampere")
    value: _Word | None = None
    broadcast_unit: Annotated[int, Meta(ge=0, le=247)] | None = None
    count: Annotated[int, Meta(ge=1, le=64)] = 1
    only_if: Condition | None = None
    repeat_s: Annotated[float, Meta(ge=0.1, le=3_600)] | None = None
    is_command: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.value is None) is (self.per_unit == 0):
            raise ValueError("give a value, or with per-ampere how the current is written")
        scaling = (self.mask, self.offset, self.fine_if)
        if self.value is not None and scaling != (WHOLE_WORD, 0, None):
            raise ValueError("mask, offset and fine-if are for per-ampere, not for a value")
        table = self.address.table
        if table not in (Table.COIL, Table.HOLDING):
            raise FieldError(table.value, "cannot be written: give a coil or a holding")
        if self.broadcast_unit is not None and table is not Table.HOLDING:
            raise FieldError("broadcast-unit", "only for a holding register")

    @property
    def is_kept(self) -> bool:
        """Return whether the written value can be read back."""
        return self.broadcast_unit is None and self.only_if is None and not self.is_command
