"""Modbus's tables of registers, and how to read scattered registers in few requests."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final, NamedTuple

from msgspec import Struct

_LARGEST_READ: Final = 64


class Table(Enum):
    """Modbus's four kinds of register."""

    COIL = "coil"
    DISCRETE = "discrete"
    INPUT = "input"
    HOLDING = "holding"


class Address(Struct, frozen=True):
    """One register, or one bit of the tables of bits."""

    table: Table
    number: int


class Block(NamedTuple):
    """Adjacent registers, read by one request."""

    table: Table
    start: int
    length: int


def group_reads(addresses: Iterable[Address], max_gap: int) -> list[Block]:
    """Return as few blocks as cover the addresses, reading at most `max_gap` others between two."""
    found: list[Block] = []
    order = list(Table)
    for table, number in sorted({(order.index(each.table), each.number) for each in addresses}):
        if found and found[-1].table is order[table]:
            last = found[-1]
            total = number + 1 - last.start
            if number - (last.start + last.length) <= max_gap and total <= _LARGEST_READ:
                found[-1] = Block(last.table, last.start, total)
                continue
        found.append(Block(order[table], number, 1))
    return found
