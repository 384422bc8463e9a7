"""Values to TLV and back, as their types say: one compiled function per type and direction.

A decoder is strict. What has the wrong TLV type (an unsigned element for a signed type,
null where none may be, a struct without a required field) is malformed: INVALID_DATA_TYPE
in an attribute, INVALID_COMMAND in a command. What breaks a constraint (range, length,
unknown enum value, undefined bitmap bit) is a CONSTRAINT_ERROR. Unknown fields of structs
are passed over.

An encoder trusts the node's own values: one that does not fit raises TypeError, ValueError
or OverflowError, but constraints are not looked at; `Codec.check` does that.

Spec: Matter Core 1.3 "Data Types", "Constraint"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias, cast

from evse_node.cluster.data_type import integer_range
from evse_node.cluster.definition import (
    FABRIC_INDEX_FIELD,
    AttributeDefinition,
    CommandDefinition,
    EventDefinition,
    FieldDefinition,
    Kind,
    StructDefinition,
    Value,
    ValueType,
)
from evse_node.errors import StatusError
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import Float32, SignedInt, TagKey, TlvValue, Writer, decode

FABRIC_INDEX: Final = "fabric_index"

Encoder: TypeAlias = Callable[[Writer, TagKey | None, Value], None]
Decoder: TypeAlias = Callable[[TlvValue], Value]

_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Codec:
    """Encodes and decodes the values of one type.

    `redacted` encodes like `encode`, without the fabric-sensitive fields of a struct (for
    readers of other fabrics). `entry` is the codec of a list's entries.
    """

    encode: Encoder
    decode: Decoder
    redacted: Encoder
    entry: Codec | None = None

    def encoded(self, value: Value, tag: TagKey | None = None) -> bytes:
        """Return the value as one TLV element."""
        writer = Writer()
        self.encode(writer, tag, value)
        return writer.getvalue()

    def check(self, value: Value) -> None:
        """Raise StatusError when one of the node's own values breaks a constraint."""
        self.decode(decode(self.encoded(value)))


@dataclass(frozen=True, slots=True, eq=False)
class FieldsCodec:
    """Encodes and decodes the fields of a command or event: a TLV structure."""

    encode: Callable[[Writer, TagKey | None, Mapping[str, Value]], None]
    decode: Callable[[TlvValue], dict[str, Value]]

    def encoded(self, values: Mapping[str, Value], tag: TagKey | None = None) -> bytes:
        """Return the fields as one TLV structure."""
        writer = Writer()
        self.encode(writer, tag, values)
        return writer.getvalue()


@cache
def attribute_codec(attribute: AttributeDefinition) -> Codec:
    """Return the codec of an attribute's value."""
    return _Compiler(Status.INVALID_DATA_TYPE, _NOTHING).codec(attribute.type, "")


@cache
def command_codec(command: CommandDefinition, unchecked: frozenset[str] = _NOTHING) -> FieldsCodec:
    """Return the codec of a command's fields; no CommandFields at all decode like none in it.

    The constraints of fields whose path ("ChargingTargetSchedules.ChargingTargets", by the
    specification's names) is in `unchecked` or in the definition's own `unchecked` are left
    to the cluster's server: its range, length or number of entries, enum values and bitmap
    bits; not its TLV type and integer width, and not what is inside it.
    """
    compiler = _Compiler(Status.INVALID_COMMAND, unchecked | command.unchecked)
    return compiler.fields(command.fields, command.name)


@cache
def event_codec(event: EventDefinition) -> FieldsCodec:
    """Return the codec of an event's fields; a fabric-sensitive event has a fabric index too."""
    compiler = _Compiler(Status.INVALID_DATA_TYPE, _NOTHING)
    return compiler.fields(event.fields, event.name, event.is_fabric_sensitive)


def _constraint(reason: str) -> StatusError:
    return StatusError(Status.CONSTRAINT_ERROR, reason=reason)


