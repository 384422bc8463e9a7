import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_node.errors import DecodeError
from evse_node.matter.crypto import AeadKey
from evse_node.matter.messaging.message import (
    EXCHANGE_INITIATOR,
    EXCHANGE_RELIABLE,
    MAX_PAYLOAD,
    MIC_SIZE,
    SECURED_HEADER,
    MessageHeader,
    decode_header,
    decode_message,
    encode_message,
    encode_nonce,
)
from tests.vectors import messages


@pytest.mark.parametrize(
    ("name", "header", "plain", "datagram"),
    messages.PASE_MESSAGES,
    ids=[row[0] for row in messages.PASE_MESSAGES],
)
def test_pase_vectors(name: str, header: str, plain: str, datagram: str) -> None:
    key = AeadKey(bytes.fromhex(messages.PASE_KEY))
    decoded = decode_header(bytes.fromhex(datagram))
    assert decoded == MessageHeader(messages.PASE_SESSION_ID, 0, 12345)
    assert decoded.encode().hex() == header
    nonce = encode_nonce(0, decoded.counter, 0)
    sealed = key.encrypt(nonce, bytes.fromhex(plain), bytes.fromhex(header))
    assert header + sealed.hex() == datagram
    message = decode_message(bytes.fromhex(plain), decoded.counter)
    assert (message.flags, message.opcode, message.exchange_id) == (5, 0x64, 0x0EEE)
    assert message.protocol_id == 0x7D20
    assert message.flags & EXCHANGE_INITIATOR
    assert message.flags & EXCHANGE_RELIABLE
    assert message.counter == 12345
    assert message.payload.hex() == plain[12:]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("00b80b00393000", "truncated"),
        ("10b80b0039300000", "version 1"),
        ("00b80b0239300000", "session type 2"),
        ("00b80b0339300000", "session type 3"),
        ("04b80b003930000001020304050607", "truncated"),
        ("01b80b003930000001020304050607", "truncated"),
        ("00b80b0139300000", "session type 1"),
        ("02b80b00393000000102", "destination is not a node"),
        ("03b80b00393000000102", "destination is not a node"),
        ("00b80b4039300000", "control message"),
        ("00b80b8039300000", "privacy"),
        ("00b80b20393000000300aabb", "past the end"),
        ("00b80b203930000003", "truncated"),
    ],
)
def test_header_decoder_rejects_malformed_headers(raw: str, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode_header(bytes.fromhex(raw))


def test_header_skips_extensions() -> None:
    header = decode_header(bytes.fromhex("00b80b20393000000300aabbcc1122"))
    assert header.size == 13
    assert header.security_flags == 0x20


def test_protocol_header_with_all_fields_decodes() -> None:
    # I=0 A R SX V; opcode 40; exchange 1234; protocol 1; vendor 1; ack 5; extension aabb
    raw = bytes.fromhex("1e4034120100f1ff050000000200aabb99")
    message = decode_message(raw)
    assert message.opcode == 0x40
    assert message.exchange_id == 0x1234
    assert message.protocol_id == 0xFFF10001
    assert message.acknowledged == 5
    assert message.payload == b"\x99"
    assert not message.flags & EXCHANGE_INITIATOR


@pytest.mark.parametrize(
    "raw", ["", "0540ee0e20", "0240ee0e0000010203", "1040ee0e000001", "0840ee0e00000500aa"]
)
def test_protocol_header_decoder_rejects_truncation(raw: str) -> None:
    with pytest.raises(DecodeError):
        decode_message(bytes.fromhex(raw))


def test_max_payload_fills_the_minimum_mtu() -> None:
    plain = encode_message(5, 2, 1, 1, bytes(MAX_PAYLOAD), 7)
    assert 40 + 8 + SECURED_HEADER.size + len(plain) + MIC_SIZE == 1280


uint16 = st.integers(0, 0xFFFF)
uint32 = st.integers(0, 0xFFFFFFFF)
uint64 = st.integers(0, 2**64 - 1)


@given(
    session_id=uint16,
    counter=uint32,
    source=st.none() | uint64,
    destination=st.none() | uint64,
    rest=st.binary(max_size=20),
)
def test_header_round_trip(
    session_id: int,
    counter: int,
    source: int | None,
    destination: int | None,
    rest: bytes,
) -> None:
    size = 8 + 8 * (source is not None) + 8 * (destination is not None)
    header = MessageHeader(session_id, 0, counter, source, destination, size)
    raw = header.encode()
    assert len(raw) == size
    assert decode_header(raw + rest) == header
    for length in range(size):
        with pytest.raises(DecodeError):
            decode_header(raw[:length])


@given(
    flags=st.integers(0, 7).filter(lambda value: not value & 2),
    opcode=st.integers(0, 255),
    exchange_id=uint16,
    protocol_id=uint32,
    payload=st.binary(max_size=20),
    acknowledged=st.none() | uint32,
    counter=uint32,
)
def test_message_round_trip(
    flags: int,
    opcode: int,
    exchange_id: int,
    protocol_id: int,
    payload: bytes,
    acknowledged: int | None,
    counter: int,
) -> None:
    raw = encode_message(flags, opcode, exchange_id, protocol_id, payload, acknowledged)
    message = decode_message(raw, counter)
    assert message.flags & 5 == flags
    assert (message.opcode, message.exchange_id) == (opcode, exchange_id)
    assert message.protocol_id == protocol_id
    assert message.payload == payload
    assert message.acknowledged == acknowledged
    assert message.counter == counter


@given(st.binary(max_size=64))
def test_decoders_raise_only_decode_error(raw: bytes) -> None:
    for decode in (decode_header, decode_message):
        with contextlib.suppress(DecodeError):
            decode(raw)
