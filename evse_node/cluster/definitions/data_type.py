"""Types of values with their encoding and constraints, and Python names of elements.

Spec: Matter Core 1.3 "Data Types"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import lru_cache, reduce
from operator import or_
from typing import Final, TypeAlias

from msgspec import Struct

# The value of an attribute or field. Enums and bitmaps are ints, a struct is a mapping
# keyed by snake_case field names in which absent optional fields are missing.
Value: TypeAlias = "bool | int | float | str | bytes | Sequence[Value] | Mapping[str, Value] | None"

# Id and key of the field that fabric-scoped structs have in addition to their definition.
FABRIC_INDEX_FIELD: Final = 254
FABRIC_INDEX: Final = "fabric_index"

# Words of a name, in the order in which the alternatives are tried:
#   SoC, IPv4, IPv6   one word in mixed case
#   NOCs, IDs         an acronym's plural
#   ESA, V2X, WPA3    an acronym, up to the capital that starts the next word
#   Charge, Key0      a word with its number ("Rate10M" is one word)
#   12hr, 2G4         anything that starts with a digit
_WORD = re.compile(
    r"SoC(?![a-z])|IPv[46]"
    r"|[A-Z]{2,}s(?![a-z])"
    r"|[A-Z]+(?![a-z])(?:\d+[A-Z]*(?![a-z]))?"
    r"|[A-Z]?[a-z]+(?:\d+[A-Z]*(?![a-z]))?"
    r"|\d[0-9A-Za-z]*"
)


class Kind(Enum):
    """Encoding of a value."""

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


_EMPTY: Final[Mapping[Kind, Callable[[], Value]]] = {
    Kind.BOOLEAN: bool,
    Kind.FLOAT: float,
    Kind.STRING: str,
    Kind.OCTETS: bytes,
    Kind.LIST: list,
}


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
        return reduce(or_, self.fields.values(), 0)


class StructDefinition(Struct, frozen=True, eq=False):
    """A structure. `fields` are in order of id, without the fabric index (field 254)."""

    name: str
    fields: tuple[FieldDefinition, ...]
    is_fabric_scoped: bool = False


class ValueType(Struct, frozen=True):
    """A type with its constraints.

    `name` is the XML's type name; `size` the width in bytes of a number, enum or bitmap.
    `minimum` and `maximum` bound a number (None: what its width allows), `min_length`
    and `max_length` count the bytes of a string or the entries of a list. `kind` determines
    which of `enum`, `bitmap`, `struct` and `entry` is set; an enum or bitmap without a
    definition accepts any value of its width.
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
        """Return null, an empty value, or the number nearest to zero."""
        if self.is_nullable:
            return None
        if make := _EMPTY.get(self.kind):
            return make()
        if self.enum is not None:
            return min(self.enum.values.values(), default=0)
        if self.struct is not None:
            fields = (field for field in self.struct.fields if not field.is_optional)
            return {field.key: field.type.empty() for field in fields}
        low, high = number_range(self)
        return min(max(0, low), high)


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
    """Return the number that a nullable type excludes, because other encodings use it for null.

    Spec: Matter Core 1.3 "Nullable"
    """
    low, high = integer_range(type_.kind, type_.size)
    if type_.kind is Kind.SIGNED:
        return low
    if type_.kind is Kind.ENUM and type_.enum and high in type_.enum.values.values():
        return None
    return high if type_.kind in (Kind.UNSIGNED, Kind.BITMAP, Kind.ENUM) else None


def number_range(type_: ValueType, is_checked: bool = True) -> tuple[int, int]:
    """Return the smallest and largest number of a type.

    Without `is_checked`, the width and null limit it, but not `minimum` and `maximum`.
    """
    low, high = integer_range(type_.kind, type_.size)
    if type_.is_nullable and (null := null_number(type_)) is not None:
        low, high = (low + 1, high) if null == low else (low, high - 1)
    if is_checked:
        low = low if type_.minimum is None else max(low, type_.minimum)
        high = high if type_.maximum is None else min(high, type_.maximum)
    return low, high


@lru_cache(maxsize=4096)
def snake_case(name: str) -> str:
    """Return the Python name of an attribute, field, command, event or cluster.

    `NextChargeTargetSoC` is `next_charge_target_soc`, `SupportedWiFiBands`
    `supported_wi_fi_bands`. All but letters and digits separates words.
    """
    return "_".join(_WORD.findall(name)).lower()
