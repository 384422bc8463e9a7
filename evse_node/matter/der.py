"""The part of ASN.1 DER that certificates, CSRs and certification declarations use.

Encoders return the bytes of one element. `Reader` walks over elements and raises
DecodeError for anything that is not DER; it copies only what it returns.

Spec: ITU-T X.690 "Distinguished encoding rules"
"""

from __future__ import annotations

from functools import lru_cache

from evse_node.errors import DecodeError

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
UTF8_STRING = 0x0C
PRINTABLE_STRING = 0x13
IA5_STRING = 0x16
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31


def element(tag: int, *parts: bytes) -> bytes:
    """Encode one element with the one-byte `tag` and the joined `parts` as content."""
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + content


def sequence(*parts: bytes) -> bytes:
    """Encode a SEQUENCE of encoded elements."""
    return element(SEQUENCE, *parts)


def set_of(*parts: bytes) -> bytes:
    """Encode a SET OF; the elements are put in the order that DER demands."""
    return element(SET, *sorted(parts))


def explicit(number: int, *parts: bytes) -> bytes:
    """Encode a constructed context-specific element, as for `[number] EXPLICIT`."""
    return element(0xA0 | number, *parts)


def boolean(value: bool) -> bytes:
    """Encode a BOOLEAN."""
    return element(BOOLEAN, b"\xff" if value else b"\x00")


def integer(value: int) -> bytes:
    """Encode a non-negative INTEGER."""
    return element(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def bit_string(content: bytes, unused_bits: int = 0) -> bytes:
    """Encode a BIT STRING whose last byte has `unused_bits` at its low end."""
    return element(BIT_STRING, bytes((unused_bits,)), content)


def octet_string(content: bytes) -> bytes:
    """Encode an OCTET STRING."""
    return element(OCTET_STRING, content)


@lru_cache(maxsize=64)
def object_identifier(dotted: str) -> bytes:
    """Encode an OBJECT IDENTIFIER written as "1.2.840"."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    content = bytearray()
    for arc in (first * 40 + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | arc & 0x7F)
        content += bytes(reversed(groups))
    return element(OBJECT_IDENTIFIER, bytes(content))


class Reader:
    """Reads the elements of `data` one after the other."""

    __slots__ = ("_end", "_position", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._position = 0
        self._end = len(data)

    @property
    def at_end(self) -> bool:
        """Whether every element has been read."""
        return self._position == self._end

    def peek(self) -> int | None:
        """Return the tag of the next element, or None at the end."""
        return None if self.at_end else self.data[self._position]

    def any(self) -> tuple[int, bytes, bytes]:
        """Read the next element; return its tag, its content, and the whole element."""
        data, start = self.data, self._position
        if start + 2 > self._end:
            raise DecodeError("DER is truncated")
        tag, length = data[start], data[start + 1]
        if tag & 0x1F == 0x1F:
            raise DecodeError("DER tag of several bytes")
        position = start + 2
        if length >= 0x80:
            size = length & 0x7F
            if not 1 <= size <= 3 or position + size > self._end:
                raise DecodeError("DER length is not valid")
            length = int.from_bytes(data[position : position + size], "big")
            position += size
            if length < 0x80 or length >> (8 * (size - 1)) == 0:
                raise DecodeError("DER length is not minimal")
        end = position + length
        if end > self._end:
            raise DecodeError("DER is truncated")
        self._position = end
        return tag, data[position:end], data[start:end]

    def content(self, tag: int) -> bytes:
        """Read the next element, which must have `tag`, and return its content."""
        found, content, _ = self.any()
        if found != tag:
            raise DecodeError(f"DER tag 0x{found:02X} where 0x{tag:02X} belongs")
        return content

    def enter(self, tag: int = SEQUENCE) -> Reader:
        """Read the next element, which must have `tag`, and return a reader of its content."""
        return Reader(self.content(tag))

    def optional(self, tag: int) -> Reader | None:
        """Enter the next element when it has `tag`; otherwise read nothing."""
        return self.enter(tag) if self.peek() == tag else None

    def boolean(self) -> bool:
        """Read a BOOLEAN."""
        content = self.content(BOOLEAN)
        if content not in (b"\x00", b"\xff"):
            raise DecodeError("DER boolean is not valid")
        return content == b"\xff"

    def integer(self) -> int:
        """Read a non-negative INTEGER."""
        content = self.content(INTEGER)
        if not content or content[0] & 0x80:
            raise DecodeError("DER integer is empty or negative")
        if len(content) > 1 and content[0] == 0 and not content[1] & 0x80:
            raise DecodeError("DER integer is not minimal")
        return int.from_bytes(content, "big")

    def bit_string(self) -> tuple[bytes, int]:
        """Read a BIT STRING; return its bytes and how many low bits of the last are unused."""
        content = self.content(BIT_STRING)
        if not content or content[0] > 7 or (content[0] and len(content) == 1):
            raise DecodeError("DER bit string is not valid")
        if content[0] and content[-1] & ((1 << content[0]) - 1):
            raise DecodeError("DER bit string has unused bits set")
        return content[1:], content[0]

    def object_identifier(self) -> str:
        """Read an OBJECT IDENTIFIER as "1.2.840"."""
        content = self.content(OBJECT_IDENTIFIER)
        if not content or content[-1] & 0x80:
            raise DecodeError("DER object identifier is not valid")
        arcs: list[int] = []
        arc = 0
        for byte in content:
            arc = arc << 7 | byte & 0x7F
            if not byte & 0x80:
                arcs.append(arc)
                arc = 0
            elif arc == 0 or arc >> 64:
                raise DecodeError("DER object identifier is not valid")
        first = min(arcs[0] // 40, 2)
        return ".".join(str(number) for number in (first, arcs[0] - first * 40, *arcs[1:]))

    def finish(self) -> None:
        """Raise DecodeError unless every element has been read."""
        if not self.at_end:
            raise DecodeError("bytes after the last DER element")
