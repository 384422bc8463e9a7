"""Operational certificates: vectors, structure, and every rule of the chain."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from cryptography import x509 as reference
from hypothesis import given
from hypothesis import strategies as st

from evse_node.errors import DecodeError
from evse_node.matter import der, tlv, x509
from evse_node.matter.certificate import (
    Certificate,
    CertificateError,
    Fault,
    decode_certificate,
    encode_certificate,
    verify_chain,
    verify_root,
)
from evse_node.matter.certificate_extensions import BasicConstraints, KeyPurpose, KeyUsage
from evse_node.matter.crypto import KeyPair, verify_signature
from evse_node.matter.distinguished_name import (
    AttributeType,
    DistinguishedName,
    NameAttribute,
)
from evse_node.matter.tlv import SignedInt, TlvList, TlvValue
from tests.fake_ca import NOT_BEFORE, CertificateAuthority, Change, key_id, sign_certificate
from tests.vectors.certificates import CERTIFICATES
from tests.x509_certificates import certificate_from_x509, certificate_to_x509

NODE_KEY = KeyPair.from_private(bytes(31) + b"\x05")


def vector(name: str) -> Certificate:
    return decode_certificate(bytes.fromhex(CERTIFICATES[name][0]))


@pytest.mark.parametrize("name", CERTIFICATES)
def test_vectors_in_both_forms_and_directions(name: str) -> None:
    encoded, encoded_x509 = (bytes.fromhex(form) for form in CERTIFICATES[name])
    certificate = decode_certificate(encoded)
    assert certificate.raw == encoded
    assert encode_certificate(certificate) == encoded
    assert certificate_to_x509(certificate) == encoded_x509
    assert certificate_from_x509(encoded_x509) == certificate


@pytest.mark.parametrize("name", CERTIFICATES)
def test_signed_part_is_what_another_library_reads(name: str) -> None:
    encoded, encoded_x509 = (bytes.fromhex(form) for form in CERTIFICATES[name])
    loaded = reference.load_der_x509_certificate(encoded_x509)
    assert decode_certificate(encoded).to_x509_der_tbs() == loaded.tbs_certificate_bytes


@pytest.mark.parametrize("name", CERTIFICATES)
def test_truncated_certificate(name: str) -> None:
    encoded, encoded_x509 = (bytes.fromhex(form) for form in CERTIFICATES[name])
    for length in range(0, len(encoded), 3):
        with pytest.raises(DecodeError):
            decode_certificate(encoded[:length])
    for length in range(0, len(encoded_x509), 7):
        with pytest.raises(DecodeError):
            certificate_from_x509(encoded_x509[:length])


def test_names_of_vectors() -> None:
    node = vector("Node02_05")
    assert node.subject.node_id == 0xDEDEDEDE00020005
    assert node.subject.fabric_id == 0xFAB000000000001D
    assert node.subject.case_authenticated_tags == (0xABCD0010, 0xABCE1008)
    assert node.issuer == vector("ICA02").subject
    assert vector("Root03").subject.numbers(AttributeType.RCAC_ID) == (0xCACACACA00000002,)
    assert len(vector("Node02_06").extensions.future) == 2


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
def test_chains_of_vectors(noc: str, icac: str | None, rcac: str) -> None:
    verify_root(vector(rcac))
    chain = (vector(noc), None if icac is None else vector(icac), vector(rcac))
    verify_chain(*chain, None)
    verify_chain(*chain, chain[0].not_before)
    with pytest.raises(CertificateError) as caught:
        verify_chain(*chain, chain[0].not_before - 1)
    assert caught.value.fault is Fault.NOT_YET_VALID


def test_vector_with_another_issuer() -> None:
    with pytest.raises(CertificateError) as caught:
        verify_chain(vector("Node01_01"), vector("ICA02"), vector("Root02"), None)
    assert caught.value.fault is Fault.ISSUER


# --- structure


def members_of(name: str) -> dict[tlv.TagKey, TlvValue]:
    return tlv.decode_struct(bytes.fromhex(CERTIFICATES[name][0]))


@pytest.mark.parametrize("tag", range(1, 12))
def test_member_that_is_missing_or_of_another_type(tag: int) -> None:
    members = members_of("Node02_05")
    values: list[TlvValue] = [None, True, 1.5, "text", [], {}, SignedInt(1), 1 << 40, b""]
    for value in [*values, TlvList([(1, 5)])]:
        if tag in (3, 6) and isinstance(value, TlvList):
            continue
        with pytest.raises(DecodeError):
            decode_certificate(tlv.encode({**members, tag: value}))
    del members[tag]
    with pytest.raises(DecodeError):
        decode_certificate(tlv.encode(members))


def test_member_too_many_and_wrong_order() -> None:
    members = members_of("Node01_02")
    assert decode_certificate(tlv.encode(members)) == vector("Node01_02")
    with pytest.raises(DecodeError):
        decode_certificate(tlv.encode({**members, 12: 1}))
    with pytest.raises(DecodeError):
        decode_certificate(tlv.encode(dict(reversed(members.items()))))


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (1, bytes(22)),
        (2, 2),
        (7, 0),
        (8, 2),
        (9, b"\x04" + bytes(64)),
        (9, bytes(65)),
        (11, bytes(63)),
        (6, TlvList([(17, 1)] * 6)),
        (6, TlvList([(23, 1)])),
        (6, TlvList([(0, "x")])),
        (6, TlvList([(17 | 0x80, 1)])),
        (6, TlvList([(17, "1")])),
        (6, TlvList([(17, SignedInt(1))])),
        (6, TlvList([(22, 1 << 32)])),
        (6, TlvList([(1, 5)])),
        (6, TlvList([(None, 5)])),
        (6, TlvList([(tlv.Tag(17), 5)])),
        (10, TlvList([(7, b"")])),
        (10, TlvList([(None, 1)])),
        (10, TlvList([(2, 1), (2, 1)])),
        (10, TlvList([(2, 0x200)])),
        (10, TlvList([(1, {})])),
        (10, TlvList([(1, {1: 1})])),
        (10, TlvList([(1, {1: True, 2: 256})])),
        (10, TlvList([(1, {1: True, 3: 0})])),
        (10, TlvList([(1, {2: 1})])),
        (10, TlvList([(3, [7])])),
        (10, TlvList([(3, TlvList([(None, 1)]))])),
        (10, TlvList([(4, bytes(19))])),
        (10, TlvList([(5, bytes(21))])),
        (10, TlvList([(6, b"")])),
        (10, TlvList([(6, b"\x30\x00")])),
        # Basic constraints in the guise of a future extension.
        (10, TlvList([(6, x509.basic_constraints(True, None))])),
    ],
)
def test_member_out_of_range(tag: int, value: TlvValue) -> None:
    with pytest.raises(DecodeError):
        decode_certificate(tlv.encode({**members_of("Node01_02"), tag: value}))


def test_size_limit() -> None:
    certificate = decode_certificate(bytes.fromhex(CERTIFICATES["Node01_02"][0]))
    name = NameAttribute(AttributeType.COMMON_NAME, "x" * 124)
    subject = DistinguishedName((*certificate.subject.attributes, name))
    fits = encode_certificate(replace(certificate, subject=subject))
    longer = DistinguishedName(
        (*certificate.subject.attributes, replace(name, value="x" * (124 + 401 - len(fits))))
    )
    encoded = encode_certificate(replace(certificate, subject=longer))
    assert len(encoded) == 401
    with pytest.raises(DecodeError, match="401 bytes"):
        decode_certificate(encoded)
    shorter = DistinguishedName(
        (*certificate.subject.attributes, replace(name, value="x" * (124 + 400 - len(fits))))
    )
    decode_certificate(encode_certificate(replace(certificate, subject=shorter)))


text = st.text(max_size=12)
attributes = st.one_of(
    st.builds(
        NameAttribute,
        st.sampled_from([kind for kind in AttributeType if kind < AttributeType.NODE_ID]),
        text,
        st.booleans(),
    ),
    st.builds(
        NameAttribute,
        st.sampled_from([kind for kind in AttributeType if kind >= AttributeType.NODE_ID]),
        st.integers(0, 0xFFFFFFFF),
    ),
)


@given(
    st.lists(attributes, max_size=5),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0x1FF),
    st.permutations([1, 2, 3, 4, 5]),
)
def test_any_certificate_survives_both_forms(
    names: list[NameAttribute], not_before: int, not_after: int, usage: int, order: list[int]
) -> None:
    base = vector("Node01_02")
    certificate = replace(
        base,
        subject=DistinguishedName(tuple(names)),
        not_before=not_before,
        not_after=not_after,
        extensions=replace(base.extensions, key_usage=KeyUsage(usage), order=tuple(order)),
    )
    assert decode_certificate(encode_certificate(certificate)) == certificate
    if any(item.type is AttributeType.DOMAIN_COMPONENT and item.printable for item in names):
        return  # X.509 does not tell it from one that is not.
    assert certificate_from_x509(certificate_to_x509(certificate)) == certificate


@given(st.binary(max_size=420))
def test_arbitrary_bytes(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_certificate(data)
    with pytest.raises(DecodeError):
        certificate_from_x509(data)


@given(st.data())
def test_changed_byte(data: st.DataObject) -> None:
    for form in (0, 1):
        encoded = bytearray(bytes.fromhex(CERTIFICATES["Node02_06"][form]))
        position = data.draw(st.integers(0, len(encoded) - 1))
        encoded[position] ^= data.draw(st.integers(1, 255))
        decode = (decode_certificate, certificate_from_x509)[form]
        try:
            certificate = decode(bytes(encoded))
        except DecodeError:
            continue
        # What still decodes must not pass for signed.
        with pytest.raises(CertificateError):
            verify_chain(certificate, vector("ICA02"), vector("Root02"), None)


@pytest.mark.parametrize(
    ("epoch_s", "encoded"),
    [
        (0, b"\x17\x0d000101000000Z"),
        (1577923199, b"\x17\x0d491231235959Z"),
        (1577923200, b"\x18\x0f20500101000000Z"),
        (0xFFFFFFFF, b"\x18\x0f21360207062815Z"),
    ],
)
def test_time_forms(epoch_s: int, encoded: bytes) -> None:
    certificate = replace(vector("Root01"), not_before=epoch_s, not_after=1)
    assert encoded in certificate.to_x509_der_tbs()
    assert certificate_from_x509(certificate_to_x509(certificate)) == certificate


def test_no_expiry_is_the_last_time_that_x509_knows() -> None:
    certificate = replace(vector("Root01"), not_after=0)
    assert b"\x18\x0f99991231235959Z" in certificate.to_x509_der_tbs()
    assert certificate_from_x509(certificate_to_x509(certificate)) == certificate


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
        extensions=replace(certificate.extensions, **changes),  # type: ignore[arg-type]
    )


def with_subject(*names: tuple[AttributeType, int | str]) -> Change:
    return lambda certificate: replace(certificate, subject=DistinguishedName.of(*names))


def test_good_chains() -> None:
    check()
    check(with_icac=False)
    check(tags=(0x00010001, 0xFFFF0001, 0x00020002))
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
def test_node_id_out_of_range(node_id: int) -> None:
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
def test_case_authenticated_tags(tags: tuple[int, ...]) -> None:
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
def test_node_subject(names: tuple[tuple[AttributeType, int], ...]) -> None:
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
def test_authority_subject(names: tuple[tuple[AttributeType, int], ...]) -> None:
    assert fault_of(icac=with_subject(*names)) is Fault.SUBJECT


def test_fabric_of_authorities() -> None:
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
def test_usage(arguments: dict[str, Change]) -> None:
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
def test_extensions_that_are_missing_or_critical(change: Change) -> None:
    assert fault_of(noc=change) is Fault.EXTENSION
    assert fault_of(icac=change) is Fault.EXTENSION
    assert fault_of(rcac=change, with_icac=False) is Fault.EXTENSION


def test_links() -> None:
    other_key = with_extensions(authority_key_id=bytes(20))
    other_name: Change = lambda certificate: replace(  # noqa: E731
        certificate, issuer=DistinguishedName.of((AttributeType.ICAC_ID, 99))
    )
    for change in (other_key, other_name):
        assert fault_of(noc=change) is Fault.ISSUER
        assert fault_of(icac=change) is Fault.ISSUER


def test_intermediate_is_left_out() -> None:
    authority = CertificateAuthority()
    noc = decode_certificate(authority.issue_noc(NODE_KEY.public_key, 5))
    with pytest.raises(CertificateError) as caught:
        verify_chain(noc, None, decode_certificate(authority.rcac), None)
    assert caught.value.fault is Fault.ISSUER


def test_signature_by_another_key_of_the_same_name() -> None:
    authority = CertificateAuthority(with_icac=False)
    noc = decode_certificate(authority.issue_noc(NODE_KEY.public_key, 5))
    forged = decode_certificate(sign_certificate(noc, KeyPair.generate()))
    rcac = decode_certificate(authority.rcac)
    with pytest.raises(CertificateError) as caught:
        verify_chain(forged, None, rcac, None)
    assert caught.value.fault is Fault.SIGNATURE


def test_validity() -> None:
    ends: Change = lambda certificate: replace(certificate, not_after=NOT_BEFORE + 100)  # noqa: E731
    check(noc=ends, epoch_s=NOT_BEFORE + 100)
    assert fault_of(noc=ends, epoch_s=NOT_BEFORE + 101) is Fault.EXPIRED
    assert fault_of(icac=ends, epoch_s=NOT_BEFORE + 101) is Fault.EXPIRED
    assert fault_of(rcac=ends, epoch_s=NOT_BEFORE + 101) is Fault.EXPIRED
    assert fault_of(epoch_s=NOT_BEFORE - 1) is Fault.NOT_YET_VALID


def test_root_alone() -> None:
    authority = CertificateAuthority()
    root = decode_certificate(authority.rcac)
    verify_root(root)
    assert authority.icac is not None
    cases = [
        (decode_certificate(authority.icac), Fault.SUBJECT),
        (replace(root, signature=bytes(64)), Fault.SIGNATURE),
        (replace(root, issuer=DistinguishedName.of((AttributeType.RCAC_ID, 9))), Fault.ISSUER),
        (with_extensions(authority_key_id=bytes(20))(root), Fault.ISSUER),
        (with_extensions(basic_constraints=BasicConstraints(True, 2))(root), Fault.USAGE),
    ]
    for certificate, fault in cases:
        with pytest.raises(CertificateError) as caught:
            verify_root(certificate)
        assert caught.value.fault is fault


def test_fake_authority_makes_certificates_that_another_library_verifies() -> None:
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


def test_der_reader_refuses_what_is_not_distinguished() -> None:
    for data in ("0000", "020100", "30820001"):
        reader = der.Reader(bytes.fromhex(data))
        with pytest.raises(DecodeError):
            reader.enter()
