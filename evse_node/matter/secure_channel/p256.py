"""P-256 point arithmetic on top of the ECDH of `cryptography`.

SPAKE2+ needs the sum of two points and both coordinates of a multiple, which no Python
library that we depend on offers. ECDH returns the x of k*P and, called again, the x of
(k+1)*P; these two and P determine the y of k*P.

Scalar multiplication runs in OpenSSL, in constant time. The few operations here work on
Python integers; inversion, the only one whose time depends much on its operand, is blinded.

Spec: Matter Core 1.3 "Password-Authenticated Key Exchange (PAKE)"; FIPS 186-4 D.1.2.3
"""

from __future__ import annotations

import os
from typing import Final

from msgspec import Struct

from evse_node.errors import CryptoError
from evse_node.matter.crypto import (
    P256_ORDER,
    PRIVATE_KEY_SIZE,
    KeyPair,
    check_public_key,
)

# The field's prime and the curve's coefficients: y^2 = x^3 + A*x + B.
_PRIME: Final = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_A: Final = -3
_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B

_COORDINATE_SIZE: Final = 32


class Point(Struct, frozen=True):
    """A point of the curve other than the point at infinity."""

    x: int
    y: int

    @classmethod
    def decode(cls, encoded: bytes) -> Point:
        """Decode an uncompressed point, 65 bytes. Raises CryptoError when it is off the curve."""
        check_public_key(encoded)
        middle = 1 + _COORDINATE_SIZE
        return cls(
            int.from_bytes(encoded[1:middle], "big"), int.from_bytes(encoded[middle:], "big")
        )

    def encode(self) -> bytes:
        """Return the uncompressed form, 65 bytes."""
        size = _COORDINATE_SIZE
        return b"\x04" + self.x.to_bytes(size, "big") + self.y.to_bytes(size, "big")

    def __neg__(self) -> Point:
        # No point has y = 0: the group has odd order.
        return Point(self.x, _PRIME - self.y)

    def __add__(self, other: Point) -> Point:
        """Return the sum. Raises CryptoError for the point at infinity."""
        if self.x != other.x:
            slope = (other.y - self.y) * _inverse(other.x - self.x)
        elif self.y == other.y:
            slope = (3 * self.x * self.x + _A) * _inverse(2 * self.y)
        else:
            raise CryptoError("sum of points is the point at infinity")
        x = (slope * slope - self.x - other.x) % _PRIME
        return Point(x, (slope * (self.x - x) - self.y) % _PRIME)


class Multiplier:
    """A scalar k, 0 < k < order of the group, that multiplies points.

    Raises CryptoError for a scalar out of range.
    """

    __slots__ = ("_key", "_next")

    def __init__(self, scalar: int) -> None:
        if not 0 < scalar < P256_ORDER:
            raise CryptoError("scalar is out of range")
        self._key = _key(scalar)
        # None: k + 1 is the order, so k equals -1.
        self._next = _key(scalar + 1) if scalar + 1 < P256_ORDER else None

    @classmethod
    def decode(cls, scalar: bytes) -> Multiplier:
        """Return the multiplier of a big-endian scalar."""
        return cls(int.from_bytes(scalar, "big"))

    def base_point(self) -> Point:
        """Return k * G."""
        return Point.decode(self._key.public_key)

    def __mul__(self, point: Point) -> Point:
        """Return k * point."""
        if self._next is None:
            return -point
        encoded = point.encode()
        x = int.from_bytes(self._key.ecdh(encoded), "big")
        x_next = int.from_bytes(self._next.ecdh(encoded), "big")
        # The sum of P and k*P has x_next = slope^2 - P.x - x with slope = (y - P.y) / (x - P.x).
        # With both squares taken from the curve's equation, what remains is linear in y.
        distance = x - point.x
        squares = _y_squared(point.x) + _y_squared(x)
        twice_product = squares - (x_next + x + point.x) * distance * distance
        return Point(x, twice_product * _inverse(2 * point.y) % _PRIME)


def _key(scalar: int) -> KeyPair:
    return KeyPair.from_private(scalar.to_bytes(PRIVATE_KEY_SIZE, "big"))


def _y_squared(x: int) -> int:
    return x * x * x + _A * x + _B


def _inverse(value: int) -> int:
    """Return the inverse modulo the prime of a value that is not a multiple of it."""
    # Blinding hides the value from timing attacks and cancels out of the result.
    blind = 1 + int.from_bytes(os.urandom(_COORDINATE_SIZE), "big") % (_PRIME - 1)
    return pow(value * blind, -1, _PRIME) * blind % _PRIME
