"""X.509 certificates: forms that Matter does not allow, and single extensions."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509 as reference
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from evse_node.errors import CryptoError, DecodeError
from evse_node.matter import der
from evse_node.matter.certificates import x509
from evse_node.matter.certificates.attestation import paa_certificate_der
from evse_node.matter.crypto import verify_signature
from tests.support.matter.x509_certificates import decode_extended_key_usage

START = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def make(
    *,
    curve: ec.EllipticCurve | None = None,
    digest: hashes.SHA384 | None = None,
    start: datetime = START,
) -> bytes:
    key = ec.generate_private_key(curve or ec.SECP256R1())
    name = reference.Name([reference.NameAttribute(NameOID.COMMON_NAME, "Test")])
    return (
        reference.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=365 * 40))
        .add_extension(reference.BasicConstraints(ca=True, path_length=3), critical=True)
        .sign(key, digest or hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )


def test_x509_certificate_of_other_library_decodes() -> None:
    encoded = make()
    certificate = x509.decode_x509(encoded)
    loaded = reference.load_der_x509_certificate(encoded)
    assert certificate.tbs == loaded.tbs_certificate_bytes
    assert certificate.serial == b"\x05"
    assert certificate.subject_values("2.5.4.3") == ["Test"]
    assert certificate.not_before == (START - datetime(2000, 1, 1, tzinfo=UTC)).total_seconds()
    found = certificate.extension(x509.OID_BASIC_CONSTRAINTS)
    assert found is not None
    assert found.critical
    assert x509.decode_basic_constraints(found.value) == (True, 3)
    assert certificate.subject_key_id is None
    assert x509.encode_x509(certificate.tbs, certificate.signature) == encoded


def test_x509_certificates_outside_matter_are_rejected() -> None:
    for encoded in (
        make(curve=ec.SECP384R1()),
        make(digest=hashes.SHA384()),
        make(start=datetime(1999, 12, 31, tzinfo=UTC)),
        make(start=datetime(1950, 1, 1, tzinfo=UTC)),
    ):
        with pytest.raises(DecodeError):
            x509.decode_x509(encoded)


def test_truncated_or_trailing_x509_is_rejected() -> None:
    encoded = paa_certificate_der()
    for length in range(len(encoded)):
        with pytest.raises(DecodeError):
            x509.decode_x509(encoded[:length])
    with pytest.raises(DecodeError):
        x509.decode_x509(encoded + b"\x00")


@given(st.data())
def test_changed_byte_breaks_x509_signature(data: st.DataObject) -> None:
    encoded = bytearray(paa_certificate_der())
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= data.draw(st.integers(1, 255))
    try:
        certificate = x509.decode_x509(bytes(encoded))
    except DecodeError:
        return
    # What still decodes must not pass for signed.
    with pytest.raises(CryptoError):
        verify_signature(certificate.public_key, certificate.tbs, certificate.signature)


@pytest.mark.parametrize(
    ("bits", "encoded"),
    [
        (0x01, "03020780"),
        (0x60, "03020106"),
        (0x61, "03020186"),
        (0x100, "0303070080"),
        (0, "030100"),
    ],
)
def test_x509_key_usage_round_trips(bits: int, encoded: str) -> None:
    extension = x509.decode_extension(der.Reader(x509.key_usage(bits)))
    assert extension.critical
    assert extension.value.hex() == encoded
    assert x509.decode_key_usage(extension.value) == bits


def test_x509_extended_key_usage_round_trips() -> None:
    purposes = (2, 1, 5, 6, 3, 4)
    extension = x509.decode_extension(der.Reader(x509.extended_key_usage(purposes)))
    assert decode_extended_key_usage(extension.value) == purposes
    unknown = der.sequence(der.object_identifier("1.3.6.1.5.5.7.3.17"))
    with pytest.raises(DecodeError):
        decode_extended_key_usage(unknown)


@pytest.mark.parametrize(
    ("decode", "value"),
    [
        (x509.decode_basic_constraints, "3003010100"),  # default is encoded
        (x509.decode_basic_constraints, "30050101ff0500"),
        (x509.decode_key_usage, "030400808080"),
        (x509.decode_subject_key_id, "0401aa00"),
        (x509.decode_authority_key_id, "3000"),
    ],
)
def test_invalid_x509_extension_values_are_rejected(decode: object, value: str) -> None:
    assert callable(decode)
    with pytest.raises(DecodeError):
        decode(bytes.fromhex(value))


@pytest.mark.parametrize(
    "encoded",
    [
        "170b3230303130313030303030305a"[:30],
        "170d3230303130313030303030302b",
        "170d3230313330313030303030305a",
        "180d3230303130313030303030305a",
        "180f32303230303133323030303030305a",
    ],
)
def test_invalid_x509_times_are_rejected(encoded: str) -> None:
    good = paa_certificate_der()
    start = good.index(b"\x17\x0d210628142343Z")
    with pytest.raises(DecodeError):
        x509.decode_x509(good[:start] + bytes.fromhex(encoded) + good[start + 15 :])


def test_repeated_x509_extension_is_rejected() -> None:
    certificate = x509.decode_x509(paa_certificate_der())
    tbs = x509.encode_tbs(
        serial=b"\x01",
        issuer=certificate.issuer,
        not_before=1,
        not_after=2,
        subject=certificate.subject,
        public_key=certificate.public_key,
        extensions=[x509.key_usage(1), x509.key_usage(1)],
    )
    with pytest.raises(DecodeError, match="repeats"):
        x509.decode_x509(x509.encode_x509(tbs, b"\x01" * 64))
