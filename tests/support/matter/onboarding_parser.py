"""Parsers for QR codes and manual pairing codes, which only commissioners need.

Spec: Matter Core 1.3 "Onboarding Payload"
"""

from __future__ import annotations

from msgspec import Struct

from evse_node.errors import ConfigError, DecodeError
from evse_node.matter import tlv
from evse_node.matter.crypto import repr_without
from evse_node.matter.fabrics.onboarding import (
    _ALPHABET,
    _CHARACTERS,
    _PACKED_SIZE,
    _PREFIX,
    _WIDTHS,
    CommissioningFlow,
    DiscoveryCapability,
    OnboardingPayload,
    _check_digit,
    is_valid_passcode,
)

_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_BYTES = {characters: size for size, characters in _CHARACTERS.items()}
_SHORT_CODE, _LONG_CODE = 11, 21


class ManualCode(Struct, frozen=True):
    """The content of a manual pairing code; `short_discriminator` is the upper 4 of 12 bits."""

    passcode: int
    short_discriminator: int
    vendor_id: int | None = None
    product_id: int | None = None

    def __repr__(self) -> str:
        return repr_without(self, "passcode")


def parse_qr_code(text: str) -> OnboardingPayload:
    """Parse the text of a QR code for one device. Raises DecodeError.

    Vendor data after the fixed part must be TLV, and is ignored.
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
    """Parse a manual pairing code; dashes and spaces are ignored. Raises DecodeError."""
    digits = text.replace("-", "").replace(" ", "")
    if not (digits.isascii() and digits.isdigit()):
        raise DecodeError("manual pairing code must have digits only")
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
        raise DecodeError("manual pairing code has an invalid passcode")
    short_discriminator = (first & 3) << 2 | middle >> 14
    if not is_long:
        return ManualCode(passcode, short_discriminator)
    vendor_id, product_id = int(digits[10:15]), int(digits[15:20])
    if vendor_id > 0xFFFF or product_id > 0xFFFF:
        raise DecodeError("manual pairing code has a part out of range")
    return ManualCode(passcode, short_discriminator, vendor_id, product_id)


def _decode_base38(text: str) -> bytes:
    data = b""
    for start in range(0, len(text), 5):
        chunk = text[start : start + 5]
        size = _BYTES.get(len(chunk))
        if size is None:
            raise DecodeError("base 38 text has an invalid length")
        value = 0
        for character in reversed(chunk):
            if character not in _VALUES:
                raise DecodeError(f"{character!r} is not a character of base 38")
            value = value * 38 + _VALUES[character]
        if value >> 8 * size:
            raise DecodeError("base 38 text is out of range")
        data += value.to_bytes(size, "little")
    return data
