"""Tag-length-value encoding.

Decoded elements are plain Python values: `int` for unsigned and `SignedInt` for
signed integers, `bool`, `float`, `str`, `bytes`, `None`, `dict` for a structure
(keyed by context tag, or by `Tag` for profile tags), `list` for an array, and
`TlvList` for a list, whose members keep their order and may repeat a tag.

Spec: Matter Core 1.3, Appendix A "Tag-length-value (TLV) Encoding Format"
"""

from __future__ import annotations

import struct
from typing import NamedTuple, TypeAlias

from evse_node.errors import DecodeError

MAX_DEPTH = 16
MAX_SIZE = 64 * 1024


class SignedInt(int):
    """An integer that is, or came from, a signed TLV element."""

    __slots__ = ()


class Float32(float):
    """A float that is encoded with single precision."""

    __slots__ = ()


class Tag(NamedTuple):
    """A profile tag. `vendor` and `profile` are None for an implicit profile."""

    number: int
    vendor: int | None = None
    profile: int | None = None


TagKey: TypeAlias = int | Tag
TlvValue: TypeAlias = (
    "bool | int | float | str | bytes | dict[TagKey, TlvValue] | list[TlvValue] | TlvList | None"
)


class TlvList(list[tuple["TagKey | None", "TlvValue"]]):
    """A TLV list: ordered (tag, value) members; tags may repeat or be absent (None)."""

    __slots__ = ()

    def first(self, tag: TagKey) -> TlvValue:
        """Return the first member with `tag`, or None."""
        for member_tag, value in self:
            if member_tag == tag:
                return value
        return None


_END = 0x18
_TAG_SIZES = (0, 1, 2, 4, 2, 4, 6, 8)
_INT_FORMATS = ("<b", "<h", "<i", "<q", "<B", "<H", "<I", "<Q")
_UNPACK_INT = tuple(struct.Struct(fmt).unpack_from for fmt in _INT_FORMATS)
_INT_SIZES = (1, 2, 4, 8, 1, 2, 4, 8)
_LENGTH_SIZES = (1, 2, 4, 8)
_UNPACK_F32 = struct.Struct("<f").unpack_from
_UNPACK_F64 = struct.Struct("<d").unpack_from


def decode(data: bytes | memoryview, max_depth: int = MAX_DEPTH) -> TlvValue:
    """Decode one anonymous element that fills `data` completely.

    Raises DecodeError for bytes that are truncated, left over, nested deeper than
    `max_depth` containers, larger than MAX_SIZE, or not well formed.
    """
    tag, value, end = decode_element(data, 0, max_depth)
    if tag is not None:
        raise DecodeError("outermost element has a tag")
    if end != len(data):
        raise DecodeError(f"{len(data) - end} bytes after the outermost element")
    return value


def decode_struct(data: bytes | memoryview, max_depth: int = MAX_DEPTH) -> dict[TagKey, TlvValue]:
    """Decode `data` like `decode`, and insist that it is a structure."""
    value = decode(data, max_depth)
    if not isinstance(value, dict):
        raise DecodeError("not a structure")
    return value


def decode_element(
    data: bytes | memoryview, position: int, max_depth: int = MAX_DEPTH
) -> tuple[TagKey | None, TlvValue, int]:
    """Decode the element at `position`; return its tag, its value and where it ends."""
    if len(data) > MAX_SIZE:
        raise DecodeError(f"{len(data)} bytes exceed {MAX_SIZE}")
    buffer = data if isinstance(data, bytes) else bytes(data)
    try:
        tag, value, end = _decode(buffer, position, max_depth)
    except (struct.error, IndexError):
        raise DecodeError("truncated") from None
    except UnicodeDecodeError:
        raise DecodeError("string is not UTF-8") from None
    if value is _END_OF_CONTAINER:
        raise DecodeError("end of container outside a container")
    return tag, value, end


# Stands for the end-of-container element inside _decode; never leaves this module.
_END_OF_CONTAINER: TlvValue = TlvList()


