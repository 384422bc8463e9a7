"""Chains of operational certificates: every rule, and what breaks each of them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from cryptography import x509 as reference
from msgspec.structs import replace

from evse_node.matter.certificates import x509
from evse_node.matter.certificates.certificate import (
    CertificateError,
    Fault,
    decode_certificate,
    verify_chain,
    verify_root,
)
from evse_node.matter.certificates.certificate_extensions import (
    BasicConstraints,
    KeyPurpose,
    KeyUsage,
)
from evse_node.matter.certificates.distinguished_name import (
    AttributeType,
)
from evse_node.matter.crypto import KeyPair, verify_signature
from tests.support.matter.certificate_tlv import make_name
from tests.support.matter.fake_ca import (
    NOT_BEFORE,
    CertificateAuthority,
    Change,
    key_id,
    sign_certificate,
)
from tests.support.matter.x509_certificates import certificate_to_x509, vector

NODE_KEY = KeyPair.from_private(bytes(31) + b"\x05")


@pytest.mark.parametrize(
    ("noc", "icac", "rcac"),
    [
        ("Node01_01", "ICA01", "Root01"),
        ("Node01_02", None, "Root01"),
        ("Node02_01", "ICA02", "Root02"),
        ("Node02_02", "ICA02", "Root02"),
        ("Node02_03", "ICA02", "Root02"),
        ("Node02_05", "ICA02", "Root02"),
        ("Node02_06", "ICA02", "Root02"),
    ],
)
def test_vector_chains_verify(noc: str, icac: str | None, rcac: str) -> None:
    verify_root(vector(rcac))
    chain = (vector(noc), None if icac is None else vector(icac), vector(rcac))
    verify_chain(*chain, None)
    verify_chain(*chain, chain[0].not_before)
    with pytest.raises(CertificateError) as caught:
        verify_chain(*chain, chain[0].not_before - 1)
    assert caught.value.fault is Fault.NOT_YET_VALID


def test_chain_with_another_issuer_is_rejected() -> None:
    with pytest.raises(CertificateError) as caught:
        verify_chain(vector("Node01_01"), vector("ICA02"), vector("Root02"), None)
    assert caught.value.fault is Fault.ISSUER


# --- chains of our own


def check(
    noc: Change | None = None,
    icac: Change | None = None,
    rcac: Change | None = None,
    *,
    node_id: int = 5,
    tags: tuple[int, ...] = (),
    with_icac: bool = True,
    epoch_s: int | None = None,
) -> None:
    same: Change = lambda certificate: certificate  # noqa: E731
    authority = CertificateAuthority(
        with_icac=with_icac, change_icac=icac or same, change_rcac=rcac or same
    )
    encoded = authority.issue_noc(
        NODE_KEY.public_key, node_id, case_authenticated_tags=tags, change=noc or same
    )
    verify_chain(
        decode_certificate(encoded),
        None if authority.icac is None else decode_certificate(authority.icac),
        decode_certificate(authority.rcac),
        epoch_s,
    )


def fault_of(**arguments: object) -> Fault:
    with pytest.raises(CertificateError) as caught:
        check(**arguments)  # type: ignore[arg-type]
    return caught.value.fault


def with_extensions(**changes: object) -> Change:
    return lambda certificate: replace(
        certificate,
        extensions=replace(certificate.extensions, **changes),
    )


def with_subject(*names: tuple[AttributeType, int | str]) -> Change:
    return lambda certificate: replace(certificate, subject=make_name(*names))


def test_valid_chains_verify() -> None:
    check()
    check(with_icac=False)
    check(tags=(0x00010001, 0xFFFF0001, 0x00020002))
    check(tags=(0xFFFFFFFF,))
    check(node_id=0xFFFFFFEFFFFFFFFF)
    check(epoch_s=NOT_BEFORE)
    check(rcac=with_extensions(basic_constraints=BasicConstraints(True, 1)))
    check(
        rcac=with_extensions(basic_constraints=BasicConstraints(True, 0)),
        with_icac=False,
    )
    check(
        rcac=with_extensions(
            key_usage=KeyUsage.KEY_CERT_SIGN | KeyUsage.CRL_SIGN | KeyUsage.DIGITAL_SIGNATURE
        )
    )
    not_critical = x509.encode_extension("1.2.3.4", False, b"\x05\x00")
    check(noc=with_extensions(future=(not_critical,), order=(1, 2, 3, 4, 5, 6)))


@pytest.mark.parametrize("node_id", [0, 0xFFFFFFF000000000, 0xFFFFFFFFFFFFFFFF])
def test_node_id_out_of_range_is_rejected(node_id: int) -> None:
    assert fault_of(node_id=node_id) is Fault.NODE_ID


@pytest.mark.parametrize(
    "tags",
    [
        (0x00010000,),
        (0,),
        (0x00010001, 0x00010002),
        (0x00010001, 0x00010001),
    ],
)
def test_invalid_case_authenticated_tags_are_rejected(tags: tuple[int, ...]) -> None:
    assert fault_of(tags=tags) is Fault.SUBJECT


NODE = (AttributeType.NODE_ID, 5)
FABRIC = (AttributeType.FABRIC_ID, 1)


@pytest.mark.parametrize(
    "names",
    [
        (NODE,),
        (FABRIC,),
        (NODE, FABRIC, FABRIC),
        (NODE, NODE, FABRIC),
        (NODE, (AttributeType.FABRIC_ID, 0)),
        (NODE, FABRIC, (AttributeType.RCAC_ID, 1)),
        (NODE, FABRIC, (AttributeType.ICAC_ID, 1)),
        (NODE, FABRIC, (AttributeType.FIRMWARE_SIGNING_ID, 1)),
        (),
    ],
)
def test_invalid_node_subject_is_rejected(names: tuple[tuple[AttributeType, int], ...]) -> None:
    assert fault_of(noc=with_subject(*names)) is Fault.SUBJECT


@pytest.mark.parametrize(
    "names",
    [
        (),
        ((AttributeType.RCAC_ID, 1),),
        ((AttributeType.ICAC_ID, 2), (AttributeType.ICAC_ID, 2)),
        ((AttributeType.ICAC_ID, 2), NODE),
        ((AttributeType.ICAC_ID, 2), (AttributeType.NOC_CAT, 0x00010001)),
        ((AttributeType.ICAC_ID, 2), (AttributeType.FABRIC_ID, 0)),
    ],
)
def test_invalid_authority_subject_is_rejected(
    names: tuple[tuple[AttributeType, int], ...],
) -> None:
    assert fault_of(icac=with_subject(*names)) is Fault.SUBJECT


def test_authority_of_another_fabric_is_rejected() -> None:
    authority = CertificateAuthority(7, fabric_id_in_authorities=True)
    assert authority.icac is not None
    icac, rcac = decode_certificate(authority.icac), decode_certificate(authority.rcac)
    good = decode_certificate(authority.issue_noc(NODE_KEY.public_key, 5))
    verify_chain(good, icac, rcac, None)
    bad = decode_certificate(authority.issue_noc(NODE_KEY.public_key, 5, fabric_id=8))
    with pytest.raises(CertificateError) as caught:
        verify_chain(bad, icac, rcac, None)
    assert caught.value.fault is Fault.FABRIC_ID


@pytest.mark.parametrize(
    "arguments",
    [
        {"noc": with_extensions(basic_constraints=BasicConstraints(True))},
        {"noc": with_extensions(basic_constraints=None)},
        {"noc": with_extensions(basic_constraints=BasicConstraints(False, 0))},
        {"noc": with_extensions(key_usage=None)},
        {"noc": with_extensions(key_usage=KeyUsage.KEY_AGREEMENT)},
        {"noc": with_extensions(extended_key_usage=None)},
        {"noc": with_extensions(extended_key_usage=(KeyPurpose.CLIENT_AUTH,))},
        {"noc": with_extensions(extended_key_usage=(KeyPurpose.SERVER_AUTH,))},
        {"icac": with_extensions(basic_constraints=BasicConstraints(False))},
        {"icac": with_extensions(basic_constraints=None)},
        {"icac": with_extensions(key_usage=KeyUsage.CRL_SIGN)},
        {"icac": with_extensions(key_usage=KeyUsage.KEY_CERT_SIGN)},
        {"icac": with_extensions(extended_key_usage=(KeyPurpose.SERVER_AUTH,))},
        {"rcac": with_extensions(key_usage=None)},
        {"rcac": with_extensions(basic_constraints=BasicConstraints(True, 0))},
    ],
)
def test_wrong_key_usage_is_rejected(arguments: dict[str, Change]) -> None:
    assert fault_of(**arguments) is Fault.USAGE


@pytest.mark.parametrize(
    "change",
    [
        with_extensions(subject_key_id=None),
        with_extensions(authority_key_id=None),
        with_extensions(
            future=(x509.encode_extension("1.2.3.4", True, b"\x05\x00"),),
            order=(1, 2, 3, 4, 5, 6),
        ),
    ],
)
def test_missing_or_critical_extensions_are_rejected(change: Change) -> None:
    assert fault_of(noc=change) is Fault.EXTENSION
    assert fault_of(icac=change) is Fault.EXTENSION
    assert fault_of(rcac=change, with_icac=False) is Fault.EXTENSION


def test_broken_links_between_certificates_are_rejected() -> None:
    other_key = with_extensions(authority_key_id=bytes(20))
    other_name: Change = lambda certificate: replace(  # noqa: E731
        certificate, issuer=make_name((AttributeType.ICAC_ID, 99))
    )
    for change in (other_key, other_name):
        assert fault_of(noc=change) is Fault.ISSUER
        assert fault_of(icac=change) is Fault.ISSUER


def test_chain_without_its_intermediate_is_rejected() -> None:
    authority = CertificateAuthority()
    noc = decode_certificate(authority.issue_noc(NODE_KEY.public_key, 5))
    with pytest.raises(CertificateError) as caught:
        verify_chain(noc, None, decode_certificate(authority.rcac), None)
    assert caught.value.fault is Fault.ISSUER


def test_signature_by_another_key_is_rejected() -> None:
    authority = CertificateAuthority(with_icac=False)
    noc = decode_certificate(authority.issue_noc(NODE_KEY.public_key, 5))
    forged = decode_certificate(sign_certificate(noc, KeyPair.generate()))
    rcac = decode_certificate(authority.rcac)
    with pytest.raises(CertificateError) as caught:
        verify_chain(forged, None, rcac, None)
    assert caught.value.fault is Fault.SIGNATURE


def test_validity_period_is_checked() -> None:
    ends: Change = lambda certificate: replace(certificate, not_after=NOT_BEFORE + 100)  # noqa: E731
    check(noc=ends, epoch_s=NOT_BEFORE + 100)
    assert fault_of(noc=ends, epoch_s=NOT_BEFORE + 101) is Fault.EXPIRED
    assert fault_of(icac=ends, epoch_s=NOT_BEFORE + 101) is Fault.EXPIRED
    assert fault_of(rcac=ends, epoch_s=NOT_BEFORE + 101) is Fault.EXPIRED
    assert fault_of(epoch_s=NOT_BEFORE - 1) is Fault.NOT_YET_VALID


def test_root_certificate_is_verified_alone() -> None:
    authority = CertificateAuthority()
    root = decode_certificate(authority.rcac)
    verify_root(root)
    assert authority.icac is not None
    cases = [
        (decode_certificate(authority.icac), Fault.SUBJECT),
        (replace(root, signature=bytes(64)), Fault.SIGNATURE),
        (replace(root, issuer=make_name((AttributeType.RCAC_ID, 9))), Fault.ISSUER),
        (with_extensions(authority_key_id=bytes(20))(root), Fault.ISSUER),
        (with_extensions(basic_constraints=BasicConstraints(True, 2))(root), Fault.USAGE),
    ]
    for certificate, fault in cases:
        with pytest.raises(CertificateError) as caught:
            verify_root(certificate)
        assert caught.value.fault is fault


def test_fake_authority_certificates_verify_in_other_library() -> None:
    authority = CertificateAuthority()
    assert authority.icac is not None
    encoded = (authority.issue_noc(NODE_KEY.public_key, 5), authority.icac, authority.rcac)
    chain = [decode_certificate(item) for item in encoded]
    for child, issuer in pairwise(
        reference.load_der_x509_certificate(certificate_to_x509(item)) for item in chain
    ):
        child.verify_directly_issued_by(issuer)
    assert chain[0].extensions.subject_key_id == key_id(NODE_KEY.public_key)
    verify_signature(authority.root_public_key, chain[1].to_x509_der_tbs(), chain[1].signature)
