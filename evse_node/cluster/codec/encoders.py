"""Encoders: functions that append a value to a TLV writer.

Constraints are not checked. A value that does not fit its type is a bug, and raises
TypeError, ValueError, AttributeError or OverflowError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

from evse_node.cluster.definitions.data_type import (
    FABRIC_INDEX,
    FABRIC_INDEX_FIELD,
    FieldDefinition,
    Value,
)
from evse_node.matter.tlv import TagKey, Writer

# `list | tuple` would create a union for each list.
_SEQUENCES: Final = (list, tuple)

Encoder: TypeAlias = Callable[[Writer, TagKey | None, Value], None]
FieldsEncoder: TypeAlias = Callable[[Writer, TagKey | None, Mapping[str, Value]], None]


def boolean(writer: Writer, tag: TagKey | None, value: Value) -> None:
    """Append a boolean. Raises TypeError for other truth values."""
    if value is not True and value is not False:
        raise TypeError(f"{value!r} is not a boolean")
    writer.boolean(tag, value)


def nullable(encode_value: Encoder) -> Encoder:
    """Return an encoder that also accepts None."""

    def encode_nullable(writer: Writer, tag: TagKey | None, value: Value) -> None:
        if value is None:
            writer.null(tag)
        else:
            encode_value(writer, tag, value)

    return encode_nullable


def array(encode_entry: Encoder) -> Encoder:
    """Return an encoder of lists (or tuples) of entries."""

    def encode_list(writer: Writer, tag: TagKey | None, value: Value) -> None:
        if not isinstance(value, _SEQUENCES):
            raise TypeError(f"{value!r} is not a list")
        writer.start_array(tag)
        for item in value:
            encode_entry(writer, None, item)
        writer.end()

    return encode_list


def structure(
    fields: Iterable[tuple[FieldDefinition, Encoder]],
    name: str,
    *,
    is_fabric_scoped: bool,
    is_part: bool = False,
) -> FieldsEncoder:
    """Return the encoder of a structure called `name`, from a mapping by `key`.

    An optional field that is not nullable is absent if None. With `is_part`, values of
    other fields are ignored; otherwise they raise ValueError.
    """
    table = [
        (
            field.id,
            field.key,
            encode_field,
            not field.is_optional,
            field.is_optional and not field.type.is_nullable,
        )
        for field, encode_field in fields
    ]
    known = {row[1] for row in table} | ({FABRIC_INDEX} if is_fabric_scoped else set())

    def encode_fields(writer: Writer, tag: TagKey | None, value: Mapping[str, Value]) -> None:
        writer.start_structure(tag)
        count = 0
        for number, key, encode_field, is_required, none_is_absent in table:
            if key in value:
                count += 1
                member = value[key]
                if member is not None or not none_is_absent:
                    encode_field(writer, number, member)
            elif is_required:
                raise ValueError(f"{name} lacks {key}")
        if is_fabric_scoped and FABRIC_INDEX in value:
            count += 1
            index = value[FABRIC_INDEX]
            if not isinstance(index, int):
                raise TypeError(f"fabric index {index!r} of {name} is not an integer")
            writer.uint(FABRIC_INDEX_FIELD, index)
        if count != len(value) and not is_part:
            raise ValueError(f"{name} has no {', '.join(sorted(value.keys() - known))}")
        writer.end()

    return encode_fields
