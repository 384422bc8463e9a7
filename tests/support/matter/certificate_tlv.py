"""Encoder for operational certificates in Matter TLV; a node only decodes them."""

from __future__ import annotations

from evse_node.matter import tlv
from evse_node.matter.certificates.certificate import Certificate
from evse_node.matter.certificates.certificate_extensions import Extensions
from evse_node.matter.certificates.distinguished_name import (
    AttributeType,
    DistinguishedName,
    NameAttribute,
)
from evse_node.matter.tlv import TlvList, TlvValue

_ALGORITHM = 1
_FUTURE_EXTENSION = 6
_PRINTABLE_FLAG = 0x80


def make_name(*attributes: tuple[AttributeType, int | str]) -> DistinguishedName:
    """Return a distinguished name of (type, value) pairs."""
    return DistinguishedName(tuple(NameAttribute(kind, value) for kind, value in attributes))


def encode_certificate(certificate: Certificate) -> bytes:
    """Encode a certificate as Matter TLV."""
    return tlv.encode(
        {
            1: certificate.serial,
            2: _ALGORITHM,
            3: _encode_name(certificate.issuer),
            4: certificate.not_before,
            5: certificate.not_after,
            6: _encode_name(certificate.subject),
            7: _ALGORITHM,
            8: _ALGORITHM,
            9: certificate.public_key,
            10: _encode_extensions(certificate.extensions),
            11: certificate.signature,
        }
    )


def _encode_name(name: DistinguishedName) -> TlvList:
    return TlvList(
        (item.type | (_PRINTABLE_FLAG if item.printable else 0), item.value)
        for item in name.attributes
    )


def _encode_extensions(extensions: Extensions) -> TlvList:
    known: dict[int, TlvValue] = {}
    if (constraints := extensions.basic_constraints) is not None:
        members: dict[tlv.TagKey, TlvValue] = {1: constraints.is_ca}
        if constraints.path_length is not None:
            members[2] = constraints.path_length
        known[1] = members
    if extensions.key_usage is not None:
        known[2] = int(extensions.key_usage)
    if extensions.extended_key_usage is not None:
        known[3] = [int(purpose) for purpose in extensions.extended_key_usage]
    if extensions.subject_key_id is not None:
        known[4] = extensions.subject_key_id
    if extensions.authority_key_id is not None:
        known[5] = extensions.authority_key_id
    future = iter(extensions.future)
    return TlvList(
        (tag, known[tag] if tag in known else next(future))
        for tag in extensions.order
        if tag in known or tag == _FUTURE_EXTENSION
    )
