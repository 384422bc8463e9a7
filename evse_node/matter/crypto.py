"""Cryptographic primitives.

Thin functions over `cryptography`. Public keys are 65 bytes (uncompressed point),
private keys 32, signatures 64 (r, then s), all big-endian.

`hashlib` and `hmac` are not used, since they would load a second OpenSSL into memory.

Spec: Matter Core 1.3 "Cryptographic Primitives"
"""

from __future__ import annotations

from _operator import _compare_digest
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, Hash
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from msgspec import Struct

from evse_node.errors import CryptoError, DecodeError
from evse_node.matter import der

SYMMETRIC_KEY_SIZE: Final = 16
TAG_SIZE: Final = 16
PRIVATE_KEY_SIZE: Final = 32
PUBLIC_KEY_SIZE: Final = 65
SIGNATURE_SIZE: Final = 64
HASH_SIZE: Final = 32
# Order of the group that the base point of P-256 generates.
P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

_CURVE = ec.SECP256R1()
_SHA256 = SHA256()
_ECDSA = ec.ECDSA(_SHA256)
_ECDH = ec.ECDH()

_OID_EC_PUBLIC_KEY = der.object_identifier("1.2.840.10045.2.1")
_OID_P256 = der.object_identifier("1.2.840.10045.3.1.7")
_OID_ORGANIZATION = der.object_identifier("2.5.4.10")
# AlgorithmIdentifier of the only signature algorithm that Matter uses.
ECDSA_WITH_SHA256: Final = der.sequence(der.object_identifier("1.2.840.10045.4.3.2"))

NOT_AUTHENTIC: Final = (InvalidTag, ValueError)
"""What `AeadKey.try_decrypt` raises when the tag does not verify, or there is none."""

# The implementation of `hmac.compare_digest` in a Python without OpenSSL.
constant_time_equal = _compare_digest


def repr_without(record: Struct, *hidden: str) -> str:
    """Return the usual repr of a record, without the values of fields that are secret or long."""
    shown = (
        f"{name}={getattr(record, name)!r}"
        for name in record.__struct_fields__
        if name not in hidden
    )
    return f"{type(record).__name__}({', '.join(shown)})"


def sha256(data: bytes) -> bytes:
    """Return the 32-byte hash of `data`.

    Spec: Matter Core 1.3 "Hash function (Crypto_Hash)"
    """
    digest = Hash(_SHA256)
    digest.update(data)
    return digest.finalize()


def sha1(data: bytes) -> bytes:
    """Return the 20-byte hash for key identifiers in certificates; not for security."""
    digest = Hash(SHA1())
    digest.update(data)
    return digest.finalize()


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """Return the 32-byte keyed hash of `data`.

    Spec: Matter Core 1.3 "Keyed-hash message authentication code (Crypto_HMAC)"
    """
    code = HMAC(key, _SHA256)
    code.update(data)
    return code.finalize()


def hkdf_sha256(ikm: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """Derive `length` bytes (1 to 8160) from the key `ikm`.

    Spec: Matter Core 1.3 "Key derivation function (Crypto_KDF)"
    """
    return HKDF(_SHA256, length, salt or None, info).derive(ikm)


def pbkdf2(passcode: bytes, salt: bytes, iterations: int, length: int) -> bytes:
    """Derive `length` bytes from a passcode, slowly.

    Spec: Matter Core 1.3 "Password-Based Key Derivation Function (Crypto_PBKDF)"
    """
    return PBKDF2HMAC(_SHA256, length, salt, iterations).derive(passcode)


class AeadKey:
    """An AES-128-CCM key for one direction of a session.

    `encrypt(nonce, plaintext, associated_data)` returns the ciphertext with its
    16-byte tag at the end; the nonce has 13 bytes. `try_decrypt` is `decrypt` that raises
    one of NOT_AUTHENTIC.
    Spec: Matter Core 1.3 "Authenticated Encryption with Associated Data (Crypto_AEAD)"
    """

    __slots__ = ("encrypt", "try_decrypt")

    def __init__(self, key: bytes) -> None:
        if len(key) != SYMMETRIC_KEY_SIZE:
            raise CryptoError(f"symmetric key of {len(key)} bytes")
        cipher = AESCCM(key)
        # Bound directly, which saves a Python call per message.
        self.encrypt: Callable[[bytes, bytes, bytes | None], bytes] = cipher.encrypt
        self.try_decrypt: Callable[[bytes, bytes, bytes | None], bytes] = cipher.decrypt

    def decrypt(self, nonce: bytes, ciphertext: bytes, associated_data: bytes | None) -> bytes:
        """Return the plaintext of `ciphertext`, which ends with its tag.

        Raises CryptoError when the tag does not verify.
        """
        try:
            return self.try_decrypt(nonce, ciphertext, associated_data)
        except NOT_AUTHENTIC:
            raise CryptoError("message does not authenticate") from None


def _load_public_key(public_key: bytes) -> ec.EllipticCurvePublicKey:
    if len(public_key) != PUBLIC_KEY_SIZE or public_key[0] != 4:
        raise CryptoError("public key is not an uncompressed point of P-256")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, public_key)
    except ValueError:
        raise CryptoError("public key is not on the curve") from None


