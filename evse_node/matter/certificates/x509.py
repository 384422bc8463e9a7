"""The X.509 v3 certificates that Matter allows: P-256 keys, signed with ECDSA and SHA-256.

Used in two places: operational certificates travel as TLV, but what their signature
covers is this form; attestation certificates travel as this form.

Spec: Matter Core 1.3 "Public Key Infrastructure (PKI) and Certificates"; RFC 5280
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from msgspec import Struct

from evse_node.errors import CryptoError, DecodeError
from evse_node.matter import der
from evse_node.matter.crypto import (
    ECDSA_WITH_SHA256,
    check_public_key,
    public_key_info,
    signature_from_der,
    signature_to_der,
)

OID_BASIC_CONSTRAINTS: Final = "2.5.29.19"
OID_KEY_USAGE: Final = "2.5.29.15"
OID_EXTENDED_KEY_USAGE: Final = "2.5.29.37"
OID_SUBJECT_KEY_ID: Final = "2.5.29.14"
OID_AUTHORITY_KEY_ID: Final = "2.5.29.35"
# Extended key usages 1 to 6 of Matter, as the arcs below id-kp.
_KEY_PURPOSE_PREFIX = "1.3.6.1.5.5.7.3."
KEY_PURPOSE_OIDS: Final = {
    1: _KEY_PURPOSE_PREFIX + "1",  # server authentication
    2: _KEY_PURPOSE_PREFIX + "2",  # client authentication
    3: _KEY_PURPOSE_PREFIX + "3",  # code signing
    4: _KEY_PURPOSE_PREFIX + "4",  # e-mail protection
    5: _KEY_PURPOSE_PREFIX + "8",  # time stamping
    6: _KEY_PURPOSE_PREFIX + "9",  # OCSP signing
}
KEY_ID_SIZE: Final = 20
# Times are seconds since 2000-01-01 00:00:00 UTC; 0 as end means that there is none.
MATTER_EPOCH: Final = datetime(2000, 1, 1)
NO_EXPIRY: Final = 0
_NO_EXPIRY_TIME = b"99991231235959Z"
_VERSION_3 = der.explicit(0, der.integer(2))


class Attribute(NamedTuple):
    """One attribute of a distinguished name: dotted OID, DER string tag, raw value."""

    oid: str
    tag: int
    value: bytes


class Extension(NamedTuple):
    """One certificate extension: dotted OID, whether it is critical, DER value."""

    oid: str
    critical: bool
    value: bytes


class X509Certificate(Struct, frozen=True):
    """A certificate as decoded from DER.

    `tbs` is the signed part, `serial` the content octets of the serial number,
    `raw` the whole certificate.
    """

    tbs: bytes
    serial: bytes
    issuer: tuple[Attribute, ...]
    not_before: int
    not_after: int
    subject: tuple[Attribute, ...]
    public_key: bytes
    extensions: tuple[Extension, ...]
    signature: bytes
    raw: bytes

    def extension(self, oid: str) -> Extension | None:
        """Return the extension with `oid`, or None."""
        return next((item for item in self.extensions if item.oid == oid), None)

    def subject_values(self, oid: str) -> list[str]:
        """Return the text of every subject attribute with `oid`."""
        return [item.value.decode("utf-8", "replace") for item in self.subject if item.oid == oid]

    @property
    def subject_key_id(self) -> bytes | None:
        """The subject key identifier, if present."""
        found = self.extension(OID_SUBJECT_KEY_ID)
        return None if found is None else decode_subject_key_id(found.value)

    @property
    def authority_key_id(self) -> bytes | None:
        """The authority key identifier, if present."""
        found = self.extension(OID_AUTHORITY_KEY_ID)
        return None if found is None else decode_authority_key_id(found.value)


def decode_x509(data: bytes) -> X509Certificate:
    """Decode a DER certificate.

    Raises DecodeError for a certificate that Matter does not allow.
    """
    outer = der.Reader(data)
    certificate = outer.enter()
    outer.finish()
    tag, tbs_content, tbs = certificate.any()
    if tag != der.SEQUENCE:
        raise DecodeError("certificate has no body")
    if certificate.any()[2] != ECDSA_WITH_SHA256:
        raise DecodeError("signature algorithm is not ECDSA with SHA-256")
    signature, unused_bits = certificate.bit_string()
    if unused_bits:
        raise DecodeError("signature does not end on a whole byte")
    certificate.finish()

    body = der.Reader(tbs_content)
    if body.any()[2] != _VERSION_3:
        raise DecodeError("certificate is not X.509 version 3")
    serial = body.content(der.INTEGER)
    if not serial:
        raise DecodeError("serial number is empty")
    if body.any()[2] != ECDSA_WITH_SHA256:
        raise DecodeError("signature algorithm is not ECDSA with SHA-256")
    issuer = _decode_name(body.enter())
    validity = body.enter()
    not_before, not_after = _decode_time(validity), _decode_time(validity)
    validity.finish()
    subject = _decode_name(body.enter())
    public_key = _decode_public_key(body)
    extensions = _decode_extensions(body)
    body.finish()
    return X509Certificate(
        tbs=tbs,
        serial=serial,
        issuer=issuer,
        not_before=not_before,
        not_after=not_after,
        subject=subject,
        public_key=public_key,
        extensions=extensions,
        signature=signature_from_der(signature),
        raw=data,
    )


def encode_tbs(
    *,
    serial: bytes,
    issuer: Sequence[Attribute],
    not_before: int,
    not_after: int,
    subject: Sequence[Attribute],
    public_key: bytes,
    extensions: Sequence[bytes],
) -> bytes:
    """Encode the part of a certificate that is signed; extensions are encoded already."""
    return der.sequence(
        _VERSION_3,
        der.element(der.INTEGER, serial),
        ECDSA_WITH_SHA256,
        encode_name(issuer),
        der.sequence(_encode_time(not_before), encode_not_after(not_after)),
        encode_name(subject),
        public_key_info(public_key),
        der.explicit(3, der.sequence(*extensions)),
    )


def encode_x509(tbs: bytes, signature: bytes) -> bytes:
    """Join the signed part and its 64-byte signature to a certificate."""
    return der.sequence(tbs, ECDSA_WITH_SHA256, der.bit_string(signature_to_der(signature)))


def encode_name(attributes: Sequence[Attribute]) -> bytes:
    """Encode a distinguished name with one attribute in each of its RDNs."""
    return der.sequence(
        *(
            der.element(der.SET, der.sequence(der.object_identifier(oid), der.element(tag, value)))
            for oid, tag, value in attributes
        )
    )


def _decode_name(reader: der.Reader) -> tuple[Attribute, ...]:
    attributes: list[Attribute] = []
    while not reader.at_end:
        relative = reader.enter(der.SET)
        pair = relative.enter()
        relative.finish()
        oid = pair.object_identifier()
        tag, value, _ = pair.any()
        pair.finish()
        attributes.append(Attribute(oid, tag, value))
    return tuple(attributes)


def encode_not_after(epoch_s: int) -> bytes:
    """Encode the end of validity; 0 is the time that means "no well-defined expiry"."""
    if epoch_s == NO_EXPIRY:
        return der.element(der.GENERALIZED_TIME, _NO_EXPIRY_TIME)
    return _encode_time(epoch_s)


def _encode_time(epoch_s: int) -> bytes:
    moment = MATTER_EPOCH + timedelta(seconds=epoch_s)
    # RFC 5280 4.1.2.5: through the year 2049 UTCTime, then GeneralizedTime.
    if moment.year < 2050:
        return der.element(der.UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode())
    return der.element(der.GENERALIZED_TIME, moment.strftime("%Y%m%d%H%M%SZ").encode())


def _decode_time(reader: der.Reader) -> int:
    tag, content, _ = reader.any()
    if tag == der.GENERALIZED_TIME and content == _NO_EXPIRY_TIME:
        return NO_EXPIRY
    digits = content[:-1]
    if content[-1:] != b"Z" or not digits.isdigit():
        raise DecodeError("time is not valid")
    if tag == der.UTC_TIME and len(digits) == 12:
        digits = (b"20" if digits < b"5" else b"19") + digits
    elif tag != der.GENERALIZED_TIME or len(digits) != 14:
        raise DecodeError("time is not valid")
    try:
        month, day, hour, minute, second = (int(digits[i : i + 2]) for i in range(4, 14, 2))
        moment = datetime(int(digits[:4]), month, day, hour, minute, second)
    except ValueError:
        raise DecodeError("time is not valid") from None
    epoch_s = int((moment - MATTER_EPOCH).total_seconds())
    if not 0 <= epoch_s <= 0xFFFFFFFF:
        raise DecodeError("time is out of the range of Matter time")
    return epoch_s


def _decode_public_key(reader: der.Reader) -> bytes:
    whole = reader.any()[2]
    information = der.Reader(whole).enter()
    information.enter()
    public_key, _ = information.bit_string()
    information.finish()
    if whole != public_key_info(public_key):
        raise DecodeError("public key is not one of P-256")
    try:
        check_public_key(public_key)
    except CryptoError as error:
        raise DecodeError(str(error)) from None
    return public_key


def _decode_extensions(reader: der.Reader) -> tuple[Extension, ...]:
    wrapped = reader.optional(0xA3)
    if wrapped is None:
        return ()
    sequence = wrapped.enter()
    wrapped.finish()
    extensions: list[Extension] = []
    while not sequence.at_end:
        extensions.append(decode_extension(sequence))
    if len({extension.oid for extension in extensions}) != len(extensions):
        raise DecodeError("certificate repeats an extension")
    return tuple(extensions)


def encode_extension(oid: str, critical: bool, value: bytes) -> bytes:
    """Encode one extension around its DER value."""
    return der.sequence(
        der.object_identifier(oid),
        der.boolean(True) if critical else b"",
        der.octet_string(value),
    )


def decode_extension(reader: der.Reader) -> Extension:
    """Read one extension."""
    fields = reader.enter()
    oid = fields.object_identifier()
    critical = False
    if fields.peek() == der.BOOLEAN:
        critical = fields.boolean()
        if not critical:
            raise DecodeError("a default value is encoded")
    value = fields.content(der.OCTET_STRING)
    fields.finish()
    return Extension(oid, critical, value)


def basic_constraints(is_ca: bool, path_length: int | None) -> bytes:
    """Encode the critical extension that marks an authority."""
    constraints = der.sequence(
        der.boolean(True) if is_ca else b"",
        b"" if path_length is None else der.integer(path_length),
    )
    return encode_extension(OID_BASIC_CONSTRAINTS, True, constraints)


def decode_basic_constraints(value: bytes) -> tuple[bool, int | None]:
    """Return (is_ca, path_length) of the extension's value."""
    outer = der.Reader(value)
    fields = outer.enter()
    outer.finish()
    is_ca = False
    if fields.peek() == der.BOOLEAN:
        is_ca = fields.boolean()
        if not is_ca:
            raise DecodeError("a default value is encoded")
    path_length = None if fields.at_end else fields.integer()
    fields.finish()
    return is_ca, path_length


