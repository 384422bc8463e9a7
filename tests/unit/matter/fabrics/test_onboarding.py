"""QR code and manual pairing code: vectors, ranges, malformed codes."""

import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_node.errors import ConfigError, DecodeError
from evse_node.matter import tlv
from evse_node.matter.fabrics.onboarding import (
    CommissioningFlow,
    DiscoveryCapability,
    OnboardingPayload,
    _check_digit,
    _encode_base38,
    generate_discriminator,
    generate_passcode,
    is_valid_passcode,
    validate_passcode,
)
from tests.support.matter.onboarding_parser import (
    ManualCode,
    _decode_base38,
    parse_manual_code,
    parse_qr_code,
)
from tests.vectors.onboarding import MANUAL_PARTS, PAYLOADS


@pytest.mark.parametrize(
    ("vendor", "product", "discriminator", "passcode", "flow", "discovery", "qr_code", "manual"),
    PAYLOADS,
)
def test_codes_match_vectors(
    vendor: int,
    product: int,
    discriminator: int,
    passcode: int,
    flow: int,
    discovery: int,
    qr_code: str,
    manual: str | None,
) -> None:
    payload = OnboardingPayload(
        vendor,
        product,
        discriminator,
        passcode,
        CommissioningFlow(flow),
        DiscoveryCapability(discovery),
    )
    assert payload.qr_code() == qr_code
    assert parse_qr_code(qr_code) == payload
    if manual is not None:
        assert payload.manual_code() == manual
        ids = (vendor, product) if flow else (None, None)
        assert parse_manual_code(manual) == ManualCode(passcode, discriminator >> 8, *ids)


@pytest.mark.parametrize(
    ("digits", "passcode", "short_discriminator", "vendor_id", "product_id"),
    MANUAL_PARTS,
)
def test_manual_code_parts_match_vectors(
    digits: str,
    passcode: int,
    short_discriminator: int,
    vendor_id: int | None,
    product_id: int | None,
) -> None:
    expected = ManualCode(passcode, short_discriminator, vendor_id, product_id)
    assert parse_manual_code(digits + _check_digit(digits)) == expected


def test_manual_code_separators_are_ignored() -> None:
    assert parse_manual_code("3497-011-2332") == parse_manual_code("34970112332")
    assert parse_manual_code("3497 011 2332").passcode == 20202021


@pytest.mark.parametrize(
    "text",
    [
        "",
        "24184.2196",
        "2456",
        "123456789123456785671",
        "12749875380",
        "23456789123456785610",
        "2327680000",
        "02684354589",
        # Not ASCII, but isdigit() is true.
        "3497011233\u0662",
        "34970112333",
        "34970112323",
    ],
)
def test_malformed_manual_code_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_manual_code(text)


@pytest.mark.parametrize(
    "digits",
    [
        "8497011233",  # first digit above 7
        "7497011233",  # announces ids that are missing
        "3655361233",  # middle part above 16 bits
        "3497018192",  # last part above 13 bits
        "0000000000",  # passcode 0
        "64129507536553600001",
        "64129507530000165536",
        "24129507530000100001",  # ids that are not announced
    ],
)
def test_manual_code_with_part_out_of_range_is_refused(digits: str) -> None:
    with pytest.raises(DecodeError, match=r"out of range|invalid"):
        parse_manual_code(digits + _check_digit(digits))


@pytest.mark.parametrize("position", range(10))
def test_check_digit_detects_each_single_digit_error(position: int) -> None:
    code = "34970112332"
    for digit in "0123456789":
        if digit == code[position]:
            continue
        with pytest.raises(DecodeError, match="check digit"):
            parse_manual_code(code[:position] + digit + code[position + 1 :])


def test_check_digit_matches_vector() -> None:
    assert _check_digit("236") == "3"


@pytest.mark.parametrize(
    "passcode",
    [0, -1, 99999999, 100000000, 12345678, 87654321, *(11111111 * digit for digit in range(1, 10))],
)
def test_invalid_passcode_is_refused(passcode: int) -> None:
    assert not is_valid_passcode(passcode)
    with pytest.raises(ConfigError):
        validate_passcode(passcode)
    with pytest.raises(ConfigError):
        OnboardingPayload(0xFFF1, 0x8001, 3840, passcode)


