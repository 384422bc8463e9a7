"""Types of ZAP XML by name: atomic types, and enums, bitmaps and structs of clusters.

A type belongs to the clusters of its `<cluster code=…/>` children, or without them to all.
Types of the cluster take precedence over those of all clusters.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from evse_node.cluster.definitions.data_type import (
    FABRIC_INDEX_FIELD,
    BitmapDefinition,
    EnumDefinition,
    FieldDefinition,
    Kind,
    StructDefinition,
    Value,
    ValueType,
    integer_range,
    null_number,
    number_range,
    snake_case,
)
from evse_node.cluster.definitions.xml_file import Node

TYPE_TAGS = frozenset({"enum", "bitmap", "struct"})

_INTEGERS = frozenset({Kind.UNSIGNED, Kind.SIGNED})
_SIGNED_NAME = re.compile(r"int\d+s")
_SPECIAL_KINDS = {
    "boolean": Kind.BOOLEAN,
    "single": Kind.FLOAT,
    "double": Kind.FLOAT,
    "octet_string": Kind.OCTETS,
    "long_octet_string": Kind.OCTETS,
    "char_string": Kind.STRING,
    "long_char_string": Kind.STRING,
}
# Names of encodings rather than of types.
_FORM_NAMES = frozenset({"no_data", "unknown", "array", "struct"})

_Scope: TypeAlias = int | None


class TypeScope(Struct):
    """Types that are known while files are read; definitions are created on first use."""

    parent: TypeScope | None = None
    _atomic: dict[str, ValueType] = field(default_factory=dict)
    _nodes: dict[tuple[_Scope, str], Node] = field(default_factory=dict)
    _made: dict[tuple[int, str], ValueType] = field(default_factory=dict)
    _in_progress: set[tuple[int, str]] = field(default_factory=set)
    _taken: dict[str, Node] = field(default_factory=dict)

    def add(self, node: Node) -> None:
        """Add an `<enum>`, `<bitmap>` or `<struct>`. Raises ConfigError for a second one."""
        name = node.required("name")
        codes = [child.required_number("code", 0xFFFF_FFFF) for child in node.all("cluster")]
        for code in codes or (None,):
            clusters = "all clusters" if code is None else f"cluster {code:#06x}"
            node.claim(self._taken, f"type {name} of {clusters}")
            self._nodes[code, name] = node

    def add_atomic(self, node: Node) -> None:
        """Add a `<type>`. Raises ConfigError unless it agrees with an earlier one in size."""
        name = node.required("name")
        if name in _FORM_NAMES:
            return
        made = _atomic(name, node)
        known = self._find_atomic(name)
        if known is None:
            self._atomic[name] = made
        elif made.size != known.size and known.kind not in (Kind.OCTETS, Kind.STRING):
            raise node.error(f"type {name} has size {known.size}, not {made.size}")

    def names(self, cluster: int) -> set[str]:
        """Return the names of the enums, bitmaps and structs of one cluster."""
        own = {name for code, name in self._nodes if code == cluster}
        return own | self.parent.names(cluster) if self.parent else own

    def look_up(self, name: str, cluster: int, node: Node) -> ValueType:
        """Return a type by name, for use at `node` in a cluster. Raises ConfigError."""
        found = self._look_up(name, cluster)
        if found is None:
            raise node.error(f"unknown type {name}")
        return found

    def _look_up(self, name: str, cluster: int) -> ValueType | None:
        for code in (cluster, None):
            if (code, name) in self._nodes:
                # A struct of all clusters is created per cluster, since its fields may have
                # types of the cluster.
                return self._make(self._nodes[code, name], name, cluster)
        if self.parent is not None and (found := self.parent._look_up(name, cluster)):
            return found
        return self._find_atomic(name)

    def _find_atomic(self, name: str) -> ValueType | None:
        found = self._atomic.get(name) or self._atomic.get(name.lower())
        return found or (self.parent._find_atomic(name) if self.parent else None)

    def _make(self, node: Node, name: str, cluster: int) -> ValueType:
        key = (cluster, name)
        if key not in self._made:
            if key in self._in_progress:
                raise node.error(f"struct {name} contains itself")
            self._in_progress.add(key)
            try:
                self._made[key] = self._define(node, name, cluster)
            finally:
                self._in_progress.remove(key)
        return self._made[key]

    def _define(self, node: Node, name: str, cluster: int) -> ValueType:
        if node.tag == "enum":
            enum = _enum(node, name, self._width(node, Kind.ENUM))
            return ValueType(name, Kind.ENUM, enum.size, enum=enum)
        if node.tag == "bitmap":
            bitmap = _bitmap(node, name, self._width(node, Kind.BITMAP))
            return ValueType(name, Kind.BITMAP, bitmap.size, bitmap=bitmap)
        fields = self.fields(node, "item", cluster)
        struct = StructDefinition(name, fields, node.flag("isFabricScoped"))
        return ValueType(name, Kind.STRUCT, struct=struct)

    def _width(self, node: Node, kind: Kind) -> int:
        base_name = node.required("type")
        base = self._find_atomic(base_name)
        if base is None:
            raise node.error(f"unknown type {base_name}")
        # Some enums and bitmaps of upstream are based on plain integers.
        if base.kind not in (kind, Kind.UNSIGNED):
            raise node.error(f"{node.tag} {node.attributes['name']} cannot be a {base_name}")
        return base.size

    def fields(self, parent: Node, tag: str, cluster: int) -> tuple[FieldDefinition, ...]:
        """Return the fields of a struct (`item`), command (`arg`) or event (`field`), by id.

        A field without an id follows the previous one. Raises ConfigError.
        """
        fields: dict[int, FieldDefinition] = {}
        taken: dict[str, Node] = {}
        next_id = 0
        for node in parent.all(tag):
            name = node.required("name")
            key = snake_case(name)
            number = next_id
            for attribute in ("code", "id", "fieldId"):
                if attribute in node.attributes:
                    number = node.required_number(attribute, FABRIC_INDEX_FIELD)
            next_id = number + 1
            node.claim(taken, f"field id {number}", f"field {key}")
            type_ = self.value_type(node, cluster)
            is_optional, is_sensitive = node.flag("optional"), node.flag("isFabricSensitive")
            fields[number] = FieldDefinition(number, name, key, type_, is_optional, is_sensitive)
        return tuple(fields[number] for number in sorted(fields))

    def value_type(self, node: Node, cluster: int) -> ValueType:
        """Return the type of an attribute or field with its constraints.

        A list is `type="array" entryType="X"` or `array="true" type="X"`. Raises ConfigError.
        """
        name = node.required("type")
        is_list = node.flag("array")
        if name.lower() == "array":
            name = node.required("entryType")
            is_list = True
        bare = self.look_up(name, cluster, node)
        nullable = node.flag("isNullable")
        low, high = _length_bounds(node, is_list or bare.kind in (Kind.STRING, Kind.OCTETS))
        if is_list:
            return ValueType(
                name, Kind.LIST, 0, nullable, min_length=low, max_length=high, entry=bare
            )
        is_integer = bare.kind in _INTEGERS
        minimum, maximum = _bounds(node, bare) if is_integer else (bare.minimum, bare.maximum)
        made = replace(
            bare,
            is_nullable=nullable,
            minimum=minimum,
            maximum=maximum,
            min_length=bare.min_length if low is None else low,
            max_length=bare.max_length if high is None else high,
        )
        return bare if made == bare else made


def _atomic(name: str, node: Node) -> ValueType:
    size = node.number("size") or 0
    low, high = node.number("minLength"), node.number("length")
    if name in _SPECIAL_KINDS:
        kind = _SPECIAL_KINDS[name]
    elif name.startswith("enum") or name in ("status", "priority"):
        kind = Kind.ENUM
    elif name.startswith("bitmap"):
        kind = Kind.BITMAP
    elif node.flag("composite") or not size:
        kind = Kind.OCTETS
        if size:
            low = high = size
    elif node.flag("signed") or _SIGNED_NAME.fullmatch(name):
        kind = Kind.SIGNED
    else:
        kind = Kind.UNSIGNED
    if kind in (Kind.OCTETS, Kind.STRING, Kind.BOOLEAN):
        return ValueType(name, kind, min_length=low, max_length=high)
    if not 1 <= size <= 8:
        raise node.error(f"type {name} cannot have size {size}")
    return ValueType(name, kind, size, minimum=node.number("min"), maximum=node.number("max"))


def _enum(node: Node, name: str, size: int) -> EnumDefinition:
    values: dict[str, int] = {}
    taken: dict[str, Node] = {}
    for item in node.all("item"):
        item_name = item.required("name")
        value = item.required_number("value", 256**size - 1)
        item.claim(taken, f"{item_name} of enum {name}", f"value {value:#x} of enum {name}")
        values[item_name] = value
    return EnumDefinition(name, size, MappingProxyType(values))


def _bitmap(node: Node, name: str, size: int) -> BitmapDefinition:
    fields: dict[str, int] = {}
    taken: dict[str, Node] = {}
    used = 0
    for item in node.all("field"):
        field_name = item.required("name")
        mask = item.required_number("mask", 256**size - 1)
        item.claim(taken, f"{field_name} of bitmap {name}")
        if not mask or mask & used:
            raise item.error(f"bitmap {name}: mask {mask:#x} of {field_name} is empty or in use")
        fields[field_name] = mask
        used |= mask
    return BitmapDefinition(name, size, MappingProxyType(fields))


def _signed(node: Node, text: str, what: str, bare: ValueType) -> int:
    """Parse a number. Hexadecimal digits of a signed type are its two's complement."""
    number = node.parse_number(text, what)
    if bare.kind is Kind.SIGNED and text.strip().lower().startswith("0x"):
        width = 1 << (8 * bare.size)
        if width // 2 <= number < width:
            number -= width
    return number