class _Compiler:
    """Makes codecs. `malformed` is the status for a wrong TLV type."""

    def __init__(self, malformed: Status, unchecked: Set[str]) -> None:
        self.malformed = malformed
        self.unchecked = unchecked
        self.structs: dict[tuple[StructDefinition, str], Codec] = {}

    def wrong_type(self, wanted: str) -> StatusError:
        return StatusError(self.malformed, reason=f"not {wanted}")

    def codec(self, type_: ValueType, path: str) -> Codec:
        """Return the codec for a type at `path`, the names of the fields that lead to it."""
        is_checked = path not in self.unchecked
        kind = type_.kind
        if kind is Kind.LIST:
            made = self.list_codec(type_, path, is_checked)
        elif kind is Kind.STRUCT:
            assert type_.struct is not None
            made = self.struct_codec(type_.struct, path)
        elif kind is Kind.STRING:
            made = _plain(Writer.utf8, self.string_decoder(type_, is_checked))
        elif kind is Kind.OCTETS:
            made = _plain(Writer.octets, self.octets_decoder(type_, is_checked))
        elif kind is Kind.BOOLEAN:
            made = Codec(_encode_boolean, self.boolean_decoder(), _encode_boolean)
        elif kind is Kind.FLOAT:
            write = Writer.float32 if type_.size == 4 else Writer.float64
            made = _plain(write, self.float_decoder())
        elif kind is Kind.SIGNED:
            made = _plain(Writer.sint, self.signed_decoder(type_, is_checked))
        else:
            made = _plain(Writer.uint, self.unsigned_decoder(type_, is_checked))
        return _nullable(made) if type_.is_nullable else made

    def unsigned_decoder(self, type_: ValueType, is_checked: bool) -> Decoder:
        wrong_type = self.wrong_type
        low, high = _range(type_, is_checked)
        enum = type_.enum if is_checked else None
        bitmap = type_.bitmap if is_checked else None
        members = frozenset(enum.values.values()) if enum else frozenset()
        undefined = ~bitmap.mask if bitmap else 0

        def decode_unsigned(value: TlvValue) -> Value:
            if type(value) is not int:
                raise wrong_type("an unsigned integer")
            if not low <= value <= high:
                raise _constraint(f"{value} is not in {low} to {high}")
            return value

        def decode_enum(value: TlvValue) -> Value:
            if type(value) is not int:
                raise wrong_type("an unsigned integer")
            if value not in members:
                raise _constraint(f"{value} is not a value of {type_.name}")
            return value

        def decode_bitmap(value: TlvValue) -> Value:
            if type(value) is not int:
                raise wrong_type("an unsigned integer")
            if value & undefined:
                raise _constraint(f"{value:#x} has bits that {type_.name} has not")
            return value

        if enum:
            return decode_enum
        return decode_bitmap if bitmap else decode_unsigned

    def signed_decoder(self, type_: ValueType, is_checked: bool) -> Decoder:
        wrong_type = self.wrong_type
        low, high = _range(type_, is_checked)

        def decode_signed(value: TlvValue) -> Value:
            if type(value) is not SignedInt:
                raise wrong_type("a signed integer")
            if not low <= value <= high:
                raise _constraint(f"{value} is not in {low} to {high}")
            return int(value)

        return decode_signed

    def boolean_decoder(self) -> Decoder:
        wrong_type = self.wrong_type

        def decode_boolean(value: TlvValue) -> Value:
            if type(value) is not bool:
                raise wrong_type("a boolean")
            return value

        return decode_boolean

    def float_decoder(self) -> Decoder:
        wrong_type = self.wrong_type

        def decode_float(value: TlvValue) -> Value:
            if type(value) is not float and type(value) is not Float32:
                raise wrong_type("a float")
            return float(value)

        return decode_float

    def string_decoder(self, type_: ValueType, is_checked: bool) -> Decoder:
        wrong_type = self.wrong_type
        low, high = _length_range(type_, is_checked)

        def decode_string(value: TlvValue) -> Value:
            if type(value) is not str:
                raise wrong_type("a string")
            if "\x1f" in value:
                # What follows the separator names a translation, which no cluster here has.
                value = value[: value.index("\x1f")]
            length = len(value)
            if length * 4 > high or length < low:
                length = len(value.encode())
                if not low <= length <= high:
                    raise _constraint(f"length {length} is not in {low} to {high}")
            return value

        return decode_string

    def octets_decoder(self, type_: ValueType, is_checked: bool) -> Decoder:
        wrong_type = self.wrong_type
        low, high = _length_range(type_, is_checked)

        def decode_octets(value: TlvValue) -> Value:
            if type(value) is not bytes:
                raise wrong_type("an octet string")
            if not low <= len(value) <= high:
                raise _constraint(f"length {len(value)} is not in {low} to {high}")
            return value

        return decode_octets

    def list_codec(self, type_: ValueType, path: str, is_checked: bool) -> Codec:
        wrong_type = self.wrong_type
        assert type_.entry is not None
        entry = self.codec(type_.entry, f"{path}[]")
        encode_entry, decode_entry, redacted_entry = entry.encode, entry.decode, entry.redacted
        low, high = _length_range(type_, is_checked)

        def encode_list(writer: Writer, tag: TagKey | None, value: Value) -> None:
            if not isinstance(value, list | tuple):
                raise TypeError(f"{value!r} is not a list")
            writer.start_array(tag)
            for item in value:
                encode_entry(writer, None, item)
            writer.end()

        def redact_list(writer: Writer, tag: TagKey | None, value: Value) -> None:
            if not isinstance(value, list | tuple):
                raise TypeError(f"{value!r} is not a list")
            writer.start_array(tag)
            for item in value:
                redacted_entry(writer, None, item)
            writer.end()

        def decode_list(value: TlvValue) -> Value:
            if type(value) is not list:
                raise wrong_type("an array")
            if not low <= len(value) <= high:
                raise _constraint(f"{len(value)} entries are not in {low} to {high}")
            return [decode_entry(item) for item in cast("list[TlvValue]", value)]

        return Codec(encode_list, decode_list, redact_list, entry)

    def struct_codec(self, struct: StructDefinition, path: str) -> Codec:
        path = path.replace("[]", "")
        key = (struct, path)
        if key not in self.structs:
            fields = self.field_codecs(struct.fields, path)
            encode_fields = _fields_encoder(fields, struct.name, struct.is_fabric_scoped)
            public = [field for field in fields if not field[0].is_fabric_sensitive]
            redacted = encode_fields
            if len(public) < len(fields):
                redacted = _fields_encoder(
                    public, struct.name, struct.is_fabric_scoped, is_part=True
                )
            self.structs[key] = Codec(
                cast("Encoder", encode_fields),
                self.fields_decoder(fields),
                cast("Encoder", redacted),
            )
        return self.structs[key]

    def field_codecs(
        self, fields: tuple[FieldDefinition, ...], path: str
    ) -> list[tuple[FieldDefinition, Codec]]:
        return [
            (field, self.codec(field.type, f"{path}.{field.name}" if path else field.name))
            for field in fields
        ]

    def fields(
        self, fields: tuple[FieldDefinition, ...], name: str, is_fabric_scoped: bool = False
    ) -> FieldsCodec:
        codecs = self.field_codecs(fields, "")
        decode_fields = self.fields_decoder(codecs)

        def decode_or_none(value: TlvValue) -> dict[str, Value]:
            return decode_fields({} if value is None else value)

        return FieldsCodec(_fields_encoder(codecs, name, is_fabric_scoped), decode_or_none)

    def fields_decoder(
        self, fields: list[tuple[FieldDefinition, Codec]]
    ) -> Callable[[TlvValue], dict[str, Value]]:
        wrong_type = self.wrong_type
        malformed = self.malformed
        table = [
            (field.id, field.key, codec.decode, not field.is_optional) for field, codec in fields
        ]

        def decode_fields(value: TlvValue) -> dict[str, Value]:
            if type(value) is not dict:
                raise wrong_type("a structure")
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


