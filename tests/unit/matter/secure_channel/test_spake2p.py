"""SPAKE2+: vectors, agreement of both sides, and shares that must be refused."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_node.errors import CryptoError
from evse_node.matter.crypto import P256_ORDER
from evse_node.matter.secure_channel.p256 import Multiplier
from evse_node.matter.secure_channel.spake2p import (
    M,
    Spake2pVerifier,
    compute_verifier,
    derive_secrets,
    parse_verifier,
)
from tests.support.matter.pase_initiator import Spake2pProver
from tests.vectors.spake2p import CONTEXT, PASSCODE_VERIFIER, SPAKE2P, Spake2pVector

SALT = b"SPAKE2P Key Salt"


def fixed(*values: bytes) -> Callable[[int], bytes]:
    queue = list(values)
    return lambda length: queue.pop(0)


@pytest.mark.parametrize("vector", SPAKE2P)
def test_verifier_vectors(vector: Spake2pVector) -> None:
    verifier = Spake2pVerifier(
        bytes.fromhex(vector.w0),
        bytes.fromhex(vector.point_l),
        CONTEXT,
        fixed(bytes.fromhex(vector.y)),
        identities=(vector.prover, vector.verifier),
    )
    p_b, c_b = verifier.on_pA(bytes.fromhex(vector.p_a))
    assert p_b.hex() == vector.p_b
    assert c_b.hex() == vector.c_b
    assert verifier.verify(bytes.fromhex(vector.c_a)).hex() == vector.k_e


@pytest.mark.parametrize("vector", SPAKE2P)
def test_prover_vectors(vector: Spake2pVector) -> None:
    prover = Spake2pProver(
        bytes.fromhex(vector.w0),
        bytes.fromhex(vector.w1),
        CONTEXT,
        fixed(bytes.fromhex(vector.x)),
        identities=(vector.prover, vector.verifier),
    )
    assert prover.pA.hex() == vector.p_a
    c_a, key = prover.on_pB(bytes.fromhex(vector.p_b), bytes.fromhex(vector.c_b))
    assert (c_a.hex(), key.hex()) == (vector.c_a, vector.k_e)


def test_verifier_of_the_default_passcode() -> None:
    w0, point = compute_verifier(20202021, SALT, 1000)
    assert (w0 + point).hex() == PASSCODE_VERIFIER
    assert parse_verifier(w0 + point) == (w0, point)


def make_pair(
    passcode: int = 20202021, other: int = 20202021
) -> tuple[Spake2pProver, Spake2pVerifier]:
    prover = Spake2pProver(*derive_secrets(passcode, SALT, 1000), b"context", lambda n: b"\x11" * n)
    verifier = Spake2pVerifier(
        *compute_verifier(other, SALT, 1000), b"context", lambda n: b"\x22" * n
    )
    return prover, verifier


def test_spake2p_sides_derive_same_key() -> None:
    prover, verifier = make_pair()
    c_a, key = prover.on_pB(*verifier.on_pA(prover.pA))
    assert verifier.verify(c_a) == key
    assert len(key) == 16


def test_wrong_passcode_is_detected_by_both_sides() -> None:
    prover, verifier = make_pair(20202021, 20202022)
    p_b, c_b = verifier.on_pA(prover.pA)
    with pytest.raises(CryptoError):
        prover.on_pB(p_b, c_b)
    with pytest.raises(CryptoError):
        verifier.verify(bytes(32))


def test_confirmation_before_share_is_rejected() -> None:
    _, verifier = make_pair()
    with pytest.raises(CryptoError):
        verifier.verify(b"")


def test_scalar_out_of_range_is_drawn_again() -> None:
    w0, point = compute_verifier(20202021, SALT, 1000)
    good = b"\x22" * 32
    random_bytes = fixed(bytes(32), P256_ORDER.to_bytes(32, "big"), good)
    prover = make_pair()[0]
    expected = Spake2pVerifier(w0, point, b"c", fixed(good)).on_pA(prover.pA)
    assert Spake2pVerifier(w0, point, b"c", random_bytes).on_pA(prover.pA) == expected


@pytest.mark.parametrize(
    "share",
    [
        b"",
        b"\x00",
        bytes(65),
        b"\x04" + bytes(64),
        b"\x04" + bytes(63) + b"\x01",
        b"\x04" + b"\xff" * 64,
        bytes.fromhex(SPAKE2P[0].p_a)[:64],
        bytes.fromhex(SPAKE2P[0].p_a) + b"\x00",
        b"\x06" + bytes.fromhex(SPAKE2P[0].p_a)[1:],
        # A compressed point.
        b"\x02" + bytes.fromhex(SPAKE2P[0].p_a)[1:33],
    ],
)
def test_invalid_share_is_rejected(share: bytes) -> None:
    prover, verifier = make_pair()
    with pytest.raises(CryptoError):
        verifier.on_pA(share)
    with pytest.raises(CryptoError):
        prover.on_pB(share, bytes(32))


def test_share_that_cancels_to_infinity_is_rejected() -> None:
    # With pA = w0 * M nothing of y would be left in Z.
    w0, point = compute_verifier(20202021, SALT, 1000)
    encoded = (Multiplier(int.from_bytes(w0, "big")) * M).encode()
    with pytest.raises(CryptoError, match="infinity"):
        Spake2pVerifier(w0, point, b"", lambda n: b"\x22" * n).on_pA(encoded)


@given(st.binary(max_size=100))
def test_arbitrary_share_and_verifier_are_rejected(data: bytes) -> None:
    with pytest.raises(CryptoError):
        make_verifier().on_pA(data)
    with pytest.raises(CryptoError):
        parse_verifier(data)


def make_verifier() -> Spake2pVerifier:
    w0 = bytes.fromhex(SPAKE2P[0].w0)
    return Spake2pVerifier(w0, bytes.fromhex(SPAKE2P[0].point_l), b"", lambda n: b"\x22" * n)


@pytest.mark.parametrize("w0", [bytes(32), P256_ORDER.to_bytes(32, "big"), b"\xff" * 32])
def test_verifier_with_scalar_out_of_range_is_rejected(w0: bytes) -> None:
    with pytest.raises(CryptoError):
        parse_verifier(w0 + bytes.fromhex(SPAKE2P[0].point_l))
