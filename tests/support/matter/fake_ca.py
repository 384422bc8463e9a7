"""Certificate authority of a commissioner, for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from msgspec.structs import replace

from evse_node.matter.certificates.certificate import Certificate
from evse_node.matter.certificates.certificate_extensions import (
    BasicConstraints,
    Extensions,
    KeyPurpose,
    KeyUsage,
)
from evse_node.matter.certificates.distinguished_name import AttributeType, DistinguishedName
from evse_node.matter.crypto import KeyPair
from evse_node.matter.der import Reader
from tests.support.matter.certificate_tlv import encode_certificate, make_name

# 2021-01-01; certificates expire only where a test sets it.
NOT_BEFORE = 662_688_000

Change = Callable[[Certificate], Certificate]


def key_id(public_key: bytes) -> bytes:
    return hashlib.sha1(public_key).digest()


def unchanged(certificate: Certificate) -> Certificate:
    return certificate


def authority_extensions(subject_key: bytes, issuer_key: bytes) -> Extensions:
    return Extensions(
        basic_constraints=BasicConstraints(is_ca=True),
        key_usage=KeyUsage.KEY_CERT_SIGN | KeyUsage.CRL_SIGN,
        subject_key_id=key_id(subject_key),
        authority_key_id=key_id(issuer_key),
    )


def node_extensions(subject_key: bytes, issuer_key: bytes) -> Extensions:
    return Extensions(
        basic_constraints=BasicConstraints(is_ca=False),
        key_usage=KeyUsage.DIGITAL_SIGNATURE,
        extended_key_usage=(KeyPurpose.CLIENT_AUTH, KeyPurpose.SERVER_AUTH),
        subject_key_id=key_id(subject_key),
        authority_key_id=key_id(issuer_key),
    )


def sign_certificate(certificate: Certificate, key: KeyPair) -> bytes:
    """Return the certificate as Matter TLV, signed by `key`."""
    return encode_certificate(
        replace(certificate, signature=key.sign(certificate.to_x509_der_tbs()))
    )


def public_key_of_csr(csr: bytes) -> bytes:
    """Return the 65-byte public key that a PKCS#10 request asks to certify."""
    information = Reader(csr).enter().enter()
    information.integer()
    information.any()
    subject_public_key = information.enter()
    subject_public_key.any()
    return subject_public_key.bit_string()[0]


class CertificateAuthority:
    """A root, with an intermediate authority unless `with_icac` is False.

    `rcac` and `icac` are Matter TLV; `issue_noc` issues for a public key. The
    `change_…` functions alter a certificate before it is signed.
    """

    def __init__(
        self,
        fabric_id: int = 1,
        *,
        with_icac: bool = True,
        rcac_id: int = 1,
        icac_id: int = 2,
        fabric_id_in_authorities: bool = False,
        change_rcac: Change = unchanged,
        change_icac: Change = unchanged,
    ) -> None:
        self.fabric_id = fabric_id
        self.root_key = KeyPair.generate()
        self.ica_key = KeyPair.generate()
        self._serial = 0
        extra = ((AttributeType.FABRIC_ID, fabric_id),) if fabric_id_in_authorities else ()
        self.root_name = make_name((AttributeType.RCAC_ID, rcac_id), *extra)
        self.ica_name = make_name((AttributeType.ICAC_ID, icac_id), *extra)
        self.rcac = sign_certificate(
            change_rcac(
                self._make(
                    self.root_name,
                    self.root_name,
                    self.root_key.public_key,
                    authority_extensions(self.root_key.public_key, self.root_key.public_key),
                )
            ),
            self.root_key,
        )
        self.icac: bytes | None = None
        if with_icac:
            self.icac = sign_certificate(
                change_icac(
                    self._make(
                        self.root_name,
                        self.ica_name,
                        self.ica_key.public_key,
                        authority_extensions(self.ica_key.public_key, self.root_key.public_key),
                    )
                ),
                self.root_key,
            )

    @property
    def root_public_key(self) -> bytes:
        return self.root_key.public_key

    @property
    def issuing_key(self) -> KeyPair:
        return self.ica_key if self.icac is not None else self.root_key

    def _make(
        self,
        issuer: DistinguishedName,
        subject: DistinguishedName,
        public_key: bytes,
        extensions: Extensions,
    ) -> Certificate:
        self._serial += 1
        return Certificate(
            serial=bytes((self._serial,)),
            issuer=issuer,
            not_before=NOT_BEFORE,
            not_after=0,
            subject=subject,
            public_key=public_key,
            extensions=extensions,
        )

    def issue_noc(
        self,
        public_key: bytes,
        node_id: int,
        *,
        case_authenticated_tags: tuple[int, ...] = (),
        fabric_id: int | None = None,
        change: Change = unchanged,
    ) -> bytes:
        """Return a node certificate as Matter TLV."""
        subject = make_name(
            (AttributeType.NODE_ID, node_id),
            (AttributeType.FABRIC_ID, self.fabric_id if fabric_id is None else fabric_id),
            *((AttributeType.NOC_CAT, tag) for tag in case_authenticated_tags),
        )
        return sign_certificate(
            change(
                self._make(
                    self.ica_name if self.icac is not None else self.root_name,
                    subject,
                    public_key,
                    node_extensions(public_key, self.issuing_key.public_key),
                )
            ),
            self.issuing_key,
        )

    def issue_noc_for_csr(self, csr: bytes, node_id: int) -> bytes:
        """Return a node certificate for the key of a PKCS#10 request."""
        return self.issue_noc(public_key_of_csr(csr), node_id)
