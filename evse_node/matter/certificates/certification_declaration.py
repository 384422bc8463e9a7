"""The certification declaration of a device type, signed by its certifier.

It is a TLV structure inside a CMS message in DER.

Spec: Matter Core 1.3 "Certification Declaration"
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from evse_node.errors import DecodeError
from evse_node.matter import der, tlv
from evse_node.matter.certificates import x509
from evse_node.matter.crypto import (
    ECDSA_WITH_SHA256,
    KeyPair,
    signature_from_der,
    signature_to_der,
)
from evse_node.matter.tlv import TlvValue
from evse_node.matter.tlv_fields import expect_array, expect_octets, expect_text, expect_unsigned

FORMAT_VERSION: Final = 1
CERTIFICATE_ID_SIZE: Final = 19
MAX_PRODUCT_IDS: Final = 100
_OID_SIGNED_DATA = der.object_identifier("1.2.840.113549.1.7.2")
_OID_DATA = der.object_identifier("1.2.840.113549.1.7.1")
_SHA256 = der.sequence(der.object_identifier("2.16.840.1.101.3.4.2.1"))
_VERSION_3 = der.integer(3)
_CONTENT = 0xA0
_SUBJECT_KEY_ID = 0x80


class CertificationDeclaration(Struct, frozen=True):
    """Content of the declaration.

    `certification_type` is 0 for development, 1 provisional, 2 official.
    The origin is the vendor and product of the DAC where they differ from these.
    """

    vendor_id: int
    product_ids: tuple[int, ...]
    device_type_id: int
    certificate_id: str
    security_level: int = 0
    security_information: int = 0
    version_number: int = 1
    certification_type: int = 0
    dac_origin_vendor_id: int | None = None
    dac_origin_product_id: int | None = None
    authorized_paa_list: tuple[bytes, ...] | None = None


def encode_declaration(declaration: CertificationDeclaration) -> bytes:
    """Encode the TLV structure that is signed."""
    members: dict[tlv.TagKey, TlvValue] = {
        0: FORMAT_VERSION,
        1: declaration.vendor_id,
        2: list(declaration.product_ids),
        3: declaration.device_type_id,
        4: declaration.certificate_id,
        5: declaration.security_level,
        6: declaration.security_information,
        7: declaration.version_number,
        8: declaration.certification_type,
    }
    if declaration.dac_origin_vendor_id is not None:
        members[9] = declaration.dac_origin_vendor_id
    if declaration.dac_origin_product_id is not None:
        members[10] = declaration.dac_origin_product_id
    if declaration.authorized_paa_list is not None:
        members[11] = list(declaration.authorized_paa_list)
    return tlv.encode(members)


def decode_declaration(content: bytes) -> CertificationDeclaration:
    """Decode the TLV structure that is signed; raises DecodeError."""
    members = tlv.decode_struct(content, max_depth=3)
    if members.get(0) != FORMAT_VERSION:
        raise DecodeError("certification declaration has an unknown format version")
    product_ids = expect_array(members.get(2))
    if not 1 <= len(product_ids) <= MAX_PRODUCT_IDS:
        raise DecodeError(f"certification declaration has {len(product_ids)} product ids")
    certificate_id = expect_text(members.get(4))
    if len(certificate_id) != CERTIFICATE_ID_SIZE:
        raise DecodeError("certificate id does not have 19 characters")
    return CertificationDeclaration(
        vendor_id=expect_unsigned(members.get(1), 0xFFFF),
        product_ids=tuple(expect_unsigned(item, 0xFFFF) for item in product_ids),
        device_type_id=expect_unsigned(members.get(3), 0xFFFFFFFF),
        certificate_id=certificate_id,
        security_level=expect_unsigned(members.get(5), 0xFF),
        security_information=expect_unsigned(members.get(6), 0xFFFF),
        version_number=expect_unsigned(members.get(7), 0xFFFF),
        certification_type=expect_unsigned(members.get(8), 0xFF),
        dac_origin_vendor_id=expect_unsigned(members[9], 0xFFFF) if 9 in members else None,
        dac_origin_product_id=expect_unsigned(members[10], 0xFFFF) if 10 in members else None,
        authorized_paa_list=(
            tuple(expect_octets(item, x509.KEY_ID_SIZE) for item in expect_array(members[11]))
            if 11 in members
            else None
        ),
    )


class SignedDeclaration(Struct, frozen=True):
    """The parts of the CMS message."""

    content: bytes
    signer_key_id: bytes
    signature: bytes


def sign_declaration(content: bytes, signer: KeyPair, signer_key_id: bytes) -> bytes:
    """Return the CMS message, signed by the key that `signer_key_id` names."""
    signer_info = der.sequence(
        _VERSION_3,
        der.element(_SUBJECT_KEY_ID, signer_key_id),
        _SHA256,
        ECDSA_WITH_SHA256,
        der.octet_string(signature_to_der(signer.sign(content))),
    )
    signed_data = der.sequence(
        _VERSION_3,
        der.set_of(_SHA256),
        der.sequence(_OID_DATA, der.explicit(0, der.octet_string(content))),
        der.set_of(signer_info),
    )
    return der.sequence(_OID_SIGNED_DATA, der.explicit(0, signed_data))


def parse_signed_declaration(data: bytes) -> SignedDeclaration:
    """Take the CMS message apart, without verifying it; raises DecodeError."""
    outer = der.Reader(data)
    content_info = outer.enter()
    outer.finish()
    _expect(content_info, _OID_SIGNED_DATA)
    wrapped = content_info.enter(_CONTENT)
    content_info.finish()
    signed_data = wrapped.enter()
    wrapped.finish()

    _expect(signed_data, _VERSION_3)
    _expect(signed_data, der.set_of(_SHA256))
    encapsulated = signed_data.enter()
    _expect(encapsulated, _OID_DATA)
    wrapped = encapsulated.enter(_CONTENT)
    encapsulated.finish()
    content = wrapped.content(der.OCTET_STRING)
    wrapped.finish()
    signers = signed_data.enter(der.SET)
    signed_data.finish()

    signer = signers.enter()
    signers.finish()
    _expect(signer, _VERSION_3)
    key_id = signer.content(_SUBJECT_KEY_ID)
    _expect(signer, _SHA256)
    _expect(signer, ECDSA_WITH_SHA256)
    signature = signature_from_der(signer.content(der.OCTET_STRING))
    signer.finish()
    return SignedDeclaration(content, key_id, signature)


def _expect(reader: der.Reader, encoded: bytes) -> None:
    if reader.any()[2] != encoded:
        raise DecodeError("message is not a signed certification declaration")
