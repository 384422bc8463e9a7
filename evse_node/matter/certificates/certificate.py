"""Operational certificates in Matter TLV, as X.509, and the chains that they form.

The signature of a certificate covers its X.509 form, which is made from the TLV.

Spec: Matter Core 1.3 "Node Operational Credentials Specification"
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from msgspec import Struct

from evse_node.errors import CryptoError, DecodeError
from evse_node.matter import tlv
from evse_node.matter.certificates import x509
from evse_node.matter.certificates.certificate_extensions import (
    Extensions,
    KeyPurpose,
    KeyUsage,
    decode_extensions,
)
from evse_node.matter.certificates.distinguished_name import (
    AttributeType,
    DistinguishedName,
    decode_name,
)
from evse_node.matter.certificates.x509 import NO_EXPIRY
from evse_node.matter.crypto import (
    PUBLIC_KEY_SIZE,
    SIGNATURE_SIZE,
    check_public_key,
    verify_signature,
)
from evse_node.matter.data_model import is_operational_node_id
from evse_node.matter.tlv_fields import expect_octets, expect_unsigned

MAX_CERTIFICATE_SIZE: Final = 400
# 20 octets, and the zero octet that DER puts before a high first bit.
_MAX_SERIAL_SIZE = 21
# Each algorithm and the curve have this one value.
_ALGORITHM = 1
_MEMBERS = list(range(1, 12))

MAX_CASE_AUTHENTICATED_TAGS: Final = 3

# Attributes of which exactly one is present, and which determines the kind of certificate.
_KIND_ATTRIBUTES = (
    AttributeType.NODE_ID,
    AttributeType.FIRMWARE_SIGNING_ID,
    AttributeType.ICAC_ID,
    AttributeType.RCAC_ID,
)


class Certificate(Struct, frozen=True):
    """An operational certificate.

    `serial` is the content octets of the DER serial number; times are seconds since
    2000, an end of 0 meaning none.
    """

    serial: bytes
    issuer: DistinguishedName
    not_before: int
    not_after: int
    subject: DistinguishedName
    public_key: bytes
    extensions: Extensions
    signature: bytes = bytes(SIGNATURE_SIZE)

    def to_x509_der_tbs(self) -> bytes:
        """Return the bytes that the signature covers."""
        return x509.encode_tbs(
            serial=self.serial,
            issuer=self.issuer.to_x509(),
            not_before=self.not_before,
            not_after=self.not_after,
            subject=self.subject.to_x509(),
            public_key=self.public_key,
            extensions=self.extensions.to_x509(),
        )


def decode_certificate(data: bytes) -> Certificate:
    """Decode a certificate from Matter TLV.

    Raises DecodeError for more than 400 bytes, for a member that is missing, unknown,
    out of order or out of range, and for a public key that is not a point of P-256.
    Spec: Matter Core 1.3 "Matter certificate"
    """
    if len(data) > MAX_CERTIFICATE_SIZE:
        raise DecodeError(f"certificate of {len(data)} bytes")
    members = tlv.decode_struct(data, max_depth=4)
    if list(members) != _MEMBERS:
        raise DecodeError("certificate lacks a member or has one too many")
    if any(expect_unsigned(members[tag], 0xFF) != _ALGORITHM for tag in (2, 7, 8)):
        raise DecodeError("certificate uses an unknown algorithm or curve")
    public_key = expect_octets(members[9], PUBLIC_KEY_SIZE)
    try:
        check_public_key(public_key)
    except CryptoError as error:
        raise DecodeError(str(error)) from None
    return Certificate(
        serial=expect_octets(members[1], 1, _MAX_SERIAL_SIZE),
        issuer=decode_name(members[3]),
        not_before=expect_unsigned(members[4], 0xFFFFFFFF),
        not_after=expect_unsigned(members[5], 0xFFFFFFFF),
        subject=decode_name(members[6]),
        public_key=public_key,
        extensions=decode_extensions(members[10]),
        signature=expect_octets(members[11], SIGNATURE_SIZE),
    )


class Fault(Enum):
    """The fault of a certificate or a chain."""

    NODE_ID = auto()
    """The node identifier is outside the operational range."""
    SUBJECT = auto()
    """The subject lacks an identifier, or has one that does not belong there."""
    FABRIC_ID = auto()
    """The certificates of the chain name different fabrics."""
    USAGE = auto()
    """Key usage, extended key usage or basic constraints do not fit the role."""
    EXTENSION = auto()
    """A key identifier is missing, or a critical extension is unknown."""
    ISSUER = auto()
    """Names or key identifiers do not lead from one certificate to the next."""
    SIGNATURE = auto()
    """A signature does not verify."""
    NOT_YET_VALID = auto()
    """The validity has not begun."""
    EXPIRED = auto()
    """The validity is over."""


class CertificateError(CryptoError):
    """A certificate or chain is not valid; `fault` is the reason."""

    def __init__(self, fault: Fault, reason: str) -> None:
        self.fault = fault
        super().__init__(reason)


def is_valid_case_authenticated_tag(tag: int) -> bool:
    """Return whether `tag` has 32 bits and a version other than 0."""
    return 0 < tag <= 0xFFFFFFFF and tag & 0xFFFF != 0


def verify_root(rcac: Certificate) -> None:
    """Check a root certificate by itself: its form, and that it signed itself.

    Raises CertificateError.
    """
    _check_authority(rcac, AttributeType.RCAC_ID)
    constraints = rcac.extensions.basic_constraints
    if constraints and constraints.path_length is not None and constraints.path_length > 1:
        raise CertificateError(Fault.USAGE, "root allows more than one intermediate authority")
    _check_issued_by(rcac, rcac)


def verify_chain(
    noc: Certificate, icac: Certificate | None, rcac: Certificate, epoch_s: int | None
) -> None:
    """Check that `noc` leads over `icac`, if any, to the trusted root `rcac`.

    `epoch_s` is the time in seconds since 2000, or None when it is not known; then
    validity periods are not checked. That the root signed itself is not checked
    again. Raises CertificateError.
    """
    _check_node(noc)
    _check_authority(rcac, AttributeType.RCAC_ID)
    issuer = rcac
    if icac is not None:
        _check_authority(icac, AttributeType.ICAC_ID)
        _check_path_length(rcac)
        _check_issued_by(icac, rcac)
        issuer = icac
    _check_issued_by(noc, issuer)
    for authority in (icac, rcac):
        if authority is None or (fabric_id := authority.subject.fabric_id) is None:
            continue
        if fabric_id != noc.subject.fabric_id:
            raise CertificateError(Fault.FABRIC_ID, "authority belongs to another fabric")
    if epoch_s is not None:
        for certificate in (noc, icac, rcac):
            if certificate is not None:
                _check_validity(certificate, epoch_s)


def _check_subject(certificate: Certificate, kind: AttributeType) -> None:
    subject = certificate.subject
    for attribute in _KIND_ATTRIBUTES:
        expected = 1 if attribute is kind else 0
        if len(subject.numbers(attribute)) != expected:
            raise CertificateError(Fault.SUBJECT, f"subject does not have one {kind.name} only")
    fabric_ids = subject.numbers(AttributeType.FABRIC_ID)
    if len(fabric_ids) > 1 or 0 in fabric_ids:
        raise CertificateError(Fault.SUBJECT, "subject has a fabric id of 0, or several")


def _check_common(certificate: Certificate) -> None:
    extensions = certificate.extensions
    if extensions.subject_key_id is None or extensions.authority_key_id is None:
        raise CertificateError(Fault.EXTENSION, "key identifier is missing")
    if extensions.has_critical_future():
        raise CertificateError(Fault.EXTENSION, "critical extension is not known")


def _check_node(noc: Certificate) -> None:
    _check_subject(noc, AttributeType.NODE_ID)
    subject = noc.subject
    if subject.node_id is None or not is_operational_node_id(subject.node_id):
        raise CertificateError(Fault.NODE_ID, "node id is not operational")
    if subject.fabric_id is None:
        raise CertificateError(Fault.SUBJECT, "subject has no fabric id")
    tags = subject.case_authenticated_tags
    if len(tags) > MAX_CASE_AUTHENTICATED_TAGS:
        raise CertificateError(Fault.SUBJECT, f"{len(tags)} CASE authenticated tags")
    if not all(is_valid_case_authenticated_tag(tag) for tag in tags):
        raise CertificateError(Fault.SUBJECT, "CASE authenticated tag has version 0")
    if len({tag >> 16 for tag in tags}) != len(tags):
        raise CertificateError(Fault.SUBJECT, "CASE authenticated tag is repeated")
    extensions = noc.extensions
    if extensions.basic_constraints is None or extensions.basic_constraints.is_ca:
        raise CertificateError(Fault.USAGE, "node certificate may sign certificates")
    if extensions.basic_constraints.path_length is not None:
        raise CertificateError(Fault.USAGE, "node certificate has a path length")
    if not (extensions.key_usage or 0) & KeyUsage.DIGITAL_SIGNATURE:
        raise CertificateError(Fault.USAGE, "node's key may not sign")
    purposes = extensions.extended_key_usage or ()
    if KeyPurpose.SERVER_AUTH not in purposes or KeyPurpose.CLIENT_AUTH not in purposes:
        raise CertificateError(Fault.USAGE, "node's key is not for client and server")
    _check_common(noc)


def _check_authority(certificate: Certificate, kind: AttributeType) -> None:
    _check_subject(certificate, kind)
    if certificate.subject.case_authenticated_tags:
        raise CertificateError(Fault.SUBJECT, "authority has a CASE authenticated tag")
    extensions = certificate.extensions
    if extensions.basic_constraints is None or not extensions.basic_constraints.is_ca:
        raise CertificateError(Fault.USAGE, "authority may not sign certificates")
    # More usages than these two are tolerated: there are roots that have digitalSignature.
    needed = KeyUsage.KEY_CERT_SIGN | KeyUsage.CRL_SIGN
    if (extensions.key_usage or 0) & needed != needed:
        raise CertificateError(Fault.USAGE, "authority's key may not sign certificates")
    if extensions.extended_key_usage is not None:
        raise CertificateError(Fault.USAGE, "authority has an extended key usage")
    _check_common(certificate)


def _check_path_length(rcac: Certificate) -> None:
    constraints = rcac.extensions.basic_constraints
    if constraints is not None and constraints.path_length == 0:
        raise CertificateError(Fault.USAGE, "root allows no intermediate authority")


def _check_issued_by(certificate: Certificate, issuer: Certificate) -> None:
    if certificate.issuer != issuer.subject:
        raise CertificateError(Fault.ISSUER, "issuer's name differs")
    if certificate.extensions.authority_key_id != issuer.extensions.subject_key_id:
        raise CertificateError(Fault.ISSUER, "issuer's key identifier differs")
    try:
        verify_signature(issuer.public_key, certificate.to_x509_der_tbs(), certificate.signature)
    except CryptoError as error:
        raise CertificateError(Fault.SIGNATURE, f"certificate: {error}") from None


def _check_validity(certificate: Certificate, epoch_s: int) -> None:
    if epoch_s < certificate.not_before:
        raise CertificateError(Fault.NOT_YET_VALID, "certificate is not valid yet")
    if certificate.not_after != NO_EXPIRY and epoch_s > certificate.not_after:
        raise CertificateError(Fault.EXPIRED, "certificate has expired")
