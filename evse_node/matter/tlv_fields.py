"""Members of session establishment messages, checked while they are taken out."""

from __future__ import annotations

from collections.abc import Mapping

from evse_node.errors import DecodeError
from evse_node.matter.tlv import SignedInt, TagKey, TlvValue

Fields = Mapping[TagKey, TlvValue]


def get_octets(fields: Fields, tag: int, size: int | None = None) -> bytes:
    """Return a byte string of `size` bytes. Raises DecodeError when it is not there."""
    value = fields.get(tag)
    if not isinstance(value, bytes) or (size is not None and len(value) != size):
        raise DecodeError(f"field {tag} is not a byte string{f' of {size} bytes' if size else ''}")
    return value


def get_optional_octets(fields: Fields, tag: int, size: int | None = None) -> bytes | None:
    """Return a byte string like `get_octets`, or None when the member is absent."""
    return get_octets(fields, tag, size) if tag in fields else None


def get_unsigned(fields: Fields, tag: int, maximum: int) -> int:
    """Return an unsigned integer up to `maximum`. Raises DecodeError when it is not there."""
    value = fields.get(tag)
    if not isinstance(value, int) or isinstance(value, (bool, SignedInt)) or value > maximum:
        raise DecodeError(f"field {tag} is not an unsigned integer up to {maximum}")
    return value


def get_session_id(fields: Fields, tag: int) -> int:
    """Return the id of a secure session, 1 to 65535; 0 means an unsecured one."""
    session_id = get_unsigned(fields, tag, 0xFFFF)
    if session_id == 0:
        raise DecodeError("session id 0")
    return session_id
