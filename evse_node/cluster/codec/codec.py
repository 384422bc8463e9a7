"""Codecs between cluster values and TLV: one compiled function per type and direction.

Decoding is strict. A wrong TLV type (an unsigned element for a signed type, null for a type
that is not nullable, a struct without a required field) is INVALID_DATA_TYPE in an attribute
and INVALID_COMMAND in a command. A violated constraint (range, length, unknown enum value,
undefined bitmap bit) is CONSTRAINT_ERROR. Unknown fields of structs are ignored.

Encoding does not check constraints, because the values are the node's own.

Spec: Matter Core 1.3 "Data Types", "Constraint"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from functools import cache
from typing import TypeAlias, cast

from msgspec import Struct

from evse_node.cluster.codec import decoders, encoders
from evse_node.cluster.codec.decoders import Decoder, FieldsDecoder
from evse_node.cluster.codec.encoders import Encoder, FieldsEncoder
from evse_node.cluster.definitions.definition import (
    AttributeDefinition,
    CommandDefinition,
    EventDefinition,
    FieldDefinition,
    Kind,
    StructDefinition,
    Value,
    ValueType,
)
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import TagKey, TlvValue, Writer

_NOTHING: frozenset[str] = frozenset()


class Codec(Struct, frozen=True, eq=False):
    """Encoder and decoder for values of one type.

    `redacted` omits the fabric-sensitive fields of structs, for readers of other fabrics.
    `entry` is the codec of a list's entries.
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


class FieldsCodec(Struct, frozen=True, eq=False):
    """Encoder and decoder for the fields of a command or event: a TLV structure."""

    encode: FieldsEncoder
    decode: FieldsDecoder

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
    """Return the codec of a command's fields. Absent CommandFields decode like empty ones.

    The cluster's server checks the constraints (range, length or number of entries, enum
    values, bitmap bits) of fields whose path ("ChargingTargetSchedules.ChargingTargets", by
    the specification's names) is in `unchecked` or in the definition's `unchecked`. TLV type,
    integer width and the content of such a field are checked here.
    """
    compiler = _Compiler(Status.INVALID_COMMAND, unchecked | command.unchecked)
    return compiler.fields(command.fields, command.name)


@cache
def event_codec(event: EventDefinition) -> FieldsCodec:
    """Return the codec of an event's fields, with a fabric index if fabric-sensitive."""
    compiler = _Compiler(Status.INVALID_DATA_TYPE, _NOTHING)
    return compiler.fields(event.fields, event.name, event.is_fabric_sensitive)


_FieldCodec: TypeAlias = tuple[FieldDefinition, Codec]


class _Compiler:
    """Compiler of codecs. `malformed` is the status for a wrong TLV type."""

    def __init__(self, malformed: Status, unchecked: Set[str]) -> None:
        self.malformed = malformed
        self.unchecked = unchecked
        self.structs: dict[tuple[StructDefinition, str], Codec] = {}

    def codec(self, type_: ValueType, path: str, is_entry: bool = False) -> Codec:
        """Return the codec for a type at `path`, the names of the fields that lead to it.

        The entries of a list have its path, but are checked even if the list is not.
        """
        is_checked = is_entry or path not in self.unchecked
        kind, malformed = type_.kind, self.malformed
        if kind is Kind.LIST:
            assert type_.entry is not None
            entry = self.codec(type_.entry, path, is_entry=True)
            encode = redacted = encoders.array(entry.encode)
            if entry.redacted is not entry.encode:
                redacted = encoders.array(entry.redacted)
            decode = decoders.array(entry.decode, type_, malformed, is_checked)
            made = Codec(encode, decode, redacted, entry)
        elif kind is Kind.STRUCT:
            assert type_.struct is not None
            made = self.struct_codec(type_.struct, path)
        elif kind is Kind.STRING:
            made = _plain(Writer.utf8, decoders.string(type_, malformed, is_checked))
        elif kind is Kind.OCTETS:
            made = _plain(Writer.octets, decoders.octets(type_, malformed, is_checked))
        elif kind is Kind.BOOLEAN:
            made = _plain(encoders.boolean, decoders.boolean(malformed))
        elif kind is Kind.FLOAT:
            write = Writer.float32 if type_.size == 4 else Writer.float64
            made = _plain(write, decoders.floating(malformed))
        elif kind is Kind.SIGNED:
            made = _plain(Writer.sint, decoders.signed(type_, malformed, is_checked))
        else:
            made = _plain(Writer.uint, decoders.unsigned(type_, malformed, is_checked))
        return _nullable(made) if type_.is_nullable else made

    def struct_codec(self, struct: StructDefinition, path: str) -> Codec:
        key = (struct, path)
        if key not in self.structs:
            fields = self.field_codecs(struct.fields, path)
            scoped = struct.is_fabric_scoped
            encode = redacted = _fields_encoder(fields, struct.name, scoped)
            public = [field for field in fields if not field[0].is_fabric_sensitive]
            if len(public) < len(fields):
                redacted = _fields_encoder(public, struct.name, scoped, is_part=True)
            decode = _fields_decoder(fields, self.malformed)
            # The value of a struct is a mapping; another one fails in the encoder.
            self.structs[key] = Codec(cast("Encoder", encode), decode, cast("Encoder", redacted))
        return self.structs[key]

    def field_codecs(self, fields: Iterable[FieldDefinition], path: str) -> list[_FieldCodec]:
        return [
            (field, self.codec(field.type, f"{path}.{field.name}" if path else field.name))
            for field in fields
        ]

    def fields(
        self, fields: Iterable[FieldDefinition], name: str, is_fabric_scoped: bool = False
    ) -> FieldsCodec:
        codecs = self.field_codecs(fields, "")
        decode = _fields_decoder(codecs, self.malformed)

        def decode_or_none(value: TlvValue) -> dict[str, Value]:
            return decode({} if value is None else value)

        return FieldsCodec(_fields_encoder(codecs, name, is_fabric_scoped), decode_or_none)


def _fields_encoder(
    fields: Iterable[_FieldCodec], name: str, is_fabric_scoped: bool, *, is_part: bool = False
) -> FieldsEncoder:
    return encoders.structure(
        [(field, codec.encode) for field, codec in fields],
        name,
        is_fabric_scoped=is_fabric_scoped,
        is_part=is_part,
    )


def _fields_decoder(fields: Iterable[_FieldCodec], malformed: Status) -> FieldsDecoder:
    return decoders.structure([(field, codec.decode) for field, codec in fields], malformed)


def _plain(write: object, decoder: Decoder) -> Codec:
    # Each method of Writer accepts one type of value, and raises TypeError for others.
    encoder = cast("Encoder", write)
    return Codec(encoder, decoder, encoder)


def _nullable(codec: Codec) -> Codec:
    encode = redacted = encoders.nullable(codec.encode)
    if codec.redacted is not codec.encode:
        redacted = encoders.nullable(codec.redacted)
    return Codec(encode, decoders.nullable(codec.decode), redacted, codec.entry)