@pytest.mark.parametrize("passcode", [1, 20202021, 99999998])
def test_passcode_at_limit_is_accepted(passcode: int) -> None:
    validate_passcode(passcode)


@pytest.mark.parametrize(
    "values", [(65536, 1, 0), (-1, 1, 0), (1, 65536, 0), (1, 1, 4096), (1, 1, -1)]
)
def test_payload_value_out_of_range_is_refused(values: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError):
        OnboardingPayload(*values, 20202021)


def test_generated_passcode_and_discriminator_are_valid() -> None:
    draws = [bytes(4), (12345678).to_bytes(4, "big"), (0xF8000000 + 123456).to_bytes(4, "big")]
    assert generate_passcode(lambda length: draws.pop(0)) == 123456
    assert is_valid_passcode(generate_passcode(os.urandom))
    assert generate_discriminator(lambda length: b"\xff\xff") == 0xFFF


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MT:",
        "-24J0AFN00KA0648G00",
        "mt:-24J0AFN00KA0648G00",
        "MT:-24J0AFN00KA0648G0",
        "MT:-24J0AFN00KA0648G000",
        "MT:-24J0AFN00KA0648G0 ",
        "MT:-24J0AFN00KA0648g00",
        "MT:.....AFN00KA0648G00",
        "MT:M5L90MP500W-GT68D20",
        "MT:M5L90MP500K64J00000*M5L90U.D010K4J00000",
    ],
)
def test_malformed_qr_code_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_qr_code(text)


def test_qr_code_with_unknown_version_padding_or_flow_is_refused() -> None:
    good = _decode_base38("-24J0AFN00KA0648G00")
    packed = int.from_bytes(good, "little")
    for bit in (0, 84, 87):  # version, padding
        with pytest.raises(DecodeError, match="version or padding"):
            parse_qr_code("MT:" + _encode_base38((packed ^ 1 << bit).to_bytes(11, "little")))
    reserved_flow = packed | 3 << 35
    with pytest.raises(DecodeError):
        parse_qr_code("MT:" + _encode_base38(reserved_flow.to_bytes(11, "little")))


def test_qr_code_vendor_data_is_ignored() -> None:
    good = _decode_base38("-24J0AFN00KA0648G00")
    text = "MT:" + _encode_base38(good + tlv.encode({0: "SN-1", 0x82: 5}))
    assert parse_qr_code(text) == parse_qr_code("MT:-24J0AFN00KA0648G00")
    with pytest.raises(DecodeError):
        parse_qr_code("MT:" + _encode_base38(good + b"\x15"))


@given(st.binary(max_size=40))
def test_base38_round_trip(data: bytes) -> None:
    assert _decode_base38(_encode_base38(data)) == data


@given(
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFF),
    st.integers(1, 99999998).filter(is_valid_passcode),
    st.sampled_from(CommissioningFlow),
    st.integers(0, 255).map(DiscoveryCapability),
)
def test_payload_codes_round_trip(
    vendor: int,
    product: int,
    discriminator: int,
    passcode: int,
    flow: CommissioningFlow,
    discovery: DiscoveryCapability,
) -> None:
    payload = OnboardingPayload(vendor, product, discriminator, passcode, flow, discovery)
    assert len(payload.qr_code()) == 22
    assert parse_qr_code(payload.qr_code()) == payload
    code = parse_manual_code(payload.manual_code())
    assert (code.passcode, code.short_discriminator) == (passcode, discriminator >> 8)


@given(st.text(max_size=30))
def test_arbitrary_text_parses_or_raises_decode_error(text: str) -> None:
    for parse in (parse_qr_code, parse_manual_code):
        with suppress(DecodeError):
            parse(text)
    with suppress(DecodeError):
        parse_qr_code("MT:" + text)


def test_repr_does_not_contain_passcode() -> None:
    payload = OnboardingPayload(0xFFF1, 0x8001, 3840, 34970112)
    assert "34970112" not in repr(payload)
    assert "34970112" not in repr(parse_manual_code(payload.manual_code()))
    assert payload != OnboardingPayload(0xFFF1, 0x8001, 3840, 34970113)
