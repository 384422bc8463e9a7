"""Decoders: functions from a decoded TLV element to a value, or a StatusError.

`malformed` is the status for an element of another TLV type than the value's. With
`is_checked` off, only the TLV type and the width of integers are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias, cast

from evse_node.cluster.definitions.data_type import (
    FieldDefinition,
    Kind,
    Value,
    ValueType,
    integer_range,
)
from evse_node.errors import StatusError
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import Float32, SignedInt, TlvValue

Decoder: TypeAlias = Callable[[TlvValue], Value]
FieldsDecoder: TypeAlias = Callable[[TlvValue], dict[str, Value]]

_NO_LIMIT = 0xFFFF_FFFF

# In a string, what follows this character names a translation, which no cluster here has.
_SEPARATOR = "\x1f"


def _constraint(reason: str) -> StatusError:
    return StatusError(Status.CONSTRAINT_ERROR, reason=reason)


def _wrong_type(malformed: Status, wanted: str) -> StatusError:
    return StatusError(malformed, reason=f"not {wanted}")


def unsigned_decoder(type_: ValueType, malformed: Status, is_checked: bool) -> Decoder:
    """Return the decoder of an unsigned integer, enum or bitmap."""
    low, high = _range(type_, is_checked)
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
            raise _constraint(f"{value:#x} has bits that {type_.name} has not")
        return value

    if enum:
        return decode_enum
    return decode_bitmap if bitmap else decode_unsigned


def signed_decoder(type_: ValueType, malformed: Status, is_checked: bool) -> Decoder:
    """Return the decoder of a signed integer."""
    low, high = _range(type_, is_checked)

    def decode_signed(value: TlvValue) -> Value:
        if type(value) is not SignedInt:
            raise _wrong_type(malformed, "a signed integer")
        if not low <= value <= high:
            raise _constraint(f"{value} is not in {low} to {high}")
        return int(value)

    return decode_signed


def boolean_decoder(malformed: Status) -> Decoder:
    """Return the decoder of a boolean."""

    def decode_boolean(value: TlvValue) -> Value:
        if type(value) is not bool:
            raise _wrong_type(malformed, "a boolean")
        return value

    return decode_boolean


def float_decoder(malformed: Status) -> Decoder:
    """Return the decoder of a float of either precision."""

    def decode_float(value: TlvValue) -> Value:
        if type(value) is not float and type(value) is not Float32:
            raise _wrong_type(malformed, "a float")
        return float(value)

    return decode_float


def string_decoder(type_: ValueType, malformed: Status, is_checked: bool) -> Decoder:
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


def octets_decoder(type_: ValueType, malformed: Status, is_checked: bool) -> Decoder:
    """Return the decoder of an octet string."""
    low, high = _length_range(type_, is_checked)

    def decode_octets(value: TlvValue) -> Value:
        if type(value) is not bytes:
            raise _wrong_type(malformed, "an octet string")
        if not low <= len(value) <= high:
            raise _constraint(f"length {len(value)} is not in {low} to {high}")
        return value

    return decode_octets


def list_decoder(
    decode_entry: Decoder, type_: ValueType, malformed: Status, is_checked: bool
) -> Decoder:
    """Return the decoder of a list."""
    low, high = _length_range(type_, is_checked)

    def decode_list(value: TlvValue) -> Value:
        if type(value) is not list:
            raise _wrong_type(malformed, "an array")
        if not low <= len(value) <= high:
            raise _constraint(f"{len(value)} entries are not in {low} to {high}")
        return [decode_entry(item) for item in cast("list[TlvValue]", value)]

    return decode_list


def nullable_decoder(decode_value: Decoder) -> Decoder:
    """Return a decoder that takes null too."""

    def decode_nullable(value: TlvValue) -> Value:
        return None if value is None else decode_value(value)

    return decode_nullable


def fields_decoder(
    fields: Iterable[tuple[FieldDefinition, Decoder]], malformed: Status
) -> FieldsDecoder:
    """Return the decoder of a structure to a dictionary by `key`; unknown fields are left out."""
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


def _range(type_: ValueType, is_checked: bool) -> tuple[int, int]:
    low, high = integer_range(type_.kind, type_.size)
    if type_.is_nullable:
        # The number that other encodings use for null is not a value.
        if type_.kind is Kind.SIGNED:
            low += 1
        else:
            high -= 1
    if is_checked:
        low = low if type_.minimum is None else max(low, type_.minimum)
        high = high if type_.maximum is None else min(high, type_.maximum)
    return low, high


def _length_range(type_: ValueType, is_checked: bool) -> tuple[int, int]:
    if not is_checked:
        return 0, _NO_LIMIT
    return type_.min_length or 0, _NO_LIMIT if type_.max_length is None else type_.max_length
