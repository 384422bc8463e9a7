"""Device attestation: development credentials, the user's own, and the declaration."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography import x509 as reference
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from evse_node.errors import ConfigError, CryptoError, DecodeError
from evse_node.matter import tlv
from evse_node.matter.certificates import attestation as module
from evse_node.matter.certificates import x509
from evse_node.matter.certificates.attestation import (
    Attestation,
    decode_pem,
    decode_private_key,
    encode_nocsr_elements,
    load_attestation,
    make_development_attestation,
    paa_certificate_der,
    paa_certificate_pem,
)
from evse_node.matter.certificates.certification_declaration import (
    CertificationDeclaration,
    decode_declaration,
    encode_declaration,
    parse_signed_declaration,
    sign_declaration,
)
from evse_node.matter.crypto import KeyPair, verify_signature
from evse_node.matter.tlv import SignedInt, TlvValue
from tests.vectors import attestation as vectors

OURS = make_development_attestation(0xFFF1, 0x8005)

DECLARATION_1 = CertificationDeclaration(
    vendor_id=0xFFF1,
    product_ids=(0x8000,),
    device_type_id=0x1234,
    certificate_id="ZIG20141ZB330001-24",
    version_number=0x2694,
)
DECLARATION_2 = CertificationDeclaration(
    vendor_id=0xFFF2,
    product_ids=(0x8001, 0x8002),
    device_type_id=0x1234,
    certificate_id="ZIG20142ZB330002-24",
    version_number=0x2694,
    dac_origin_vendor_id=0xFFF1,
    dac_origin_product_id=0x8000,
)


# --- certification declaration


@pytest.mark.parametrize(
    ("declaration", "content", "signed"),
    [
        (DECLARATION_1, vectors.CONTENT_1, vectors.SIGNED_1),
        (DECLARATION_2, vectors.CONTENT_2, vectors.SIGNED_2),
    ],
)
def test_declaration_vectors(
    declaration: CertificationDeclaration, content: str, signed: str
) -> None:
    raw, message = bytes.fromhex(content), bytes.fromhex(signed)
    assert encode_declaration(declaration) == raw
    assert decode_declaration(raw) == declaration
    parts = parse_signed_declaration(message)
    assert parts.content == raw
    assert parts.signer_key_id.hex() == "62fa823359acfaa9963e1cfa140addf504f37160"
    verify_signature(bytes.fromhex(vectors.SIGNER_PUBLIC_KEY), raw, parts.signature)
    # Up to the signature, which is random and of varying length, the same message comes out.
    ours = sign_declaration(raw, KeyPair.generate(), parts.signer_key_id)
    algorithms = bytes.fromhex("020103310d300b")
    assert (
        ours[ours.index(algorithms) :][: len(raw) + 35]
        == (message[message.index(algorithms) :][: len(raw) + 35])
    )
    assert parse_signed_declaration(ours).signer_key_id == parts.signer_key_id


def test_declaration_with_paa_list_round_trips() -> None:
    declaration = replace(DECLARATION_1, authorized_paa_list=(bytes(20), b"\x01" * 20))
    assert decode_declaration(encode_declaration(declaration)) == declaration


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (0, 2),
        (1, 0x10000),
        (1, SignedInt(1)),
        (2, []),
        (2, [1] * 101),
        (2, ["x"]),
        (2, 1),
        (2, tlv.TlvList([(None, 1)])),
        (3, None),
        (4, "CSA00000SWC00000-0"),
        (4, b"CSA00000SWC00000-00"),
        (5, 256),
        (8, True),
        (9, "x"),
        (11, 1),
        (11, [bytes(19)]),
    ],
)
def test_declaration_member_out_of_range_is_rejected(tag: int, value: TlvValue) -> None:
    members = tlv.decode_struct(bytes.fromhex(vectors.CONTENT_1))
    with pytest.raises(DecodeError):
        decode_declaration(tlv.encode({**members, tag: value}))


@pytest.mark.parametrize("tag", range(9))
def test_declaration_without_required_member_is_rejected(tag: int) -> None:
    members = tlv.decode_struct(bytes.fromhex(vectors.CONTENT_1))
    del members[tag]
    with pytest.raises(DecodeError):
        decode_declaration(tlv.encode(members))


def test_truncated_signed_declaration_is_rejected() -> None:
    message = bytes.fromhex(vectors.SIGNED_1)
    for length in range(len(message)):
        with pytest.raises(DecodeError):
            parse_signed_declaration(message[:length])
    with pytest.raises(DecodeError):
        parse_signed_declaration(message + b"\x00")


@given(st.binary(max_size=300))
def test_attestation_decoders_raise_only_expected_errors(data: bytes) -> None:
    for decode in (parse_signed_declaration, decode_declaration, Attestation.from_bytes):
        with pytest.raises((DecodeError, CryptoError)):
            decode(data)
    with pytest.raises((DecodeError, CryptoError)):
        decode_private_key(data)


@given(st.data())
def test_changed_byte_changes_signed_declaration(data: st.DataObject) -> None:
    message = bytearray(bytes.fromhex(vectors.SIGNED_1))
    position = data.draw(st.integers(0, len(message) - 1))
    message[position] ^= data.draw(st.integers(1, 255))
    try:
        parts = parse_signed_declaration(bytes(message))
    except DecodeError:
        return
    unchanged = parse_signed_declaration(bytes.fromhex(vectors.SIGNED_1))
    assert parts != unchanged


# --- development credentials


def test_development_authority_is_the_published_one() -> None:
    certificate = paa_certificate_der()
    assert hashlib.sha256(certificate).hexdigest() == vectors.PAA_FFF1_SHA256
    assert decode_pem(paa_certificate_pem().encode(), ("CERTIFICATE",)) == certificate
    assert max(len(line) for line in paa_certificate_pem().splitlines()) == 64
    root = x509.decode_x509(certificate)
    verify_signature(root.public_key, root.tbs, root.signature)


def test_development_chain_verifies() -> None:
    dac, pai, paa = (
        reference.load_der_x509_certificate(item)
        for item in (OURS.dac_der, OURS.pai_der, paa_certificate_der())
    )
    dac.verify_directly_issued_by(pai)
    pai.verify_directly_issued_by(paa)
    assert len(OURS.dac_der) <= 600
    assert len(OURS.pai_der) <= 600
    assert dac.not_valid_before_utc == pai.not_valid_before_utc == paa.not_valid_before_utc
    assert dac.not_valid_after_utc.year == pai.not_valid_after_utc.year == 9999
    assert dac.serial_number > 0
    assert pai.serial_number > 0


def test_development_certificates_have_required_extensions() -> None:
    for encoded, is_ca, path_length in ((OURS.dac_der, False, None), (OURS.pai_der, True, 0)):
        certificate = reference.load_der_x509_certificate(encoded)
        constraints = certificate.extensions.get_extension_for_class(reference.BasicConstraints)
        assert constraints.critical
        assert (constraints.value.ca, constraints.value.path_length) == (is_ca, path_length)
        usage = certificate.extensions.get_extension_for_class(reference.KeyUsage)
        assert usage.critical
        assert usage.value.digital_signature is not is_ca
        assert usage.value.key_cert_sign is usage.value.crl_sign is is_ca
        key_id = certificate.extensions.get_extension_for_class(reference.SubjectKeyIdentifier)
        expected = reference.SubjectKeyIdentifier.from_public_key(certificate.public_key())
        assert key_id.value == expected
        assert not key_id.critical
        certificate.extensions.get_extension_for_class(reference.AuthorityKeyIdentifier)


def test_development_dac_names_vendor_and_product() -> None:
    names = x509.decode_x509(OURS.dac_der).subject
    assert [item.oid for item in names] == [
        "2.5.4.3",
        "1.3.6.1.4.1.37244.2.1",
        "1.3.6.1.4.1.37244.2.2",
    ]
    assert [item.value for item in names[1:]] == [b"FFF1", b"8005"]
    assert (OURS.vendor_id, OURS.product_id) == (0xFFF1, 0x8005)


def test_development_declaration_verifies() -> None:
    parts = parse_signed_declaration(OURS.cd_der)
    verify_signature(bytes.fromhex(vectors.SIGNER_PUBLIC_KEY), parts.content, parts.signature)
    assert decode_declaration(parts.content) == CertificationDeclaration(
        0xFFF1, (0x8005,), 0x050C, "CSA00000SWC00000-00"
    )


def test_each_development_device_has_own_keys() -> None:
    other = make_development_attestation(0xFFF1, 0x8005)
    assert other.dac_key.public_key != OURS.dac_key.public_key
    assert other.pai_der != OURS.pai_der
    assert x509.decode_x509(OURS.dac_der).public_key == OURS.dac_key.public_key


@pytest.mark.parametrize(
    ("vendor_id", "product_id"), [(0xFFF2, 0x8001), (0xFFF1, 0), (0xFFF1, 65536)]
)
def test_development_identity_out_of_range_is_rejected(vendor_id: int, product_id: int) -> None:
    with pytest.raises(ConfigError):
        make_development_attestation(vendor_id, product_id)


def test_serial_number_is_positive_for_any_random_bytes() -> None:
    for draw in (bytes, lambda length: b"\xff" * length):
        made = make_development_attestation(random_bytes=draw)
        assert reference.load_der_x509_certificate(made.dac_der).serial_number > 0


# --- elements and storage


def test_attestation_elements_are_encoded_and_signed() -> None:
    elements = OURS.elements(b"\x07" * 32, 5)
    assert tlv.decode(elements) == {1: OURS.cd_der, 2: b"\x07" * 32, 3: 5}
    assert len(OURS.elements(bytes(32), 0xFFFFFFFF)) <= 900
    challenge = b"\x09" * 16
    signature = OURS.sign(elements, challenge)
    verify_signature(OURS.dac_key.public_key, elements + challenge, signature)


def test_nocsr_elements_are_encoded() -> None:
    csr = OURS.dac_key.csr()
    assert tlv.decode(encode_nocsr_elements(csr, b"\x01" * 32)) == {1: csr, 2: b"\x01" * 32}


def test_attestation_round_trips_through_storage() -> None:
    again = Attestation.from_bytes(OURS.to_bytes())
    assert (again.dac_der, again.pai_der, again.cd_der) == (
        OURS.dac_der,
        OURS.pai_der,
        OURS.cd_der,
    )
    assert again.dac_key.private_bytes == OURS.dac_key.private_bytes
    with pytest.raises(DecodeError):
        Attestation.from_bytes(tlv.encode({1: b"a", 2: b"b", 3: b"c"}))
    with pytest.raises(CryptoError):
        Attestation.from_bytes(tlv.encode({1: b"a", 2: b"b", 3: b"c", 4: bytes(32)}))


# --- the user's own credentials


class Files:
    """The four files of `attestation`, each of which a test may overwrite."""

    def __init__(self, folder: Path, attestation: Attestation) -> None:
        self.dac, self.pai = folder / "dac.der", folder / "pai.pem"
        self.declaration, self.key = folder / "cd.bin", folder / "key.pem"
        self.dac.write_bytes(attestation.dac_der)
        self.pai.write_bytes(certificate_file(attestation.pai_der))
        self.declaration.write_bytes(attestation.cd_der)
        self.key.write_bytes(private_key_file(attestation.dac_key))

    def load(self) -> Attestation:
        return load_attestation(self.dac, self.pai, self.declaration, self.key)

    def fault(self) -> str:
        with pytest.raises(ConfigError) as caught:
            self.load()
        return str(caught.value)


def certificate_file(encoded: bytes) -> bytes:
    certificate = reference.load_der_x509_certificate(encoded)
    return certificate.public_bytes(serialization.Encoding.PEM)


def private_key_file(
    key: KeyPair,
    encoding: serialization.Encoding = serialization.Encoding.PEM,
    form: serialization.PrivateFormat = serialization.PrivateFormat.TraditionalOpenSSL,
) -> bytes:
    loaded = ec.derive_private_key(int.from_bytes(key.private_bytes, "big"), ec.SECP256R1())
    return loaded.private_bytes(encoding, form, serialization.NoEncryption())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, OURS)


def test_own_credentials_load_from_files(files: Files) -> None:
    loaded = files.load()
    assert (loaded.dac_der, loaded.pai_der, loaded.cd_der) == (
        OURS.dac_der,
        OURS.pai_der,
        OURS.cd_der,
    )
    assert loaded.dac_key.public_key == OURS.dac_key.public_key


@pytest.mark.parametrize("encoding", [serialization.Encoding.PEM, serialization.Encoding.DER])
@pytest.mark.parametrize(
    "form", [serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8]
)
def test_private_key_loads_in_all_forms(
    encoding: serialization.Encoding, form: serialization.PrivateFormat
) -> None:
    data = private_key_file(OURS.dac_key, encoding, form)
    assert decode_private_key(data).private_bytes == OURS.dac_key.private_bytes


def test_invalid_private_keys_are_rejected() -> None:
    other = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    secret = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    swapped = private_key_file(OURS.dac_key, serialization.Encoding.DER).replace(
        OURS.dac_key.public_key, KeyPair.generate().public_key
    )
    for data in (other, secret, swapped, b"", b"-----BEGIN PRIVATE KEY-----\nAAA"):
        with pytest.raises((DecodeError, CryptoError)):
            decode_private_key(data)


def test_pem_without_base64_is_rejected() -> None:
    with pytest.raises(DecodeError, match="base64"):
        decode_pem(
            b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", ("CERTIFICATE",)
        )


def test_key_of_another_device_is_rejected(files: Files) -> None:
    files.key.write_bytes(private_key_file(KeyPair.generate()))
    assert files.fault() == f"{files.key}: is not the private key of the certificate in {files.dac}"


def test_missing_file_is_named(files: Files) -> None:
    files.pai.unlink()
    assert files.fault() == f"{files.pai}: cannot be read: No such file or directory"


def test_swapped_files_are_rejected(files: Files) -> None:
    files.pai.write_bytes(OURS.dac_der)
    assert files.fault().startswith(f"{files.pai}: basic constraints do not say CA true")
    files.pai.write_bytes(OURS.pai_der)
    files.dac.write_bytes(OURS.pai_der)
    assert files.fault().startswith(f"{files.dac}: subject lacks")
    files.dac.write_bytes(OURS.cd_der)
    assert files.fault().startswith(f"{files.dac}: ")
    files.dac.write_bytes(private_key_file(OURS.dac_key))
    assert "EC PRIVATE KEY" in files.fault()


def test_pai_of_another_device_is_rejected(files: Files) -> None:
    files.pai.write_bytes(make_development_attestation().pai_der)
    assert files.fault() == f"{files.dac}: was not issued by {files.pai}: key identifiers differ"


def test_dac_with_wrong_signature_is_rejected(files: Files) -> None:
    certificate = x509.decode_x509(OURS.dac_der)
    forged = x509.encode_x509(certificate.tbs, KeyPair.generate().sign(certificate.tbs))
    files.dac.write_bytes(forged)
    assert files.fault() == f"{files.dac}: signature does not verify"


def test_declaration_for_another_product_is_rejected(files: Files) -> None:
    files.declaration.write_bytes(make_development_attestation(0xFFF1, 0x8006).cd_der)
    assert "is not for vendor 0xFFF1 and product 0x8005" in files.fault()
    files.declaration.write_bytes(b"nonsense")
    assert files.fault().startswith(f"{files.declaration}: ")


def test_declaration_with_dac_origin_is_accepted(files: Files) -> None:
    origin = replace(DECLARATION_2, dac_origin_product_id=0x8005)
    signed = sign_declaration(encode_declaration(origin), KeyPair.generate(), bytes(20))
    files.declaration.write_bytes(signed)
    assert files.load().cd_der == signed


def test_too_large_certificate_is_rejected(files: Files) -> None:
    files.dac.write_bytes(OURS.dac_der + bytes(200))
    assert "more than 600" in files.fault()


def test_ids_within_common_name_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def name(
        common_name: str, vendor_id: int, product_id: int | None = None
    ) -> list[x509.Attribute]:
        product = "" if product_id is None else f" Mpid:{product_id:04X}"
        text = f"ACME Mvid:{vendor_id:04X}{product}"
        return [x509.Attribute("2.5.4.3", 0x0C, text.encode())]

    monkeypatch.setattr(module, "_name", name)
    made = make_development_attestation(0xFFF1, 0x80AB)
    assert (made.vendor_id, made.product_id) == (0xFFF1, 0x80AB)
