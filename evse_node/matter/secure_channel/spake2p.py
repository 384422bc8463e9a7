"""SPAKE2+ over P-256: mutual proof of possession of a passcode, the node's side.

The prover (commissioner) has the passcode; the verifier (node) has only `w0` and the
point `L = w1 * G`, from which the passcode cannot be recovered.
Scalars are 32 bytes big-endian, points 65 bytes (uncompressed).

Spec: Matter Core 1.3 "Password-Authenticated Key Exchange (PAKE)"
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from evse_node.errors import CryptoError
from evse_node.matter.crypto import (
    P256_ORDER,
    PUBLIC_KEY_SIZE,
    KeyPair,
    check_public_key,
    constant_time_equal,
    hkdf_sha256,
    hmac_sha256,
    pbkdf2,
    sha256,
)
from evse_node.matter.secure_channel.p256 import Multiplier, Point

SCALAR_SIZE: Final = 32
VERIFIER_SIZE: Final = SCALAR_SIZE + PUBLIC_KEY_SIZE
CONFIRMATION_SIZE: Final = 32
MIN_SALT_SIZE: Final = 16
MAX_SALT_SIZE: Final = 32
MIN_ITERATIONS: Final = 1000
MAX_ITERATIONS: Final = 100_000

# CRYPTO_W_SIZE_BYTES: 8 bytes more than a scalar, so that the reduction has no bias.
_W_SIZE = 40

# Points with unknown discrete logarithms.
M: Final = Point(
    0x886E2F97ACE46E55BA9DD7242579F2993B64E16EF3DCAB95AFD497333D8FA12F,
    0x5FF355163E43CE224E0B0E65FF02AC8E5C7BE09419C785E0CA547D55A12E2D20,
)
N: Final = Point(
    0xD8BBD6C639C62937B04D997F38C3770719C629D7014D49A24B4F98BAA1292B49,
    0x07D60AA6BFADE45008A636337F5168C64D9BD36034808CD564490B1E656EDBE7,
)


def derive_secrets(passcode: int, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """Return the prover's scalars (w0, w1)."""
    derived = pbkdf2(passcode.to_bytes(4, "little"), salt, iterations, 2 * _W_SIZE)
    w0 = int.from_bytes(derived[:_W_SIZE], "big") % P256_ORDER
    w1 = int.from_bytes(derived[_W_SIZE:], "big") % P256_ORDER
    return w0.to_bytes(SCALAR_SIZE, "big"), w1.to_bytes(SCALAR_SIZE, "big")


def compute_verifier(passcode: int, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """Return (w0, L), 32 and 65 bytes, which the verifier stores instead of the passcode."""
    w0, w1 = derive_secrets(passcode, salt, iterations)
    return w0, KeyPair.from_private(w1).public_key


def parse_verifier(verifier: bytes) -> tuple[bytes, bytes]:
    """Split the 97-byte form `w0 || L` into (w0, L).

    Raises CryptoError for a wrong size, a scalar out of range or a point off the curve.
    """
    if len(verifier) != VERIFIER_SIZE:
        raise CryptoError(f"PAKE verifier of {len(verifier)} bytes")
    w0, point = verifier[:SCALAR_SIZE], verifier[SCALAR_SIZE:]
    if not 0 < int.from_bytes(w0, "big") < P256_ORDER:
        raise CryptoError("w0 is out of range")
    check_public_key(point)
    return w0, point


def derive_keys(
    context: bytes,
    identities: tuple[bytes, bytes],
    shares: tuple[bytes, bytes],
    z: Point,
    v: Point,
    w0: bytes,
) -> tuple[bytes, bytes, bytes]:
    """Return the shared key Ke (16 bytes) and the confirmations cA and cB (32 bytes each).

    `identities` and `shares` are those of prover and verifier.
    """
    transcript = bytearray()
    parts = (context, *identities, M.encode(), N.encode(), *shares, z.encode(), v.encode(), w0)
    for part in parts:
        transcript += len(part).to_bytes(8, "little") + part
    keys = sha256(bytes(transcript))
    confirmation_keys = hkdf_sha256(keys[:16], b"", b"ConfirmationKeys", 32)
    share_a, share_b = shares
    return (
        keys[16:],
        hmac_sha256(confirmation_keys[:16], share_b),
        hmac_sha256(confirmation_keys[16:], share_a),
    )


class Spake2pVerifier:
    """The node's side. One object serves one attempt."""

    def __init__(
        self,
        w0: bytes,
        L: bytes,  # noqa: N803
        context: bytes,
        random_bytes: Callable[[int], bytes],
        *,
        identities: tuple[bytes, bytes] = (b"", b""),
    ) -> None:
        self._w0 = w0
        self._L = L
        self._context = context
        self._identities = identities
        self._scalar = random_scalar(random_bytes)
        self._shared_key = b""
        self._expected = b""

    def on_pA(self, pA: bytes) -> tuple[bytes, bytes]:  # noqa: N802, N803
        """Process the prover's share (65 bytes); return (pB, cB), 65 and 32 bytes.

        Raises CryptoError when the share is not a point of the curve.
        """
        share = Point.decode(pA)
        w0, y = Multiplier.decode(self._w0), self._scalar
        share_b = (y.base_point() + w0 * N).encode()
        z = y * (share + -(w0 * M))
        v = y * Point.decode(self._L)
        self._shared_key, self._expected, confirmation = derive_keys(
            self._context, self._identities, (pA, share_b), z, v, self._w0
        )
        return share_b, confirmation

    def verify(self, cA: bytes) -> bytes:  # noqa: N803
        """Check the prover's confirmation; return the 16-byte shared key Ke.

        Raises CryptoError when the prover used another passcode.
        """
        if not self._expected or not constant_time_equal(self._expected, cA):
            raise CryptoError("PAKE confirmation does not verify")
        return self._shared_key


def random_scalar(random_bytes: Callable[[int], bytes]) -> Multiplier:
    """Return a random scalar, 0 < scalar < order of the group."""
    while True:
        scalar = int.from_bytes(random_bytes(SCALAR_SIZE), "big")
        if 0 < scalar < P256_ORDER:
            return Multiplier(scalar)
