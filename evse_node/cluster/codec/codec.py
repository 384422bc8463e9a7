"""Values to TLV and back, as their types say: one compiled function per type and direction.

Decoding is strict. What has the wrong TLV type (an unsigned element for a signed type,
null where none may be, a struct without a required field) is malformed: INVALID_DATA_TYPE
in an attribute, INVALID_COMMAND in a command. What breaks a constraint (range, length,
unknown enum value, undefined bitmap bit) is a CONSTRAINT_ERROR. Unknown fields of structs
are passed over.

Encoding trusts the node's own values, and does not look at constraints; `Codec.check` does.

Spec: Matter Core 1.3 "Data Types", "Constraint"
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from functools import cache
from typing import cast

from msgspec import Struct

from evse_node.cluster.codec.decode import (
    Decoder,
    FieldsDecoder,
    boolean_decoder,
    fields_decoder,
    float_decoder,
    list_decoder,
    nullable_decoder,
    octets_decoder,
    signed_decoder,
    string_decoder,
    unsigned_decoder,
)
from evse_node.cluster.codec.encode import (
    FABRIC_INDEX,
    Encoder,
    FieldsEncoder,
    encode_boolean,
    fields_encoder,
    list_encoder,
    nullable_encoder,
)
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
from evse_node.matter.tlv import TagKey, TlvValue, Writer, decode

__all__ = [
    "FABRIC_INDEX",
    "Codec",
    "FieldsCodec",
    "attribute_codec",
    "command_codec",
    "event_codec",
]

_NOTHING: frozenset[str] = frozenset()


class Codec(Struct, frozen=True, eq=False):
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


class FieldsCodec(Struct, frozen=True, eq=False):
    """Encodes and decodes the fields of a command or event: a TLV structure."""

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


class _Compiler:
    """Makes codecs. `malformed` is the status for a wrong TLV type."""

    def __init__(self, malformed: Status, unchecked: Set[str]) -> None:
        self.malformed = malformed
        self.unchecked = unchecked
        self.structs: dict[tuple[StructDefinition, str], Codec] = {}

    def codec(self, type_: ValueType, path: str, is_entry: bool = False) -> Codec:
        """Return the codec for a type at `path`, the names of the fields that lead to it.

        The entries of a list share its path; that path leaves only the list unchecked.
        """
        is_checked = is_entry or path not in self.unchecked
        kind, malformed = type_.kind, self.malformed
        if kind is Kind.LIST:
            assert type_.entry is not None
            entry = self.codec(type_.entry, path, is_entry=True)
            encode = redacted = list_encoder(entry.encode)
            if entry.redacted is not entry.encode:
                redacted = list_encoder(entry.redacted)
            decode = list_decoder(entry.decode, type_, malformed, is_checked)
            made = Codec(encode, decode, redacted, entry)
        elif kind is Kind.STRUCT:
            assert type_.struct is not None
            made = self.struct_codec(type_.struct, path)
        elif kind is Kind.STRING:
            made = _plain(Writer.utf8, string_decoder(type_, malformed, is_checked))
        elif kind is Kind.OCTETS:
            made = _plain(Writer.octets, octets_decoder(type_, malformed, is_checked))
        elif kind is Kind.BOOLEAN:
            made = _plain(encode_boolean, boolean_decoder(malformed))
        elif kind is Kind.FLOAT:
            write = Writer.float32 if type_.size == 4 else Writer.float64
            made = _plain(write, float_decoder(malformed))
        elif kind is Kind.SIGNED:
            made = _plain(Writer.sint, signed_decoder(type_, malformed, is_checked))
        else:
            made = _plain(Writer.uint, unsigned_decoder(type_, malformed, is_checked))
        return _nullable(made) if type_.is_nullable else made

    def struct_codec(self, struct: StructDefinition, path: str) -> Codec:
        key = (struct, path)
        if key not in self.structs:
            fields = self.field_codecs(struct.fields, path)
            encode = redacted = fields_encoder(
                [(field, codec.encode) for field, codec in fields],
                struct.name,
                is_fabric_scoped=struct.is_fabric_scoped,
            )
            public = [field for field in fields if not field[0].is_fabric_sensitive]
            if len(public) < len(fields):
                redacted = fields_encoder(
                    [(field, codec.encode) for field, codec in public],
                    struct.name,
                    is_fabric_scoped=struct.is_fabric_scoped,
                    is_part=True,
                )
            decoder = fields_decoder(
                [(field, codec.decode) for field, codec in fields], self.malformed
            )
            # A struct's value is a mapping; another one fails in the encoder.
            self.structs[key] = Codec(cast("Encoder", encode), decoder, cast("Encoder", redacted))
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
        decode_fields = fields_decoder(
            [(field, codec.decode) for field, codec in codecs], self.malformed
        )

        def decode_or_none(value: TlvValue) -> dict[str, Value]:
            return decode_fields({} if value is None else value)

        encode_fields = fields_encoder(
            [(field, codec.encode) for field, codec in codecs],
            name,
            is_fabric_scoped=is_fabric_scoped,
        )
        return FieldsCodec(encode_fields, decode_or_none)


def _plain(write: object, decoder: Decoder) -> Codec:
    # Writer's methods take one type of value each; a value of another raises TypeError there.
    encoder = cast("Encoder", write)
    return Codec(encoder, decoder, encoder)


def _nullable(codec: Codec) -> Codec:
    encode = redacted = nullable_encoder(codec.encode)
    if codec.redacted is not codec.encode:
        redacted = nullable_encoder(codec.redacted)
    return Codec(encode, nullable_decoder(codec.decode), redacted, codec.entry)
