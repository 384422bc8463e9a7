"""Records of the store: those of each fabric, and their members, checked while taken out."""

from __future__ import annotations

from collections.abc import Container
from typing import cast

from evse_node.errors import DecodeError
from evse_node.matter.store import Store
from evse_node.matter.tlv import TagKey, TlvList, TlvValue


def of_fabrics(store: Store, prefix: str, fabrics: Container[int]) -> list[tuple[int, bytes]]:
    """Return the records under `prefix`, one for each fabric, by the fabric's index.

    Records of fabrics that do not exist are deleted: their index may be given away again.
    """
    records: list[tuple[int, bytes]] = []
    for key, value in store.items(prefix):
        index = key.removeprefix(prefix)
        if index.isdecimal() and int(index) in fabrics:
            records.append((int(index), value))
        else:
            store.delete(key)
    return records


def items(value: TlvValue) -> list[TlvValue]:
    """Return the items of an array. Raises DecodeError when it is something else."""
    if isinstance(value, TlvList) or not isinstance(value, list):
        raise DecodeError("not an array")
    return cast("list[TlvValue]", value)


def members(value: TlvValue) -> dict[TagKey, TlvValue]:
    """Return the members of a structure. Raises DecodeError when it is something else."""
    if not isinstance(value, dict):
        raise DecodeError("not a structure")
    return value


def number(value: TlvValue) -> int:
    """Return an integer. Raises DecodeError when it is something else."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise DecodeError("not an integer")
    return value


def octets(value: TlvValue, size: int | None = None) -> bytes:
    """Return a byte string, of `size` bytes if given. Raises DecodeError when it is not."""
    if not isinstance(value, bytes) or (size is not None and len(value) != size):
        raise DecodeError("not a byte string of the right size")
    return value


def text(value: TlvValue) -> str:
    """Return a string. Raises DecodeError when it is something else."""
    if not isinstance(value, str):
        raise DecodeError("not a string")
    return value
