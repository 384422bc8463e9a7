"""Onboarding payload: the QR code and the manual pairing code.

Spec: Matter Core 1.3 "Onboarding Payload"
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, IntFlag
from typing import Final

from msgspec import Struct

from evse_node.errors import ConfigError
from evse_node.matter.crypto import repr_without

MAX_PASSCODE: Final = 99_999_998
MAX_DISCRIMINATOR: Final = 0xFFF
INVALID_PASSCODES: Final = frozenset(
    {*(digit * 11_111_111 for digit in range(10)), 12_345_678, 87_654_321}
)

_PREFIX = "MT:"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-."
# Number of base 38 characters for a number of bytes.
_CHARACTERS = {1: 2, 2: 4, 3: 5}
# Width in bits of each field, from the least significant bit on; four zero bits follow.
_WIDTHS = (3, 16, 16, 2, 8, 12, 27)
_PACKED_SIZE = 11


class CommissioningFlow(IntEnum):
    """The step that a user must take before the device can be commissioned."""

    STANDARD = 0
    USER_INTENT = 1
    CUSTOM = 2


class DiscoveryCapability(IntFlag):
    """The transports over which a device can be discovered for commissioning."""

    SOFT_AP = 1
    BLE = 2
    ON_NETWORK = 4


def is_valid_passcode(passcode: int) -> bool:
    """Return whether `passcode` is in range and not one of the trivial ones.

    Spec: Matter Core 1.3 "Invalid Passcodes"
    """
    return 0 < passcode <= MAX_PASSCODE and passcode not in INVALID_PASSCODES


def validate_passcode(passcode: int) -> None:
    """Raise ConfigError for an invalid passcode."""
    if not is_valid_passcode(passcode):
        raise ConfigError(
            f"passcode {passcode:08d} is not between 00000001 and {MAX_PASSCODE}, "
            "or is too easily guessed"
        )


def generate_passcode(random_bytes: Callable[[int], bytes]) -> int:
    """Return a random valid passcode."""
    while True:
        passcode = int.from_bytes(random_bytes(4), "big") & 0x7FFFFFF
        if is_valid_passcode(passcode):
            return passcode


def generate_discriminator(random_bytes: Callable[[int], bytes]) -> int:
    """Return a random discriminator."""
    return int.from_bytes(random_bytes(2), "big") & MAX_DISCRIMINATOR


class OnboardingPayload(Struct, frozen=True):
    """The data that a commissioner needs to discover a device and authenticate to it.

    Raises ConfigError for a value out of range. Vendor and product id are 0 when they are
    not disclosed.
    """

    vendor_id: int
    product_id: int
    discriminator: int
    passcode: int
    flow: CommissioningFlow = CommissioningFlow.STANDARD
    discovery: DiscoveryCapability = DiscoveryCapability.ON_NETWORK

    def __repr__(self) -> str:
        return repr_without(self, "passcode")

    def __post_init__(self) -> None:
        validate_passcode(self.passcode)
        for name, value, maximum in (
            ("vendor id", self.vendor_id, 0xFFFF),
            ("product id", self.product_id, 0xFFFF),
            ("discriminator", self.discriminator, MAX_DISCRIMINATOR),
            ("discovery capabilities", self.discovery, 0xFF),
        ):
            if not 0 <= value <= maximum:
                raise ConfigError(f"{name} {value} is not between 0 and {maximum}")

    def qr_code(self) -> str:
        """Return the text of the QR code, "MT:" and 19 characters.

        Spec: Matter Core 1.3 "QR Code"
        """
        fields: tuple[int, ...] = (
            0,
            self.vendor_id,
            self.product_id,
            self.flow,
            self.discovery,
            self.discriminator,
            self.passcode,
        )
        packed = shift = 0
        for value, width in zip(fields, _WIDTHS, strict=True):
            packed |= value << shift
            shift += width
        return _PREFIX + _encode_base38(packed.to_bytes(_PACKED_SIZE, "little"))

    def manual_code(self) -> str:
        """Return the manual pairing code: 11 digits, or 21 when the flow is not standard.

        Spec: Matter Core 1.3 "Manual Pairing Code"
        """
        is_long = self.flow is not CommissioningFlow.STANDARD
        short_discriminator = self.discriminator >> 8
        digits = (
            f"{is_long << 2 | short_discriminator >> 2:d}"
            f"{(short_discriminator & 3) << 14 | self.passcode & 0x3FFF:05d}"
            f"{self.passcode >> 14:04d}"
        )
        if is_long:
            digits += f"{self.vendor_id:05d}{self.product_id:05d}"
        return digits + _check_digit(digits)


def _encode_base38(data: bytes) -> str:
    text = ""
    for start in range(0, len(data), 3):
        chunk = data[start : start + 3]
        value = int.from_bytes(chunk, "little")
        for _ in range(_CHARACTERS[len(chunk)]):
            value, digit = divmod(value, 38)
            text += _ALPHABET[digit]
    return text


# Verhoeff's algorithm: digits are elements of the dihedral group of order 10, permuted
# once more for each position.
_PERMUTATION = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def _multiply(a: int, b: int) -> int:
    turn = (a - b if a >= 5 else a + b) % 5
    return turn if (a >= 5) == (b >= 5) else turn + 5


def _check_digit(digits: str) -> str:
    check = 0
    for place, digit in enumerate(reversed(digits), start=1):
        value = int(digit)
        for _ in range(place % 8):
            value = _PERMUTATION[value]
        check = _multiply(check, value)
    return str(check if check >= 5 else -check % 5)
