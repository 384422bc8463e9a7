"""Decoders: functions that convert a decoded TLV element to a value, or raise StatusError.

`malformed` is the status for a wrong TLV type. Without `is_checked`, only the TLV type and
the width of integers are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias, cast

from evse_node.cluster.definitions.data_type import (
    FieldDefinition,
    Value,
    ValueType,
    number_range,
)
from evse_node.errors import StatusError
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import Float32, SignedInt, TlvValue

Decoder: TypeAlias = Callable[[TlvValue], Value]
FieldsDecoder: TypeAlias = Callable[[TlvValue], dict[str, Value]]

_NO_LIMIT = 0xFFFF_FFFF

# This character separates a string from a translation's id, which no cluster here uses.
_SEPARATOR = "\x1f"


def _constraint(reason: str) -> StatusError:
    return StatusError(Status.CONSTRAINT_ERROR, reason=reason)


def _wrong_type(malformed: Status, expected: str) -> StatusError:
    return StatusError(malformed, reason=f"not {expected}")


def unsigned(type_: ValueType, malformed: Status, is_checked: bool) -> Decoder:
    """Return the decoder of an unsigned integer, enum or bitmap."""
    low, high = number_range(type_, is_checked)
    enum = type_.enum if is_checked else None
    bitmap = type_.bitmap if is_checked else None
    members = frozenset(enum.values.values()) if enum else frozenset()
    undefined = ~bitmap.mask if bitmap else 0

    def decode_unsigned(value: TlvValue) -> Value:
        if type(value) is not int:
            raise _wrong_type(malformed, "an unsigned integer")
        if not low <= value <= high:
            raise _constraint(f"{value} is not in {low} to {high}")
        return value

    def decode_enum(value: TlvValue) -> Value:
        if type(value) is not int:
            raise _wrong_type(malformed, "an unsigned integer")
        if value not in members:
            raise _constraint(f"{value} is not a value of {type_.name}")
        return value

    def decode_bitmap(value: TlvValue) -> Value:
        if type(value) is not int:
            raise _wrong_type(malformed, "an unsigned integer")
        if value & undefined:
            raise _constraint(f"{value:#x} has bits that {type_.name} does not define")
        return value

    if enum:
        return decode_enum
    return decode_bitmap if bitmap else decode_unsigned


def signed(type_: ValueType, malformed: Status, is_checked: bool) -> Decoder:
    """Return the decoder of a signed integer."""
    low, high = number_range(type_, is_checked)

    def decode_signed(value: TlvValue) -> Value:
        if type(value) is not SignedInt:
            raise _wrong_type(malformed, "a signed integer")
        if not low <= value <= high:
            raise _constraint(f"{value} is not in {low} to {high}")
        return int(value)

    return decode_signed


def boolean(malformed: Status) -> Decoder:
    """Return the decoder of a boolean."""

    def decode_boolean(value: TlvValue) -> Value:
        if type(value) is not bool:
            raise _wrong_type(malformed, "a boolean")
        return value

    return decode_boolean


def floating(malformed: Status) -> Decoder:
    """Return the decoder of a float of either precision."""

    def decode_float(value: TlvValue) -> Value:
        if type(value) is not float and type(value) is not Float32:
            raise _wrong_type(malformed, "a float")
        return float(value)

    return decode_float


def string(type_: ValueType, malformed: Status, is_checked: bool) -> Decoder:
    """Return the decoder of a string, whose length counts bytes of UTF-8."""
    low, high = _length_range(type_, is_checked)

    def decode_string(value: TlvValue) -> Value:
        if type(value) is not str:
            raise _wrong_type(malformed, "a string")
        if _SEPARATOR in value:
            value = value[: value.index(_SEPARATOR)]
        length = len(value)
        if length * 4 > high or length < low:
            length = len(value.encode())
            if not low <= length <= high:
                raise _constraint(f"length {length} is not in {low} to {high}")
        return value

    return decode_string


def octets(type_: ValueType, malformed: Status, is_checked: bool) -> Decoder:
    """Return the decoder of an octet string."""
    low, high = _length_range(type_, is_checked)

    def decode_octets(value: TlvValue) -> Value:
        if type(value) is not bytes:
            raise _wrong_type(malformed, "an octet string")
        if not low <= len(value) <= high:
            raise _constraint(f"length {len(value)} is not in {low} to {high}")
        return value

    return decode_octets


def array(decode_entry: Decoder, type_: ValueType, malformed: Status, is_checked: bool) -> Decoder:
    """Return the decoder of a list."""
    low, high = _length_range(type_, is_checked)

    def decode_list(value: TlvValue) -> Value:
        if type(value) is not list:
            raise _wrong_type(malformed, "an array")
        if not low <= len(value) <= high:
            raise _constraint(f"number of entries {len(value)} is not in {low} to {high}")
        return [decode_entry(item) for item in cast("list[TlvValue]", value)]

    return decode_list


def nullable(decode_value: Decoder) -> Decoder:
    """Return a decoder that also accepts null."""

    def decode_nullable(value: TlvValue) -> Value:
        return None if value is None else decode_value(value)

    return decode_nullable


def structure(
    fields: Iterable[tuple[FieldDefinition, Decoder]], malformed: Status
) -> FieldsDecoder:
    """Return the decoder of a structure to a dictionary by `key`. Unknown fields are ignored."""
    table = [
        (field.id, field.key, decode_field, not field.is_optional) for field, decode_field in fields
    ]

    def decode_fields(value: TlvValue) -> dict[str, Value]:
        if type(value) is not dict:
            raise _wrong_type(malformed, "a structure")
        values: dict[str, Value] = {}
        for number, key, decode_field, is_required in table:
            if number in value:
                try:
                    values[key] = decode_field(value[number])
                except StatusError as error:
                    raise StatusError(error.status, reason=f"{key}: {error.reason}") from None
            elif is_required:
                raise StatusError(malformed, reason=f"{key} is missing")
        return values

    return decode_fields


def _length_range(type_: ValueType, is_checked: bool) -> tuple[int, int]:
    if not is_checked:
        return 0, _NO_LIMIT
    return type_.min_length or 0, _NO_LIMIT if type_.max_length is None else type_.max_length