def _plain(write: object, decoder: Decoder) -> Codec:
    # Writer's methods take one type of value each; a value of another raises TypeError there.
    encoder = cast("Encoder", write)
    return Codec(encoder, decoder, encoder)


def _encode_boolean(writer: Writer, tag: TagKey | None, value: Value) -> None:
    if value is not True and value is not False:
        raise TypeError(f"{value!r} is not a boolean")
    writer.boolean(tag, value)


def _nullable(codec: Codec) -> Codec:
    def optional(encode_value: Encoder) -> Encoder:
        def encode_nullable(writer: Writer, tag: TagKey | None, value: Value) -> None:
            if value is None:
                writer.null(tag)
            else:
                encode_value(writer, tag, value)

        return encode_nullable

    decode_value = codec.decode

    def decode_nullable(value: TlvValue) -> Value:
        return None if value is None else decode_value(value)

    encode = optional(codec.encode)
    redacted = encode if codec.redacted is codec.encode else optional(codec.redacted)
    return Codec(encode, decode_nullable, redacted, codec.entry)


def _range(type_: ValueType, is_checked: bool) -> tuple[int, int]:
    low, high = integer_range(type_.kind, type_.size)
    if type_.is_nullable:
        # The number that other encodings use for null is not a value.
        if type_.kind is Kind.SIGNED:
            low += 1
        else:
            high -= 1
    if is_checked:
        low = max(low, low if type_.minimum is None else type_.minimum)
        high = min(high, high if type_.maximum is None else type_.maximum)
    return low, high


_NO_LIMIT = 0xFFFF_FFFF


def _length_range(type_: ValueType, is_checked: bool) -> tuple[int, int]:
    if not is_checked:
        return 0, _NO_LIMIT
    return type_.min_length or 0, _NO_LIMIT if type_.max_length is None else type_.max_length


def _fields_encoder(
    fields: list[tuple[FieldDefinition, Codec]],
    name: str,
    is_fabric_scoped: bool,
    is_part: bool = False,
) -> Callable[[Writer, TagKey | None, Mapping[str, Value]], None]:
    """Return the encoder of a structure; `is_part` passes over values of other fields."""
    table = [
        (field.id, field.key, codec.encode, field.is_optional and not field.type.is_nullable)
        for field, codec in fields
    ]
    required = frozenset(field.key for field, _ in fields if not field.is_optional)
    known = frozenset(field.key for field, _ in fields)
    if is_fabric_scoped:
        known |= {FABRIC_INDEX}

    def encode_fields(writer: Writer, tag: TagKey | None, value: Mapping[str, Value]) -> None:
        if not required <= value.keys():
            missing = ", ".join(sorted(required - value.keys()))
            raise ValueError(f"{name} lacks {missing}")
        if not is_part and not value.keys() <= known:
            unknown = ", ".join(sorted(value.keys() - known))
            raise ValueError(f"{name} has no {unknown}")
        writer.start_structure(tag)
        for number, key, encode_field, none_is_absent in table:
            if key in value:
                member = value[key]
                if member is not None or not none_is_absent:
                    encode_field(writer, number, member)
        if is_fabric_scoped and (index := value.get(FABRIC_INDEX)) is not None:
            assert isinstance(index, int)
            writer.uint(FABRIC_INDEX_FIELD, index)
        writer.end()

    return encode_fields