def _decode(data: bytes, position: int, depth: int) -> tuple[TagKey | None, TlvValue, int]:
    control = data[position]
    position += 1
    kind = control & 0x1F
    form = control >> 5
    tag: TagKey | None
    if form == 1:
        tag = data[position]
        position += 1
    elif form == 0:
        tag = None
    else:
        tag, position = _decode_profile_tag(data, position, form)

    if kind < 4:
        return (
            tag,
            SignedInt(_UNPACK_INT[kind](data, position)[0]),
            position + _INT_SIZES[kind],
        )
    if kind < 8:
        return tag, _UNPACK_INT[kind](data, position)[0], position + _INT_SIZES[kind]
    if kind < 10:
        return tag, kind == 9, position
    if kind == 10:
        return tag, Float32(_UNPACK_F32(data, position)[0]), position + 4
    if kind == 11:
        return tag, _UNPACK_F64(data, position)[0], position + 8
    if kind < 20:
        size = _LENGTH_SIZES[kind & 3]
        length = int.from_bytes(data[position : position + size], "little")
        start = position + size
        end = start + length
        if end > len(data):
            raise DecodeError("string runs past the end")
        raw = data[start:end]
        return tag, (raw.decode() if kind < 16 else raw), end
    if kind == 20:
        return tag, None, position
    if kind > _END:
        raise DecodeError(f"reserved element type 0x{kind:02X}")
    if kind == _END:
        if form:
            raise DecodeError("end of container has a tag")
        return None, _END_OF_CONTAINER, position
    if depth <= 0:
        raise DecodeError("nested too deeply")
    return _decode_container(data, position, depth - 1, kind, tag)


def _decode_profile_tag(data: bytes, position: int, form: int) -> tuple[Tag, int]:
    size = _TAG_SIZES[form]
    raw = data[position : position + size]
    if len(raw) != size:
        raise DecodeError("truncated tag")
    if form < 6:
        # Common (2, 3) and implicit (4, 5) profile.
        number = int.from_bytes(raw, "little")
        tag = Tag(number, 0, 0) if form < 4 else Tag(number)
    else:
        vendor, profile = struct.unpack_from("<HH", raw)
        tag = Tag(int.from_bytes(raw[4:], "little"), vendor, profile)
    return tag, position + size


def _decode_container(
    data: bytes, position: int, depth: int, kind: int, tag: TagKey | None
) -> tuple[TagKey | None, TlvValue, int]:
    if kind == 0x15:
        members: dict[TagKey, TlvValue] = {}
        while True:
            key, value, position = _decode(data, position, depth)
            if value is _END_OF_CONTAINER:
                return tag, members, position
            if key is None:
                raise DecodeError("structure member without a tag")
            if key in members:
                raise DecodeError(f"structure repeats tag {key}")
            members[key] = value
    if kind == 0x16:
        items: list[TlvValue] = []
        while True:
            key, value, position = _decode(data, position, depth)
            if value is _END_OF_CONTAINER:
                return tag, items, position
            if key is not None:
                raise DecodeError("array member has a tag")
            items.append(value)
    entries = TlvList()
    while True:
        key, value, position = _decode(data, position, depth)
        if value is _END_OF_CONTAINER:
            return tag, entries, position
        entries.append((key, value))


