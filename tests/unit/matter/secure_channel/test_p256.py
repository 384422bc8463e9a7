"""Points of P-256: against the textbook, published multiples, and what has no result."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evse_node.errors import CryptoError
from evse_node.matter.crypto import P256_ORDER, KeyPair
from evse_node.matter.secure_channel.p256 import Multiplier, Point

PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
G = Point(
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
# NIST's test values of multiples of the base point: k, x, y.
MULTIPLES = [
    (1, G.x, G.y),
    (
        2,
        0x7CF27B188D034F7E8A52380304B51AC3C08969E277F21B35A60B48FC47669978,
        0x07775510DB8ED040293D9AC69F7430DBBA7DADE63CE982299E04B79D227873D1,
    ),
    (
        3,
        0x5ECBE4D1A6330A44C8F7EF951D4BF165E6C6B721EFADA985FB41661BC6E7FD6C,
        0x8734640C4998FF7E374B06CE1A64A2ECD82AB036384FB83D9A79B127A27D5032,
    ),
    (
        112233445566778899,
        0x339150844EC15234807FE862A86BE77977DBFB3AE3D96F4C22795513AEAAB82F,
        0xB1C14DDFDC8EC1B2583F51E85A5EB3A155840F2034730E9B5ADA38B674336A21,
    ),
    (P256_ORDER - 1, G.x, PRIME - G.y),
]

scalars = st.integers(1, P256_ORDER - 1)


def textbook(scalar: int, point: Point) -> Point:
    """Double and add, from the highest bit down."""
    result = point
    for bit in bin(scalar)[3:]:
        result = result + result
        if bit == "1":
            result = result + point
    return result


@pytest.mark.parametrize(("scalar", "x", "y"), MULTIPLES)
def test_multiplier_matches_published_multiples(scalar: int, x: int, y: int) -> None:
    assert Multiplier(scalar) * G == Multiplier(scalar).base_point() == Point(x, y)


@settings(max_examples=25, deadline=None)
@given(scalars, scalars)
def test_multiple_equals_repeated_addition(scalar: int, other: int) -> None:
    point = Point.decode(KeyPair.from_private(other.to_bytes(32, "big")).public_key)
    product = Multiplier(scalar) * point
    assert product == textbook(scalar, point)
    assert Point.decode(product.encode()) == product


@pytest.mark.parametrize("scalar", [1, 2, P256_ORDER - 2, P256_ORDER - 1])
def test_multiplier_accepts_scalars_at_both_limits(scalar: int) -> None:
    point = Multiplier(7) * G
    assert Multiplier(scalar) * point == textbook(scalar, point)


@settings(max_examples=25, deadline=None)
@given(scalars, scalars)
def test_sum_of_multiples_equals_multiple_of_sum(one: int, other: int) -> None:
    total = (one + other) % P256_ORDER
    if total:
        expected = Multiplier(total).base_point()
        assert Multiplier(one).base_point() + Multiplier(other).base_point() == expected


def test_sum_at_infinity_is_rejected() -> None:
    with pytest.raises(CryptoError, match="infinity"):
        G + -G


@pytest.mark.parametrize("scalar", [0, -1, P256_ORDER, P256_ORDER + 1])
def test_scalar_out_of_range_is_rejected(scalar: int) -> None:
    with pytest.raises(CryptoError):
        Multiplier(scalar)


@pytest.mark.parametrize(
    "encoded",
    [b"", bytes(65), b"\x04" + bytes(64), b"\x04" + b"\xff" * 64, G.encode()[:64], b"\x02" * 33],
)
def test_invalid_point_is_rejected(encoded: bytes) -> None:
    with pytest.raises(CryptoError):
        Point.decode(encoded)


def test_multiplier_matches_other_library() -> None:
    ecc = pytest.importorskip("Crypto.PublicKey.ECC", reason="needs pycryptodome")
    point = Multiplier(123456789) * G
    for scalar in (1, 2, 2**128 + 1, P256_ORDER // 3, P256_ORDER - 2):
        theirs = ecc.EccPoint(point.x, point.y, "p256") * scalar
        assert Multiplier(scalar) * point == Point(int(theirs.x), int(theirs.y))
