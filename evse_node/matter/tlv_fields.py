"""Type checks for members of decoded TLV: handshake messages, certificates, stored records."""

from __future__ import annotations

from typing import cast

from evse_node.errors import DecodeError
from evse_node.matter.tlv import TagKey, TlvList, TlvValue


def expect_octets(value: TlvValue, size: int | None = None, maximum: int | None = None) -> bytes:
    """Return a byte string of any length, of `size` bytes, or of `size` to `maximum` bytes.

    Raises DecodeError for anything else.
    """
    if not isinstance(value, bytes):
        raise DecodeError("not a byte string")
    if size is not None and not size <= len(value) <= (size if maximum is None else maximum):
        expected = size if maximum is None else f"{size} to {maximum}"
        raise DecodeError(f"byte string of {len(value)} bytes in place of {expected}")
    return value


def expect_unsigned(value: TlvValue, maximum: int) -> int:
    """Return an unsigned integer up to `maximum`. Raises DecodeError for anything else."""
    # The exact type, since SignedInt and bool are subclasses of int.
    if type(value) is not int or value > maximum:
        raise DecodeError(f"not an unsigned integer up to {maximum}")
    return value


def expect_integer(value: TlvValue) -> int:
    """Return an integer, signed or unsigned. Raises DecodeError for anything else."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise DecodeError("not an integer")
    return value


def expect_boolean(value: TlvValue) -> bool:
    """Return a boolean. Raises DecodeError for anything else."""
    if not isinstance(value, bool):
        raise DecodeError("not a boolean")
    return value


def expect_text(value: TlvValue) -> str:
    """Return a string. Raises DecodeError for anything else."""
    if not isinstance(value, str):
        raise DecodeError("not a string")
    return value


def expect_array(value: TlvValue) -> list[TlvValue]:
    """Return the items of an array. Raises DecodeError for anything else."""
    if isinstance(value, TlvList) or not isinstance(value, list):
        raise DecodeError("not an array")
    return cast("list[TlvValue]", value)


def expect_structure(value: TlvValue) -> dict[TagKey, TlvValue]:
    """Return the members of a structure. Raises DecodeError for anything else."""
    if not isinstance(value, dict):
        raise DecodeError("not a structure")
    return value
