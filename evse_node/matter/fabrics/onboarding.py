"""Onboarding payload: the QR code and the manual pairing code.

Spec: Matter Core 1.3 "Onboarding Payload"
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, IntFlag
from typing import Final

from msgspec import Struct

from evse_node.errors import ConfigError, DecodeError
from evse_node.matter import tlv
from evse_node.matter.crypto import repr_without

MAX_PASSCODE: Final = 99_999_998
MAX_DISCRIMINATOR: Final = 0xFFF
INVALID_PASSCODES: Final = frozenset(
    {*(digit * 11_111_111 for digit in range(10)), 12_345_678, 87_654_321}
)

_PREFIX = "MT:"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-."
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
# Characters that so many bytes take in base 38, and the other way round.
_CHARACTERS = {1: 2, 2: 4, 3: 5}
_BYTES = {characters: size for size, characters in _CHARACTERS.items()}
# Width in bits of each field, from the least significant bit on; four zero bits follow.
_WIDTHS = (3, 16, 16, 2, 8, 12, 27)
_PACKED_SIZE = 11
_SHORT_CODE, _LONG_CODE = 11, 21


class CommissioningFlow(IntEnum):
    """What a user must do before the device can be commissioned."""

    STANDARD = 0
    USER_INTENT = 1
    CUSTOM = 2


class DiscoveryCapability(IntFlag):
    """Where a device that is not commissioned can be found."""

    SOFT_AP = 1
    BLE = 2
    ON_NETWORK = 4


def is_valid_passcode(passcode: int) -> bool:
    """Tell whether `passcode` is in range and not one of those that are too easily guessed.

    Spec: Matter Core 1.3 "Invalid Passcodes"
    """
    return 0 < passcode <= MAX_PASSCODE and passcode not in INVALID_PASSCODES


def validate_passcode(passcode: int) -> None:
    """Raise ConfigError unless `passcode` may be used."""
    if not is_valid_passcode(passcode):
        raise ConfigError(
            f"passcode {passcode:08d} is not between 00000001 and {MAX_PASSCODE}, "
            "or is too easily guessed"
        )


def generate_passcode(random_bytes: Callable[[int], bytes]) -> int:
    """Draw a passcode."""
    while True:
        passcode = int.from_bytes(random_bytes(4), "big") & 0x7FFFFFF
        if is_valid_passcode(passcode):
            return passcode


def generate_discriminator(random_bytes: Callable[[int], bytes]) -> int:
    """Draw a discriminator."""
    return int.from_bytes(random_bytes(2), "big") & MAX_DISCRIMINATOR


class OnboardingPayload(Struct, frozen=True):
    """What a commissioner needs to find a device and to prove that it may have it.

    Raises ConfigError for a value out of range. Vendor and product id may be 0, for
    a device that does not tell them.
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


class ManualCode(Struct, frozen=True):
    """What a manual pairing code tells; `short_discriminator` is the upper 4 of 12 bits."""

    passcode: int
    short_discriminator: int
    vendor_id: int | None = None
    product_id: int | None = None

    def __repr__(self) -> str:
        return repr_without(self, "passcode")


def parse_qr_code(text: str) -> OnboardingPayload:
    """Parse the text of a QR code for one device; raises DecodeError.

    Vendor data after the fixed part is checked to be TLV, and passed over.
    Not implemented: Concatenation (several devices in one QR code).
    """
    if not text.startswith(_PREFIX):
        raise DecodeError(f"QR code does not begin with {_PREFIX}")
    raw = _decode_base38(text[len(_PREFIX) :])
    if len(raw) < _PACKED_SIZE:
        raise DecodeError("QR code is too short")
    if len(raw) > _PACKED_SIZE:
        tlv.decode_struct(raw[_PACKED_SIZE:])
    packed = int.from_bytes(raw[:_PACKED_SIZE], "little")
    fields: list[int] = []
    for width in _WIDTHS:
        fields.append(packed & ((1 << width) - 1))
        packed >>= width
    version, vendor_id, product_id, flow, discovery, discriminator, passcode = fields
    if version or packed:
        raise DecodeError("QR code has an unknown version or padding")
    try:
        return OnboardingPayload(
            vendor_id,
            product_id,
            discriminator,
            passcode,
            CommissioningFlow(flow),
            DiscoveryCapability(discovery),
        )
    except (ConfigError, ValueError) as error:
        raise DecodeError(f"QR code: {error}") from None


def parse_manual_code(text: str) -> ManualCode:
    """Parse a manual pairing code; dashes and spaces are passed over. Raises DecodeError."""
    digits = text.replace("-", "").replace(" ", "")
    if not (digits.isascii() and digits.isdigit()):
        raise DecodeError("manual pairing code has something else than digits")
    if len(digits) not in (_SHORT_CODE, _LONG_CODE):
        raise DecodeError(f"manual pairing code has {len(digits)} digits")
    if _check_digit(digits[:-1]) != digits[-1]:
        raise DecodeError("manual pairing code has a wrong check digit")
    first, middle, last = int(digits[0]), int(digits[1:6]), int(digits[6:10])
    is_long = len(digits) == _LONG_CODE
    if first >> 2 != is_long or middle > 0xFFFF or last > 0x1FFF:
        raise DecodeError("manual pairing code has a part out of range")
    passcode = last << 14 | middle & 0x3FFF
    if not is_valid_passcode(passcode):
        raise DecodeError("manual pairing code has a passcode that is not valid")
    short_discriminator = (first & 3) << 2 | middle >> 14
    if not is_long:
        return ManualCode(passcode, short_discriminator)
    vendor_id, product_id = int(digits[10:15]), int(digits[15:20])
    if vendor_id > 0xFFFF or product_id > 0xFFFF:
        raise DecodeError("manual pairing code has a part out of range")
    return ManualCode(passcode, short_discriminator, vendor_id, product_id)


def _encode_base38(data: bytes) -> str:
    text = ""
    for start in range(0, len(data), 3):
        chunk = data[start : start + 3]
        value = int.from_bytes(chunk, "little")
        for _ in range(_CHARACTERS[len(chunk)]):
            value, digit = divmod(value, 38)
            text += _ALPHABET[digit]
    return text


def _decode_base38(text: str) -> bytes:
    data = b""
    for start in range(0, len(text), 5):
        chunk = text[start : start + 5]
        size = _BYTES.get(len(chunk))
        if size is None:
            raise DecodeError("base 38 text has a wrong length")
        value = 0
        for character in reversed(chunk):
            if character not in _VALUES:
                raise DecodeError(f"{character!r} is not a character of base 38")
            value = value * 38 + _VALUES[character]
        if value >> 8 * size:
            raise DecodeError("base 38 text is out of range")
        data += value.to_bytes(size, "little")
    return data


# Verhoeff's scheme: digits are elements of the dihedral group of order 10, permuted
# once more for each place.
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
