"""SPAKE2+ over P-256: two sides prove to each other that they know one passcode.

The prover (commissioner) knows the passcode; the verifier (node) knows only
`w0` and the point `L = w1 * G`, from which the passcode cannot be had back.
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

# Points that nobody knows the discrete logarithm of.
_M = bytes.fromhex(
    "04886e2f97ace46e55ba9dd7242579f2993b64e16ef3dcab95afd497333d8fa12f"
    "5ff355163e43ce224e0b0e65ff02ac8e5c7be09419c785e0ca547d55a12e2d20"
)
_N = bytes.fromhex(
    "04d8bbd6c639c62937b04d997f38c3770719c629d7014d49a24b4f98baa1292b49"
    "07d60aa6bfade45008a636337f5168c64d9bd36034808cd564490b1e656edbe7"
)


def derive_secrets(passcode: int, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """Return the scalars (w0, w1) that the prover computes from the passcode."""
    derived = pbkdf2(passcode.to_bytes(4, "little"), salt, iterations, 2 * _W_SIZE)
    w0 = int.from_bytes(derived[:_W_SIZE], "big") % P256_ORDER
    w1 = int.from_bytes(derived[_W_SIZE:], "big") % P256_ORDER
    return w0.to_bytes(SCALAR_SIZE, "big"), w1.to_bytes(SCALAR_SIZE, "big")


def compute_verifier(passcode: int, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """Return (w0, L), 32 and 65 bytes, that the verifier keeps in place of the passcode."""
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


class _Spake2p:
    """What both sides do: the transcript, the keys and their confirmation."""

    def __init__(
        self,
        context: bytes,
        random_bytes: Callable[[int], bytes],
        prover_identity: bytes,
        verifier_identity: bytes,
    ) -> None:
        self._context = context
        self._identities = (prover_identity, verifier_identity)
        self._scalar = Multiplier(_random_scalar(random_bytes))
        self._shared_key = b""
        self._expected = b""

    def _derive(
        self, share_a: bytes, share_b: bytes, z: Point, v: Point, w0: bytes
    ) -> tuple[bytes, bytes]:
        """Keep Ke; return the confirmations (cA, cB)."""
        transcript = bytearray()
        parts = (self._context, *self._identities, _M, _N, share_a, share_b)
        for part in (*parts, z.encode(), v.encode(), w0):
            transcript += len(part).to_bytes(8, "little") + part
        keys = sha256(bytes(transcript))
        confirmation_keys = hkdf_sha256(keys[:16], b"", b"ConfirmationKeys", 32)
        self._shared_key = keys[16:]
        return (
            hmac_sha256(confirmation_keys[:16], share_b),
            hmac_sha256(confirmation_keys[16:], share_a),
        )

    def _confirm(self, confirmation: bytes) -> bytes:
        if not self._expected or not constant_time_equal(self._expected, confirmation):
            raise CryptoError("PAKE confirmation does not verify")
        return self._shared_key


class Spake2pVerifier(_Spake2p):
    """The node's side. One object serves one attempt."""

    def __init__(
        self,
        w0: bytes,
        L: bytes,  # noqa: N803
        context: bytes,
        random_bytes: Callable[[int], bytes],
        *,
        prover_identity: bytes = b"",
        verifier_identity: bytes = b"",
    ) -> None:
        super().__init__(context, random_bytes, prover_identity, verifier_identity)
        self._w0 = w0
        self._L = L
        self.pB = b""

    def on_pA(self, pA: bytes) -> tuple[bytes, bytes]:  # noqa: N802, N803
        """Take the prover's share (65 bytes); return (pB, cB), 65 and 32 bytes.

        Raises CryptoError when the share is not a point of the curve.
        """
        share = Point.decode(pA)
        w0, y = _multiplier(self._w0), self._scalar
        self.pB = (y.base_point() + w0 * Point.decode(_N)).encode()
        z = y * (share + -(w0 * Point.decode(_M)))
        v = y * Point.decode(self._L)
        self._expected, confirmation = self._derive(pA, self.pB, z, v, self._w0)
        return self.pB, confirmation

    def verify(self, cA: bytes) -> bytes:  # noqa: N803
        """Check the prover's confirmation; return the 16-byte shared key Ke.

        Raises CryptoError when the prover did not know the passcode.
        """
        return self._confirm(cA)


class Spake2pProver(_Spake2p):
    """The commissioner's side. One object serves one attempt."""

    def __init__(
        self,
        w0: bytes,
        w1: bytes,
        context: bytes,
        random_bytes: Callable[[int], bytes],
        *,
        prover_identity: bytes = b"",
        verifier_identity: bytes = b"",
    ) -> None:
        super().__init__(context, random_bytes, prover_identity, verifier_identity)
        self._w0 = w0
        self._w1 = _multiplier(w1)
        self.pA = (self._scalar.base_point() + _multiplier(w0) * Point.decode(_M)).encode()

    def on_pB(self, pB: bytes, cB: bytes) -> tuple[bytes, bytes]:  # noqa: N802, N803
        """Take the verifier's share and confirmation; return (cA, Ke), 32 and 16 bytes.

        Raises CryptoError when the share is not a point of the curve or the
        verifier does not know the passcode.
        """
        base = Point.decode(pB) + -(_multiplier(self._w0) * Point.decode(_N))
        confirmation, self._expected = self._derive(
            self.pA, pB, self._scalar * base, self._w1 * base, self._w0
        )
        return confirmation, self._confirm(cB)


def _random_scalar(random_bytes: Callable[[int], bytes]) -> int:
    while True:
        scalar = int.from_bytes(random_bytes(SCALAR_SIZE), "big")
        if 0 < scalar < P256_ORDER:
            return scalar


def _multiplier(scalar: bytes) -> Multiplier:
    return Multiplier(int.from_bytes(scalar, "big"))
