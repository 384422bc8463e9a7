"""Message frames: message header, protocol header and payload.

All integers are little-endian. The ordinary secured unicast message has a header of
exactly eight bytes (flags, session id, security flags, counter) with both flag bytes
zero; that case is packed and unpacked by a single Struct.

Spec: Matter Core 1.3 "Message Frame Format"
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from msgspec import Struct

from evse_node.errors import DecodeError

# Message flags. The version occupies the upper four bits and must be zero.
FLAG_SOURCE = 0x04
DESTINATION_MASK = 0x03
DESTINATION_NODE = 0x01
_VERSION_MASK = 0xF0

# Security flags.
SECURITY_PRIVACY = 0x80
SECURITY_CONTROL = 0x40
SECURITY_EXTENSIONS = 0x20
SESSION_TYPE_MASK = 0x03
SESSION_TYPE_GROUP = 1

# Exchange flags.
EXCHANGE_INITIATOR = 0x01
EXCHANGE_ACK = 0x02
EXCHANGE_RELIABLE = 0x04
EXCHANGE_SECURED_EXTENSIONS = 0x08
EXCHANGE_VENDOR = 0x10

PROTOCOL_SECURE_CHANNEL = 0x0000
PROTOCOL_INTERACTION_MODEL = 0x0001

MIC_SIZE = 16
MAX_DATAGRAM = 1232
"""Largest UDP payload of an IPv6 packet of 1280 bytes."""

SECURED_HEADER = struct.Struct("<BHBI")
"""Flags, session id, security flags, counter: the start of every message."""
_NONCE = struct.Struct("<BIQ")
_PROTOCOL = struct.Struct("<BBHH")
_PROTOCOL_WITH_ACK = struct.Struct("<BBHHI")
_UINT16 = struct.Struct("<H")
_UINT32 = struct.Struct("<I")
_UINT64 = struct.Struct("<Q")

MAX_PAYLOAD = MAX_DATAGRAM - SECURED_HEADER.size - _PROTOCOL_WITH_ACK.size - MIC_SIZE
"""Largest payload of a secured unicast message with an acknowledgement in one MTU."""

encode_nonce: Callable[[int, int, int], bytes] = _NONCE.pack
"""Return the 13-byte nonce of (security flags, counter, source node id).

The source node id is 0 for a session without node ids (PASE).
Spec: Matter Core 1.3 "Nonce"
"""


class MessageHeader(Struct, frozen=True):
    """The unencrypted message header. `size` is its length in bytes.

    Spec: Matter Core 1.3 "Message Header Field Descriptions"
    """

    session_id: int
    security_flags: int
    counter: int
    source_node: int | None = None
    destination_node: int | None = None
    size: int = 8

    def encode(self) -> bytes:
        """Return the header's bytes, without extensions."""
        flags = 0
        tail = b""
        if self.source_node is not None:
            flags |= FLAG_SOURCE
            tail = _UINT64.pack(self.source_node)
        if self.destination_node is not None:
            flags |= DESTINATION_NODE
            tail += _UINT64.pack(self.destination_node)
        head = SECURED_HEADER.pack(flags, self.session_id, self.security_flags, self.counter)
        return head + tail


def decode_header(data: bytes) -> MessageHeader:
    """Decode the message header at the start of `data`; extensions are skipped.

    Raises DecodeError for an unknown version, a session type or destination that is not
    unicast, a control message, privacy (which only group messages may have) and truncation.
    """
    try:
        flags, session_id, security, counter = SECURED_HEADER.unpack_from(data)
        if flags & _VERSION_MASK:
            raise DecodeError(f"message version {flags >> 4}")
        session_type = security & SESSION_TYPE_MASK
        if session_type:
            raise DecodeError(f"session type {session_type}")
        if security & SECURITY_CONTROL:
            raise DecodeError("control message")
        if security & SECURITY_PRIVACY:
            raise DecodeError("unicast message with privacy")
        position = 8
        source: int | None = None
        node: int | None = None
        if flags & FLAG_SOURCE:
            source = _UINT64.unpack_from(data, position)[0]
            position += 8
        destination = flags & DESTINATION_MASK
        if destination == DESTINATION_NODE:
            node = _UINT64.unpack_from(data, position)[0]
            position += 8
        elif destination:
            raise DecodeError("destination is not a node")
        if security & SECURITY_EXTENSIONS:
            position = _skip_extensions(data, position)
    except struct.error:
        raise DecodeError("message header is truncated") from None
    return MessageHeader(session_id, security, counter, source, node, position)


def _skip_extensions(data: bytes, position: int) -> int:
    position += 2 + int(_UINT16.unpack_from(data, position)[0])
    if position > len(data):
        raise DecodeError("extensions run past the end")
    return position


class Message(Struct):
    """One message of an exchange.

    `protocol_id` has the vendor id in its upper 16 bits. `acknowledged` is the counter
    that the peer acknowledges, if any.
    Spec: Matter Core 1.3 "Protocol Header Field Descriptions"
    """

    flags: int
    opcode: int
    exchange_id: int
    protocol_id: int
    payload: bytes
    counter: int = 0
    acknowledged: int | None = None


def decode_message(data: bytes, counter: int = 0) -> Message:
    """Decode protocol header and payload from the decrypted part of a message.

    Secured extensions are skipped. Raises DecodeError for truncation.
    """
    try:
        flags, opcode, exchange_id, protocol_id = _PROTOCOL.unpack_from(data)
        position = 6
        acknowledged: int | None = None
        if flags & 0x1A:
            if flags & EXCHANGE_VENDOR:
                protocol_id |= _UINT16.unpack_from(data, 6)[0] << 16
                position = 8
            if flags & EXCHANGE_ACK:
                acknowledged = _UINT32.unpack_from(data, position)[0]
                position += 4
            if flags & EXCHANGE_SECURED_EXTENSIONS:
                position = _skip_extensions(data, position)
    except struct.error:
        raise DecodeError("protocol header is truncated") from None
    return Message(flags, opcode, exchange_id, protocol_id, data[position:], counter, acknowledged)


def encode_message(
    flags: int,
    opcode: int,
    exchange_id: int,
    protocol_id: int,
    payload: bytes,
    acknowledged: int | None = None,
) -> bytes:
    """Return protocol header and payload, with the flags for acknowledgement and vendor set."""
    if protocol_id > 0xFFFF:
        flags |= EXCHANGE_VENDOR
        if acknowledged is not None:
            flags |= EXCHANGE_ACK
        head = struct.pack("<BBHI", flags, opcode, exchange_id, protocol_id)
        return head + (b"" if acknowledged is None else _UINT32.pack(acknowledged)) + payload
    if acknowledged is None:
        return _PROTOCOL.pack(flags, opcode, exchange_id, protocol_id) + payload
    return (
        _PROTOCOL_WITH_ACK.pack(
            flags | EXCHANGE_ACK, opcode, exchange_id, protocol_id, acknowledged
        )
        + payload
    )