def check_public_key(public_key: bytes) -> None:
    """Raise CryptoError unless `public_key` is an uncompressed point of P-256."""
    _load_public_key(public_key)


def verify_signature(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Verify an ECDSA-SHA256 signature of 64 bytes; raise CryptoError if it is not valid.

    Spec: Matter Core 1.3 "Signature and verification"
    """
    key = _load_public_key(public_key)
    try:
        key.verify(signature_to_der(signature), message, _ECDSA)
    except InvalidSignature:
        raise CryptoError("signature does not verify") from None


def signature_to_der(signature: bytes) -> bytes:
    """Return a 64-byte signature as the DER structure ECDSA-Sig-Value."""
    if len(signature) != SIGNATURE_SIZE:
        raise CryptoError(f"signature of {len(signature)} bytes")
    return encode_dss_signature(
        int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    )


def signature_from_der(encoded: bytes) -> bytes:
    """Return the DER structure ECDSA-Sig-Value as a 64-byte signature.

    Raises DecodeError for invalid DER or values out of range.
    """
    reader = der.Reader(encoded)
    values = reader.enter()
    reader.finish()
    r, s = values.integer(), values.integer()
    values.finish()
    if r >> 256 or s >> 256:
        raise DecodeError("signature value exceeds 32 bytes")
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def public_key_info(public_key: bytes) -> bytes:
    """Return a 65-byte public key as the DER structure SubjectPublicKeyInfo."""
    return der.sequence(der.sequence(_OID_EC_PUBLIC_KEY, _OID_P256), der.bit_string(public_key))


class KeyPair:
    """A P-256 key pair. The key object is created on first use."""

    __slots__ = ("_key", "_private", "_public")

    def __init__(self, private_key: bytes) -> None:
        if len(private_key) != PRIVATE_KEY_SIZE:
            raise CryptoError(f"private key of {len(private_key)} bytes")
        if not 0 < int.from_bytes(private_key, "big") < P256_ORDER:
            raise CryptoError("private key is out of range")
        self._private = private_key
        self._public: bytes | None = None
        self._key: ec.EllipticCurvePrivateKey | None = None

    @classmethod
    def generate(cls) -> KeyPair:
        """Generate a key pair from the operating system's randomness."""
        key = ec.generate_private_key(_CURVE)
        pair = cls(key.private_numbers().private_value.to_bytes(PRIVATE_KEY_SIZE, "big"))
        pair._key = key
        return pair

    @classmethod
    def from_private(cls, private_key: bytes) -> KeyPair:
        """Take a private key of 32 bytes; raises CryptoError when it is out of range."""
        return cls(private_key)

    def __repr__(self) -> str:
        # A private key must not reach a log.
        return f"KeyPair(public_key={self.public_key.hex()})"

    def _load(self) -> ec.EllipticCurvePrivateKey:
        if self._key is None:
            self._key = ec.derive_private_key(int.from_bytes(self._private, "big"), _CURVE)
        return self._key

    @property
    def private_bytes(self) -> bytes:
        """The private key, 32 bytes."""
        return self._private

    @property
    def public_key(self) -> bytes:
        """The public key, 65 bytes."""
        if self._public is None:
            numbers = self._load().public_key().public_numbers()
            self._public = b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
        return self._public

    def sign(self, message: bytes) -> bytes:
        """Return the ECDSA-SHA256 signature of `message`, 64 bytes."""
        r, s = decode_dss_signature(self._load().sign(message, _ECDSA))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def ecdh(self, peer_public_key: bytes) -> bytes:
        """Return the 32-byte secret shared with the holder of the peer's key.

        Raises CryptoError when the peer's key is not a point of the curve.
        Spec: Matter Core 1.3 "ECDH"
        """
        return self._load().exchange(_ECDH, _load_public_key(peer_public_key))

    def csr(self, organization: str = "CSR") -> bytes:
        """Return a certificate signing request, PKCS#10 in DER, for this key.

        Spec: Matter Core 1.3 "Node Operational Certificate Signing Request (NOCSR)"
        """
        name = der.sequence(
            der.set_of(
                der.sequence(_OID_ORGANIZATION, der.element(der.UTF8_STRING, organization.encode()))
            )
        )
        information = der.sequence(
            der.integer(0), name, public_key_info(self.public_key), der.explicit(0)
        )
        signature = self._load().sign(information, _ECDSA)
        return der.sequence(information, ECDSA_WITH_SHA256, der.bit_string(signature))
