"""Modbus's tables of registers, and how to read scattered registers in few requests."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from msgspec import Struct


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


def group_reads(
    addresses: Iterable[Address], max_gap: int, *, width: int = 1, longest: int = 64
) -> list[Block]:
    """Return as few blocks as cover values of `width` registers at these addresses.

    A block includes at most `max_gap` unused registers between two values, and has at most
    `longest` registers.
    """
    found: list[Block] = []
    order = list(Table)
    for table, number in sorted({(order.index(each.table), each.number) for each in addresses}):
        if found and found[-1].table is order[table]:
            last = found[-1]
            total = number + width - last.start
            if number - (last.start + last.length) <= max_gap and total <= longest:
                found[-1] = Block(last.table, last.start, total)
                continue
        found.append(Block(order[table], number, width))
    return found
