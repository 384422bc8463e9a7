"""Operational certificates of the vectors, and conversion from X.509, which no node needs."""

from __future__ import annotations

from evse_node.errors import DecodeError
from evse_node.matter import der
from evse_node.matter.certificates import x509
from evse_node.matter.certificates.certificate import Certificate, decode_certificate
from evse_node.matter.certificates.certificate_extensions import (
    BasicConstraints,
    Extensions,
    KeyPurpose,
    KeyUsage,
)
from evse_node.matter.certificates.distinguished_name import (
    ATTRIBUTE_DIGITS,
    ATTRIBUTE_OIDS,
    AttributeType,
    DistinguishedName,
    NameAttribute,
)
from tests.vectors.certificates import CERTIFICATES

_TYPES = {oid: kind for kind, oid in ATTRIBUTE_OIDS.items()}
_PURPOSES = {oid: number for number, oid in x509.KEY_PURPOSE_OIDS.items()}
_FUTURE = 6


def vector(name: str) -> Certificate:
    """Return the certificate of this name among the vectors."""
    return decode_certificate(bytes.fromhex(CERTIFICATES[name][0]))


def certificate_to_x509(certificate: Certificate) -> bytes:
    """Return the whole certificate in DER."""
    return x509.encode_x509(certificate.to_x509_der_tbs(), certificate.signature)


def certificate_from_x509(data: bytes) -> Certificate:
    """Convert a DER certificate; DecodeError for what Matter TLV cannot hold without loss."""
    source = x509.decode_x509(data)
    certificate = Certificate(
        serial=source.serial,
        issuer=_name(source.issuer),
        not_before=source.not_before,
        not_after=source.not_after,
        subject=_name(source.subject),
        public_key=source.public_key,
        extensions=_extensions(source.extensions),
        signature=source.signature,
    )
    if certificate.to_x509_der_tbs() != source.tbs:
        raise DecodeError("certificate has no equivalent in Matter TLV")
    return certificate


def decode_extended_key_usage(value: bytes) -> tuple[int, ...]:
    """Return the purposes of the extension's value, numbered as in Matter TLV."""
    outer = der.Reader(value)
    fields = outer.enter()
    outer.finish()
    purposes: list[int] = []
    while not fields.at_end:
        oid = fields.object_identifier()
        if oid not in _PURPOSES:
            raise DecodeError("extended key usage is not known")
        purposes.append(_PURPOSES[oid])
    return tuple(purposes)


def _extensions(items: tuple[x509.Extension, ...]) -> Extensions:
    constraints: BasicConstraints | None = None
    usage: KeyUsage | None = None
    purposes: tuple[KeyPurpose, ...] | None = None
    subject_key_id: bytes | None = None
    authority_key_id: bytes | None = None
    future: list[bytes] = []
    order: list[int] = []
    for item in items:
        if item.oid == x509.OID_BASIC_CONSTRAINTS:
            order.append(1)
            constraints = BasicConstraints(*x509.decode_basic_constraints(item.value))
        elif item.oid == x509.OID_KEY_USAGE:
            order.append(2)
            usage = KeyUsage(x509.decode_key_usage(item.value))
        elif item.oid == x509.OID_EXTENDED_KEY_USAGE:
            order.append(3)
            purposes = tuple(map(KeyPurpose, decode_extended_key_usage(item.value)))
        elif item.oid == x509.OID_SUBJECT_KEY_ID:
            order.append(4)
            subject_key_id = x509.decode_subject_key_id(item.value)
        elif item.oid == x509.OID_AUTHORITY_KEY_ID:
            order.append(5)
            authority_key_id = x509.decode_authority_key_id(item.value)
        else:
            order.append(_FUTURE)
            future.append(x509.encode_extension(*item))
    return Extensions(
        constraints, usage, purposes, subject_key_id, authority_key_id, tuple(future), tuple(order)
    )


def _name(attributes: tuple[x509.Attribute, ...]) -> DistinguishedName:
    return DistinguishedName(tuple(_attribute(item) for item in attributes))


def _attribute(item: x509.Attribute) -> NameAttribute:
    kind = _TYPES.get(item.oid)
    if kind is None:
        raise DecodeError(f"name attribute {item.oid} is not known")
    expected = (der.UTF8_STRING, der.PRINTABLE_STRING)
    if kind is AttributeType.DOMAIN_COMPONENT:
        expected = (der.IA5_STRING, der.IA5_STRING)
    if item.tag not in expected:
        raise DecodeError(f"name attribute {item.oid} has an unexpected string type")
    try:
        text = item.value.decode()
    except UnicodeDecodeError:
        raise DecodeError("name attribute is not UTF-8") from None
    digits = ATTRIBUTE_DIGITS.get(kind)
    if digits is None:
        return NameAttribute(kind, text, item.tag == der.PRINTABLE_STRING)
    if len(text) != digits or any(character not in "0123456789ABCDEF" for character in text):
        raise DecodeError(f"name attribute {item.oid} is not {digits} hexadecimal digits")
    return NameAttribute(kind, int(text, 16))
