"""Types of values: how a value is encoded, and what it may be.

Spec: Matter Core 1.3 "Data Types"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TypeAlias

from msgspec import Struct

# The value of an attribute or field. Enums and bitmaps are ints, a struct is a mapping
# keyed by snake_case field names in which absent optional fields are missing.
Value: TypeAlias = "bool | int | float | str | bytes | Sequence[Value] | Mapping[str, Value] | None"

# The field that every fabric-scoped struct has beside those of its definition.
FABRIC_INDEX_FIELD = 254


class Kind(Enum):
    """How a value is encoded."""

    BOOLEAN = "boolean"
    UNSIGNED = "unsigned"
    SIGNED = "signed"
    FLOAT = "float"
    STRING = "string"
    OCTETS = "octets"
    ENUM = "enum"
    BITMAP = "bitmap"
    STRUCT = "struct"
    LIST = "list"


class EnumDefinition(Struct, frozen=True, eq=False):
    """An enumeration; `size` in bytes, `values` by the specification's name."""

    name: str
    size: int
    values: Mapping[str, int]


class BitmapDefinition(Struct, frozen=True, eq=False):
    """A bitmap; `size` in bytes, `fields` are masks by the specification's name."""

    name: str
    size: int
    fields: Mapping[str, int]

    @property
    def mask(self) -> int:
        """All defined bits."""
        mask = 0
        for field_mask in self.fields.values():
            mask |= field_mask
        return mask


class StructDefinition(Struct, frozen=True, eq=False):
    """A structure. `fields` are in order of id, without the fabric index (field 254)."""

    name: str
    fields: tuple[FieldDefinition, ...]
    is_fabric_scoped: bool = False


class ValueType(Struct, frozen=True):
    """A type with its constraints.

    `name` is the XML's type name; `size` the width in bytes of a number, enum or bitmap.
    `minimum` and `maximum` bound a number (None: what its width allows), `min_length`
    and `max_length` count the bytes of a string or the entries of a list. One of `enum`,
    `bitmap`, `struct` and `entry` is set as `kind` says; an enum or bitmap without
    definition takes any value of its width.
    """

    name: str
    kind: Kind
    size: int = 0
    is_nullable: bool = False
    minimum: int | None = None
    maximum: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    enum: EnumDefinition | None = None
    bitmap: BitmapDefinition | None = None
    struct: StructDefinition | None = None
    entry: ValueType | None = None

    def empty(self) -> Value:
        """Return a value for want of a better one: null, or zero, or nothing in it."""
        if self.is_nullable:
            return None
        kind = self.kind
        if kind is Kind.BOOLEAN:
            return False
        if kind is Kind.FLOAT:
            return 0.0
        if kind is Kind.STRING:
            return ""
        if kind is Kind.OCTETS:
            return b""
        if kind is Kind.LIST:
            return []
        if kind is Kind.ENUM and self.enum is not None:
            return min(self.enum.values.values(), default=0)
        if kind is Kind.STRUCT and self.struct is not None:
            return {
                field.key: field.type.empty()
                for field in self.struct.fields
                if not field.is_optional
            }
        if self.minimum is not None and self.minimum > 0:
            return self.minimum
        return 0 if self.maximum is None or self.maximum > 0 else self.maximum


class FieldDefinition(Struct, frozen=True, eq=False):
    """A field of a struct, command or event. `key` is its Python name."""

    id: int
    name: str
    key: str
    type: ValueType
    is_optional: bool = False
    is_fabric_sensitive: bool = False


def integer_range(kind: Kind, size: int) -> tuple[int, int]:
    """Return the smallest and largest integer of a kind and width in bytes."""
    if kind is Kind.SIGNED:
        return -(1 << (8 * size - 1)), (1 << (8 * size - 1)) - 1
    return 0, (1 << (8 * size)) - 1


def null_number(type_: ValueType) -> int | None:
    """Return the number that a nullable type gives up, since other encodings mean null by it.

    Spec: Matter Core 1.3 "Nullable"
    """
    if type_.kind is Kind.SIGNED:
        return -(1 << (8 * type_.size - 1))
    if type_.kind in (Kind.UNSIGNED, Kind.BITMAP):
        return (1 << (8 * type_.size)) - 1
    if type_.kind is Kind.ENUM:
        value = (1 << (8 * type_.size)) - 1
        return None if type_.enum and value in type_.enum.values.values() else value
    return None
