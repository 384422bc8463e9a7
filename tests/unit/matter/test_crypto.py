"""Primitives: vectors, keys, signatures, and inputs that must be refused."""

import hashlib

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from evse_node.errors import CryptoError, DecodeError
from evse_node.matter import crypto
from evse_node.matter.crypto import AeadKey, KeyPair
from tests.vectors import primitives

KEY = KeyPair.from_private(bytes(31) + b"\x07")


@pytest.mark.parametrize(
    ("name", "key", "nonce", "associated_data", "plaintext", "ciphertext"), primitives.AES_CCM
)
def test_aead_vectors(
    name: str, key: str, nonce: str, associated_data: str, plaintext: str, ciphertext: str
) -> None:
    aead = AeadKey(bytes.fromhex(key))
    raw_nonce, raw_data = bytes.fromhex(nonce), bytes.fromhex(associated_data)
    assert aead.encrypt(raw_nonce, bytes.fromhex(plaintext), raw_data).hex() == ciphertext
    assert aead.decrypt(raw_nonce, bytes.fromhex(ciphertext), raw_data).hex() == plaintext


@pytest.mark.parametrize("position", [0, 4, 20])
def test_aead_rejects_changed_byte(position: int) -> None:
    aead = AeadKey(bytes(16))
    sealed = bytearray(aead.encrypt(bytes(13), b"hello", b"header"))
    sealed[position] ^= 1
    with pytest.raises(CryptoError):
        aead.decrypt(bytes(13), bytes(sealed), b"header")


def test_aead_rejects_other_data_nonce_and_short_input() -> None:
    aead = AeadKey(bytes(16))
    sealed = aead.encrypt(bytes(13), b"hello", b"header")
    assert len(sealed) == 5 + 16
    for nonce, data, header in (
        (bytes(13), sealed, b"other"),
        (b"\x01" * 13, sealed, b"header"),
        (bytes(13), sealed[:15], b"header"),
        (bytes(13), b"", b"header"),
        (bytes(3), sealed, b"header"),
    ):
        with pytest.raises(CryptoError):
            aead.decrypt(nonce, data, header)


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_aead_key_of_wrong_size_is_rejected(size: int) -> None:
    with pytest.raises(CryptoError):
        AeadKey(bytes(size))


@pytest.mark.parametrize(("ikm", "salt", "info", "output"), primitives.HKDF)
def test_key_derivation_vectors(ikm: str, salt: str, info: str, output: str) -> None:
    raw = (bytes.fromhex(ikm), bytes.fromhex(salt), bytes.fromhex(info))
    assert crypto.hkdf_sha256(*raw, len(output) // 2).hex() == output


@pytest.mark.parametrize(("message", "digest"), primitives.SHA256)
def test_hash_vectors(message: str, digest: str) -> None:
    assert crypto.sha256(bytes.fromhex(message)).hex() == digest


def test_keyed_hash_vector() -> None:
    # RFC 4231 test case 2.
    assert crypto.hmac_sha256(b"Jefe", b"what do ya want for nothing?").hex() == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


def test_passcode_derivation_vector() -> None:
    # RFC 7914 section 11.
    assert crypto.pbkdf2(b"passwd", b"salt", 1, 64).hex() == (
        "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
        "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"
    )


@pytest.mark.parametrize(("private", "peer", "secret"), primitives.ECDH)
def test_ecdh_vectors(private: str, peer: str, secret: str) -> None:
    assert KeyPair.from_private(bytes.fromhex(private)).ecdh(bytes.fromhex(peer)).hex() == secret


def test_ecdh_is_symmetric() -> None:
    other = KeyPair.generate()
    assert KEY.ecdh(other.public_key) == other.ecdh(KEY.public_key)


def test_signature_verifies_for_its_key_and_message_only() -> None:
    signature = KEY.sign(b"message")
    assert len(signature) == 64
    crypto.verify_signature(KEY.public_key, b"message", signature)
    other = KeyPair.generate()
    for key, message, value in (
        (KEY.public_key, b"massage", signature),
        (other.public_key, b"message", signature),
        (KEY.public_key, b"message", signature[:63]),
        (KEY.public_key, b"message", bytes(64)),
        (KEY.public_key, b"message", b"\xff" * 64),
        (bytes(65), b"message", signature),
    ):
        with pytest.raises(CryptoError):
            crypto.verify_signature(key, message, value)


def test_signature_converts_between_raw_and_der() -> None:
    signature = bytes(31) + b"\x01" + b"\xff" * 32
    encoded = crypto.signature_to_der(signature)
    assert encoded.hex() == "3026020101022100" + "ff" * 32
    assert crypto.signature_from_der(encoded) == signature
    with pytest.raises(DecodeError):
        crypto.signature_from_der(bytes.fromhex("3027020101022201" + "ff" * 33))


@given(st.binary(max_size=80))
def test_arbitrary_signature_bytes_are_rejected(data: bytes) -> None:
    try:
        signature = crypto.signature_from_der(data)
    except DecodeError:
        return
    assert crypto.signature_to_der(signature) == data


def test_key_pair_round_trip() -> None:
    pair = KeyPair.generate()
    again = KeyPair.from_private(pair.private_bytes)
    assert again.public_key == pair.public_key
    assert len(pair.private_bytes) == 32
    assert len(pair.public_key) == 65
    assert pair.private_bytes.hex() not in repr(pair)


@pytest.mark.parametrize(
    "private", [b"", bytes(32), crypto.P256_ORDER.to_bytes(32, "big"), b"\xff" * 32, b"\x01" * 33]
)
def test_private_key_out_of_range_is_rejected(private: bytes) -> None:
    with pytest.raises(CryptoError):
        KeyPair.from_private(private)


@pytest.mark.parametrize(
    "public_key",
    [
        b"",
        b"\x00",
        bytes(65),
        b"\x04" + bytes(64),
        b"\x04" + b"\xff" * 64,
        KEY.public_key[:-1] + bytes((KEY.public_key[-1] ^ 1,)),
        b"\x02" + KEY.public_key[1:33],
        b"\x06" + KEY.public_key[1:],
    ],
)
def test_public_key_off_the_curve_is_rejected(public_key: bytes) -> None:
    with pytest.raises(CryptoError):
        crypto.check_public_key(public_key)
    with pytest.raises(CryptoError):
        KEY.ecdh(public_key)


def test_certificate_signing_request() -> None:
    request = x509.load_der_x509_csr(KEY.csr())
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "O=CSR"
    numbers = request.public_key().public_numbers()  # type: ignore[union-attr]
    assert numbers.x.to_bytes(32, "big") == KEY.public_key[1:33]  # type: ignore[union-attr]
    assert len(list(request.extensions)) == 0


def test_constant_time_equal_compares_bytes() -> None:
    assert crypto.constant_time_equal(b"same", b"same")
    assert not crypto.constant_time_equal(b"same", b"other")
    assert crypto.sha256(b"") == hashlib.sha256(b"").digest()
