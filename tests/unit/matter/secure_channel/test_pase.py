"""Messages of PASE: encodings of other implementations, and what must be refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_node.errors import DecodeError
from evse_node.matter.crypto import sha256
from evse_node.matter.messaging.session import SessionParameters
from evse_node.matter.secure_channel.pase_messages import (
    PBKDFParamRequest,
    PBKDFParamResponse,
    decode_pake1,
    decode_pake3,
    decode_pbkdf_param_request,
    encode_pake2,
)
from evse_node.matter.secure_channel.spake2p import Spake2pVerifier, compute_verifier
from evse_node.matter.tlv import SignedInt, TlvList, TlvValue, encode
from tests.support.matter.pase_initiator import (
    decode_pake2,
    decode_pbkdf_param_response,
    encode_pake1,
    encode_pake3,
    encode_pbkdf_param_request,
)
from tests.vectors import session_establishment as vectors

DECODERS: list[Callable[[bytes], object]] = [
    decode_pbkdf_param_request,
    decode_pbkdf_param_response,
    decode_pake1,
    decode_pake2,
    decode_pake3,
]
RANDOM = bytes(range(32))


def test_pbkdf_param_request_vector() -> None:
    request = decode_pbkdf_param_request(vectors.PASE_REQUEST)
    assert request == PBKDFParamRequest(vectors.PASE_REQUEST[4:36], 71, 0, False)
    assert encode_pbkdf_param_request(request) == vectors.PASE_REQUEST


def test_pbkdf_param_response_vector() -> None:
    response = decode_pbkdf_param_response(vectors.PASE_RESPONSE)
    assert response == PBKDFParamResponse(
        vectors.PASE_REQUEST[4:36], vectors.PASE_RESPONSE[39:71], 56919, 1000, vectors.PASE_SALT
    )
    assert response.encode() == vectors.PASE_RESPONSE


def test_pase_context_and_shares_vector() -> None:
    context = sha256(b"CHIP PAKE V1 Commissioning" + vectors.PASE_REQUEST + vectors.PASE_RESPONSE)
    w0, point_l = compute_verifier(20202021, vectors.PASE_SALT, 1000)
    scalar = vectors.PASE_RESPONDER_SCALAR
    verifier = Spake2pVerifier(w0, point_l, context, lambda length: scalar)
    share = decode_pake1(encode_pake1(vectors.PASE_SHARE_A))
    assert verifier.on_pA(share) == (vectors.PASE_SHARE_B, vectors.PASE_PROOF_B)


@pytest.mark.parametrize("parameters", [None, SessionParameters(1, 2, 3, 4, 5, 6, 7)])
def test_pase_messages_encode_and_decode(parameters: SessionParameters | None) -> None:
    request = PBKDFParamRequest(RANDOM, 0xFFFF, 0, True, parameters)
    assert decode_pbkdf_param_request(encode_pbkdf_param_request(request)) == request
    response = PBKDFParamResponse(RANDOM, RANDOM[::-1], 1, parameters=parameters)
    assert decode_pbkdf_param_response(response.encode()) == response
    assert decode_pake2(encode_pake2(bytes(65), bytes(32))) == (bytes(65), bytes(32))
    assert decode_pake3(encode_pake3(bytes(32))) == bytes(32)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    "message",
    [
        vectors.PASE_REQUEST,
        vectors.PASE_RESPONSE,
        encode_pake1(bytes(65)),
        encode_pake2(bytes(65), bytes(32)),
        encode_pake3(bytes(32)),
    ],
)
def test_truncated_pase_messages_are_rejected(
    decoder: Callable[[bytes], object], message: bytes
) -> None:
    for length in range(len(message)):
        with pytest.raises(DecodeError):
            decoder(message[:length])
    with pytest.raises(DecodeError):
        decoder(message + b"\0")


def request(**changes: TlvValue) -> bytes:
    tags = {"random": 1, "session_id": 2, "passcode_id": 3, "has": 4, "parameters": 5, "new": 6}
    members: dict[str, TlvValue] = {
        "random": RANDOM,
        "session_id": 1,
        "passcode_id": 0,
        "has": False,
        **changes,
    }
    return encode({tags[name]: value for name, value in members.items()})


def test_pbkdf_param_request_ignores_unknown_members() -> None:
    decoded = decode_pbkdf_param_request(request(new=[1, 2, 3], parameters={9: "x"}))
    assert decoded.parameters == SessionParameters()


@pytest.mark.parametrize(
    "changes",
    [
        {"random": bytes(31)},
        {"random": bytes(33)},
        {"random": "x" * 32},
        {"session_id": 0},
        {"session_id": 0x10000},
        {"session_id": SignedInt(5)},
        {"session_id": True},
        {"session_id": None},
        {"passcode_id": 0x10000},
        {"has": 0},
        {"has": None},
        {"parameters": None},
        {"parameters": [1]},
        {"parameters": TlvList()},
        {"parameters": {1: "x"}},
    ],
)
def test_malformed_pbkdf_param_request_is_rejected(changes: dict[str, TlvValue]) -> None:
    decode_pbkdf_param_request(request())
    with pytest.raises(DecodeError):
        decode_pbkdf_param_request(request(**changes))


@pytest.mark.parametrize(
    "pbkdf",
    [
        {1: 999, 2: bytes(32)},
        {1: 100_001, 2: bytes(32)},
        {1: 1000, 2: bytes(15)},
        {1: 1000, 2: bytes(33)},
        {1: 1000},
        {2: bytes(32)},
        [1000, bytes(32)],
    ],
)
def test_malformed_pbkdf_param_response_is_rejected(pbkdf: TlvValue) -> None:
    good: TlvValue = {1: 1000, 2: bytes(32)}
    assert decode_pbkdf_param_response(encode({1: RANDOM, 2: RANDOM, 3: 1, 4: good}))
    with pytest.raises(DecodeError):
        decode_pbkdf_param_response(encode({1: RANDOM, 2: RANDOM, 3: 1, 4: pbkdf}))


@given(st.sampled_from(DECODERS), st.binary(max_size=120))
def test_pase_decoders_raise_only_decode_error(
    decoder: Callable[[bytes], object], data: bytes
) -> None:
    for candidate in (data, b"\x15" + data + b"\x18"):
        with contextlib.suppress(DecodeError):
            decoder(candidate)


@given(
    st.sampled_from(DECODERS),
    st.sampled_from([vectors.PASE_REQUEST, vectors.PASE_RESPONSE, encode_pake2(RANDOM, RANDOM)]),
    st.integers(0, 200),
    st.integers(0, 255),
)
def test_pase_decoders_survive_changed_messages(
    decoder: Callable[[bytes], object], message: bytes, position: int, value: int
) -> None:
    changed = bytearray(message)
    changed[position % len(changed)] = value
    with contextlib.suppress(DecodeError):
        decoder(bytes(changed))