class Writer:
    """Appends TLV elements to `buffer`.

    A `tag` is a context tag (0-255), a profile `Tag`, or None for an anonymous
    element. Integers take the fewest bytes that hold them.
    """

    __slots__ = ("buffer",)

    def __init__(self) -> None:
        self.buffer = bytearray()

    def _head(self, tag: TagKey | None, kind: int) -> None:
        if tag is None:
            self.buffer.append(kind)
        elif type(tag) is int:
            self.buffer.append(0x20 | kind)
            self.buffer.append(tag)
        else:
            assert isinstance(tag, Tag)
            self._profile_head(tag, kind)

    def _profile_head(self, tag: Tag, kind: int) -> None:
        wide = tag.number > 0xFFFF
        number = tag.number.to_bytes(4 if wide else 2, "little")
        if tag.vendor is None or tag.profile is None:
            self.buffer.append((0xA0 if wide else 0x80) | kind)
        elif tag.vendor == 0 and tag.profile == 0:
            self.buffer.append((0x60 if wide else 0x40) | kind)
        else:
            self.buffer.append((0xE0 if wide else 0xC0) | kind)
            self.buffer += struct.pack("<HH", tag.vendor, tag.profile)
        self.buffer += number

    def uint(self, tag: TagKey | None, value: int) -> None:
        """Append an unsigned integer, 0 to 2**64 - 1."""
        if value < 0x100:
            self._head(tag, 4)
            self.buffer.append(value)
        elif value < 0x10000:
            self._head(tag, 5)
            self.buffer += value.to_bytes(2, "little")
        elif value < 0x100000000:
            self._head(tag, 6)
            self.buffer += value.to_bytes(4, "little")
        else:
            self._head(tag, 7)
            self.buffer += value.to_bytes(8, "little")

    def sint(self, tag: TagKey | None, value: int) -> None:
        """Append a signed integer, -2**63 to 2**63 - 1."""
        if -0x80 <= value < 0x80:
            self._head(tag, 0)
            self.buffer += value.to_bytes(1, "little", signed=True)
        elif -0x8000 <= value < 0x8000:
            self._head(tag, 1)
            self.buffer += value.to_bytes(2, "little", signed=True)
        elif -0x80000000 <= value < 0x80000000:
            self._head(tag, 2)
            self.buffer += value.to_bytes(4, "little", signed=True)
        else:
            self._head(tag, 3)
            self.buffer += value.to_bytes(8, "little", signed=True)

    def boolean(self, tag: TagKey | None, value: bool) -> None:
        """Append a boolean."""
        self._head(tag, 9 if value else 8)

    def float32(self, tag: TagKey | None, value: float) -> None:
        """Append a single-precision float."""
        self._head(tag, 10)
        self.buffer += struct.pack("<f", value)

    def float64(self, tag: TagKey | None, value: float) -> None:
        """Append a double-precision float."""
        self._head(tag, 11)
        self.buffer += struct.pack("<d", value)

    def utf8(self, tag: TagKey | None, value: str) -> None:
        """Append a UTF-8 string."""
        self._string(tag, 12, value.encode())

    def octets(self, tag: TagKey | None, value: bytes | bytearray | memoryview) -> None:
        """Append an octet string."""
        self._string(tag, 16, value)

    def _string(self, tag: TagKey | None, kind: int, raw: bytes | bytearray | memoryview) -> None:
        length = len(raw)
        if length < 0x100:
            self._head(tag, kind)
            self.buffer.append(length)
        elif length < 0x10000:
            self._head(tag, kind + 1)
            self.buffer += length.to_bytes(2, "little")
        else:
            self._head(tag, kind + 2)
            self.buffer += length.to_bytes(4, "little")
        self.buffer += raw

    def null(self, tag: TagKey | None) -> None:
        """Append a null."""
        self._head(tag, 20)

    def start_structure(self, tag: TagKey | None = None) -> None:
        """Open a structure, to be closed by `end`."""
        self._head(tag, 0x15)

    def start_array(self, tag: TagKey | None = None) -> None:
        """Open an array, to be closed by `end`."""
        self._head(tag, 0x16)

    def start_list(self, tag: TagKey | None = None) -> None:
        """Open a list, to be closed by `end`."""
        self._head(tag, 0x17)

    def end(self) -> None:
        """Close the innermost open container."""
        self.buffer.append(_END)

    def raw(self, encoded: bytes | bytearray | memoryview) -> None:
        """Append bytes that are whole TLV elements already."""
        self.buffer += encoded

    def value(self, tag: TagKey | None, value: TlvValue) -> None:
        """Append any decoded value with the element type that `decode` would give back."""
        if value is None:
            self.null(tag)
        elif isinstance(value, bool):
            self.boolean(tag, value)
        elif isinstance(value, SignedInt):
            self.sint(tag, value)
        elif isinstance(value, int):
            self.uint(tag, value)
        elif isinstance(value, Float32):
            self.float32(tag, value)
        elif isinstance(value, float):
            self.float64(tag, value)
        elif isinstance(value, str):
            self.utf8(tag, value)
        elif isinstance(value, bytes):
            self.octets(tag, value)
        elif isinstance(value, dict):
            self.start_structure(tag)
            for key, member in value.items():
                self.value(key, member)
            self.end()
        elif isinstance(value, TlvList):
            self.start_list(tag)
            for member_tag, member in value:
                self.value(member_tag, member)
            self.end()
        else:
            self.start_array(tag)
            for member in value:
                self.value(None, member)
            self.end()

    def getvalue(self) -> bytes:
        """Return the bytes written so far."""
        return bytes(self.buffer)


def encode(value: TlvValue, tag: TagKey | None = None) -> bytes:
    """Encode one decoded value as one element."""
    writer = Writer()
    writer.value(tag, value)
    return writer.getvalue()
