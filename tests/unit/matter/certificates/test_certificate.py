"""Operational certificates: vectors and structure, in both forms."""

from __future__ import annotations

import pytest
from cryptography import x509 as reference
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from evse_node.errors import DecodeError
from evse_node.matter import tlv
from evse_node.matter.certificates import x509
from evse_node.matter.certificates.certificate import (
    CertificateError,
    decode_certificate,
    verify_chain,
)
from evse_node.matter.certificates.certificate_extensions import KeyUsage
from evse_node.matter.certificates.distinguished_name import (
    AttributeType,
    DistinguishedName,
    NameAttribute,
)
from evse_node.matter.tlv import SignedInt, TlvList, TlvValue
from tests.support.matter.certificate_tlv import encode_certificate
from tests.support.matter.x509_certificates import (
    certificate_from_x509,
    certificate_to_x509,
    vector,
)
from tests.vectors.certificates import CERTIFICATES


@pytest.mark.parametrize("name", CERTIFICATES)
def test_certificate_vectors_convert_between_tlv_and_x509(name: str) -> None:
    encoded, encoded_x509 = (bytes.fromhex(form) for form in CERTIFICATES[name])
    certificate = decode_certificate(encoded)
    assert encode_certificate(certificate) == encoded
    assert certificate_to_x509(certificate) == encoded_x509
    assert certificate_from_x509(encoded_x509) == certificate


@pytest.mark.parametrize("name", CERTIFICATES)
def test_signed_part_matches_other_library(name: str) -> None:
    encoded, encoded_x509 = (bytes.fromhex(form) for form in CERTIFICATES[name])
    loaded = reference.load_der_x509_certificate(encoded_x509)
    assert decode_certificate(encoded).to_x509_der_tbs() == loaded.tbs_certificate_bytes


@pytest.mark.parametrize("name", CERTIFICATES)
def test_truncated_certificate_is_rejected(name: str) -> None:
    encoded, encoded_x509 = (bytes.fromhex(form) for form in CERTIFICATES[name])
    for length in range(0, len(encoded), 3):
        with pytest.raises(DecodeError):
            decode_certificate(encoded[:length])
    for length in range(0, len(encoded_x509), 7):
        with pytest.raises(DecodeError):
            certificate_from_x509(encoded_x509[:length])


def test_subject_names_of_vectors_decode() -> None:
    node = vector("Node02_05")
    assert node.subject.node_id == 0xDEDEDEDE00020005
    assert node.subject.fabric_id == 0xFAB000000000001D
    assert node.subject.case_authenticated_tags == (0xABCD0010, 0xABCE1008)
    assert node.issuer == vector("ICA02").subject
    assert vector("Root03").subject.numbers(AttributeType.RCAC_ID) == (0xCACACACA00000002,)
    assert len(vector("Node02_06").extensions.future) == 2


# --- structure


def members_of(name: str) -> dict[tlv.TagKey, TlvValue]:
    return tlv.decode_struct(bytes.fromhex(CERTIFICATES[name][0]))


@pytest.mark.parametrize("tag", range(1, 12))
def test_missing_or_mistyped_member_is_rejected(tag: int) -> None:
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


def test_additional_or_reordered_members_are_rejected() -> None:
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
def test_member_out_of_range_is_rejected(tag: int, value: TlvValue) -> None:
    with pytest.raises(DecodeError):
        decode_certificate(tlv.encode({**members_of("Node01_02"), tag: value}))


def test_certificate_above_400_bytes_is_rejected() -> None:
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
def test_certificates_round_trip_in_both_forms(
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
        return  # X.509 does not distinguish a printable one from others.
    assert certificate_from_x509(certificate_to_x509(certificate)) == certificate


@given(st.binary(max_size=420))
def test_arbitrary_certificate_bytes_are_rejected(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_certificate(data)
    with pytest.raises(DecodeError):
        certificate_from_x509(data)


@given(st.data())
def test_changed_byte_breaks_certificate(data: st.DataObject) -> None:
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
def test_certificate_times_use_utc_time_until_2049(epoch_s: int, encoded: bytes) -> None:
    certificate = replace(vector("Root01"), not_before=epoch_s, not_after=1)
    assert encoded in certificate.to_x509_der_tbs()
    assert certificate_from_x509(certificate_to_x509(certificate)) == certificate


def test_no_expiry_is_encoded_as_year_9999() -> None:
    certificate = replace(vector("Root01"), not_after=0)
    assert b"\x18\x0f99991231235959Z" in certificate.to_x509_der_tbs()
    assert certificate_from_x509(certificate_to_x509(certificate)) == certificate
