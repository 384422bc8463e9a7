"""The extensions of operational certificates, in TLV and in X.509.

Spec: Matter Core 1.3 "Matter certificate" (extensions)
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

from msgspec import Struct

from evse_node.errors import DecodeError
from evse_node.matter import der
from evse_node.matter.certificates import x509
from evse_node.matter.tlv import TlvList, TlvValue
from evse_node.matter.tlv_fields import expect_array, expect_octets, expect_unsigned

_BASIC_CONSTRAINTS, _KEY_USAGE, _EXTENDED_KEY_USAGE = 1, 2, 3
_SUBJECT_KEY_ID, _AUTHORITY_KEY_ID, _FUTURE_EXTENSION = 4, 5, 6
_KNOWN_OIDS = (
    x509.OID_BASIC_CONSTRAINTS,
    x509.OID_KEY_USAGE,
    x509.OID_EXTENDED_KEY_USAGE,
    x509.OID_SUBJECT_KEY_ID,
    x509.OID_AUTHORITY_KEY_ID,
)


class KeyUsage(IntFlag):
    """Permitted uses of the certified key."""

    DIGITAL_SIGNATURE = 0x0001
    NON_REPUDIATION = 0x0002
    KEY_ENCIPHERMENT = 0x0004
    DATA_ENCIPHERMENT = 0x0008
    KEY_AGREEMENT = 0x0010
    KEY_CERT_SIGN = 0x0020
    CRL_SIGN = 0x0040
    ENCIPHER_ONLY = 0x0080
    DECIPHER_ONLY = 0x0100


class KeyPurpose(IntEnum):
    """Values of the extended key usage."""

    SERVER_AUTH = 1
    CLIENT_AUTH = 2
    CODE_SIGNING = 3
    EMAIL_PROTECTION = 4
    TIME_STAMPING = 5
    OCSP_SIGNING = 6


class BasicConstraints(Struct, frozen=True):
    """Permission to sign certificates, and the number of authorities allowed below."""

    is_ca: bool
    path_length: int | None = None


class Extensions(Struct, frozen=True):
    """The extensions of a certificate.

    `future` holds whole extensions in DER. `order` holds the TLV tags in the order
    that was signed; a tag whose extension is absent is passed over.
    """

    basic_constraints: BasicConstraints | None = None
    key_usage: KeyUsage | None = None
    extended_key_usage: tuple[KeyPurpose, ...] | None = None
    subject_key_id: bytes | None = None
    authority_key_id: bytes | None = None
    future: tuple[bytes, ...] = ()
    order: tuple[int, ...] = (1, 2, 3, 4, 5)

    def has_critical_future(self) -> bool:
        """Return whether there is an unknown critical extension."""
        return any(x509.decode_extension(der.Reader(item)).critical for item in self.future)

    def to_x509(self) -> list[bytes]:
        """Return the extensions in DER."""
        known: dict[int, bytes] = {}
        if (constraints := self.basic_constraints) is not None:
            known[_BASIC_CONSTRAINTS] = x509.basic_constraints(
                constraints.is_ca, constraints.path_length
            )
        if self.key_usage is not None:
            known[_KEY_USAGE] = x509.key_usage(self.key_usage)
        if self.extended_key_usage is not None:
            known[_EXTENDED_KEY_USAGE] = x509.extended_key_usage(self.extended_key_usage)
        if self.subject_key_id is not None:
            known[_SUBJECT_KEY_ID] = x509.subject_key_id(self.subject_key_id)
        if self.authority_key_id is not None:
            known[_AUTHORITY_KEY_ID] = x509.authority_key_id(self.authority_key_id)
        future = iter(self.future)
        return [
            known[tag] if tag in known else next(future)
            for tag in self.order
            if tag in known or tag == _FUTURE_EXTENSION
        ]


def decode_extensions(value: TlvValue) -> Extensions:
    """Decode the extensions from their TLV list; raises DecodeError."""
    if not isinstance(value, TlvList):
        raise DecodeError("extensions are not a list")
    constraints: BasicConstraints | None = None
    usage: KeyUsage | None = None
    purposes: tuple[KeyPurpose, ...] | None = None
    subject_key_id: bytes | None = None
    authority_key_id: bytes | None = None
    future: list[bytes] = []
    order: list[int] = []
    for tag, member in value:
        if type(tag) is not int or (tag in order and tag != _FUTURE_EXTENSION):
            raise DecodeError("extension is repeated or has no context tag")
        order.append(tag)
        if tag == _BASIC_CONSTRAINTS:
            constraints = _decode_basic_constraints(member)
        elif tag == _KEY_USAGE:
            usage = KeyUsage(expect_unsigned(member, 0x1FF))
        elif tag == _EXTENDED_KEY_USAGE:
            purposes = _decode_extended_key_usage(member)
        elif tag == _SUBJECT_KEY_ID:
            subject_key_id = expect_octets(member, x509.KEY_ID_SIZE)
        elif tag == _AUTHORITY_KEY_ID:
            authority_key_id = expect_octets(member, x509.KEY_ID_SIZE)
        elif tag == _FUTURE_EXTENSION:
            future.append(_decode_future(member))
        else:
            raise DecodeError(f"extension {tag} is not known")
    return Extensions(
        constraints, usage, purposes, subject_key_id, authority_key_id, tuple(future), tuple(order)
    )


def _decode_future(value: TlvValue) -> bytes:
    encoded = expect_octets(value, 1, 0xFFFF)
    reader = der.Reader(encoded)
    if x509.decode_extension(reader).oid in _KNOWN_OIDS:
        raise DecodeError("known extension is encoded as a future one")
    reader.finish()
    return encoded


def _decode_basic_constraints(value: TlvValue) -> BasicConstraints:
    if not isinstance(value, dict) or list(value) not in ([1], [1, 2]):
        raise DecodeError("basic constraints are not valid")
    is_ca = value[1]
    if not isinstance(is_ca, bool):
        raise DecodeError("basic constraints are not valid")
    return BasicConstraints(is_ca, expect_unsigned(value[2], 0xFF) if 2 in value else None)


def _decode_extended_key_usage(value: TlvValue) -> tuple[KeyPurpose, ...]:
    try:
        return tuple(KeyPurpose(expect_unsigned(item, 0xFF)) for item in expect_array(value))
    except ValueError:
        raise DecodeError("extended key usage is not known") from None