def key_usage(bits: int) -> bytes:
    """Encode the critical extension of key usages; bit 0 of `bits` is digitalSignature."""
    # A BIT STRING counts bits from the top of its first byte and drops zeros at its end.
    length = bits.bit_length()
    size = (length + 7) // 8
    content = bytearray(size)
    for bit in range(length):
        if bits >> bit & 1:
            content[bit // 8] |= 0x80 >> bit % 8
    value = der.bit_string(bytes(content), size * 8 - length)
    return encode_extension(OID_KEY_USAGE, True, value)


def decode_key_usage(value: bytes) -> int:
    """Return the bits of the extension's value, bit 0 being digitalSignature."""
    reader = der.Reader(value)
    content, _ = reader.bit_string()
    reader.finish()
    if len(content) > 2:
        raise DecodeError("key usage is too long")
    bits = 0
    for position in range(len(content) * 8):
        if content[position // 8] & 0x80 >> position % 8:
            bits |= 1 << position
    return bits


def extended_key_usage(purposes: Sequence[int]) -> bytes:
    """Encode the critical extension of key purposes, numbered as in Matter TLV."""
    oids = (der.object_identifier(KEY_PURPOSE_OIDS[purpose]) for purpose in purposes)
    return encode_extension(OID_EXTENDED_KEY_USAGE, True, der.sequence(*oids))


def subject_key_id(key_id: bytes) -> bytes:
    """Encode the extension that names this certificate's key."""
    return encode_extension(OID_SUBJECT_KEY_ID, False, der.octet_string(key_id))


def decode_subject_key_id(value: bytes) -> bytes:
    """Return the key identifier of the extension's value."""
    reader = der.Reader(value)
    key_id = reader.content(der.OCTET_STRING)
    reader.finish()
    return key_id


def authority_key_id(key_id: bytes) -> bytes:
    """Encode the extension that names the key which signed this certificate."""
    return encode_extension(OID_AUTHORITY_KEY_ID, False, der.sequence(der.element(0x80, key_id)))


def decode_authority_key_id(value: bytes) -> bytes:
    """Return the key identifier of the extension's value."""
    outer = der.Reader(value)
    fields = outer.enter()
    outer.finish()
    key_id = fields.content(0x80)
    fields.finish()
    return key_id