def _bounds(node: Node, bare: ValueType) -> tuple[int | None, int | None]:
    low, high = integer_range(bare.kind, bare.size)
    bounds: list[int | None] = []
    for name, inherited in (("min", bare.minimum), ("max", bare.maximum)):
        text = node.attributes.get(name)
        if text is None:
            bounds.append(inherited)
            continue
        number = _signed(node, text, name, bare)
        if not low <= number <= high:
            raise node.error(f"{name} {text} of type {bare.name} is not in {low} to {high}")
        bounds.append(number)
    minimum, maximum = bounds
    if (low if minimum is None else minimum) > (high if maximum is None else maximum):
        raise node.error(f"min {minimum} is above max {maximum}")
    # Bounds that follow from the width are left out.
    return (None if minimum == low else minimum), (None if maximum == high else maximum)


def _length_bounds(node: Node, has_length: bool) -> tuple[int | None, int | None]:
    if not has_length:
        return None, None
    low = node.number("minLength")
    high = node.number("length")
    if high is None:
        # Upstream has the length of one string in `max`.
        high = node.number("max")
    if (low or 0) < 0 or (high is not None and high < (low or 0)):
        raise node.error(f"length {low or 0} to {high} is empty")
    return low, high


def default_value(node: Node, type_: ValueType) -> tuple[bool, Value]:
    """Return whether an attribute has a default, and the default. Raises ConfigError."""
    text = node.attributes.get("default")
    if text is None:
        return False, None
    if text.strip().lower() == "null" and type_.is_nullable:
        return True, None
    kind = type_.kind
    if kind is Kind.STRING:
        return True, text
    if kind in (Kind.STRUCT, Kind.LIST, Kind.OCTETS) or not text.strip():
        return False, None
    if kind is Kind.BOOLEAN:
        return True, bool(node.number("default")) if "x" in text else node.flag("default")
    if kind is Kind.FLOAT:
        try:
            return True, float(text)
        except ValueError:
            raise node.error(f"default {text!r} is not a number") from None
    named = type_.enum.values if type_.enum else type_.bitmap.fields if type_.bitmap else {}
    if text in named:
        return True, named[text]
    number = _signed(node, text, "default", type_)
    if type_.is_nullable and number == null_number(type_):
        # ZAP's older notation of null.
        return True, None
    low, high = number_range(type_)
    if not low <= number <= high:
        raise node.error(f"default {text} of type {type_.name} is not in {low} to {high}")
    return True, number
