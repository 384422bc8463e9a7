"""The commissioner's half of PASE: SPAKE2+ prover, and the messages that a node receives."""

from __future__ import annotations

from collections.abc import Callable

from evse_node.errors import CryptoError, DecodeError
from evse_node.matter.crypto import constant_time_equal
from evse_node.matter.messaging.session import SessionParameters, decode_session_id
from evse_node.matter.secure_channel.p256 import Multiplier, Point
from evse_node.matter.secure_channel.pase_messages import (
    RANDOM_SIZE,
    SHARE_SIZE,
    PBKDFParamRequest,
    PBKDFParamResponse,
)
from evse_node.matter.secure_channel.spake2p import (
    CONFIRMATION_SIZE,
    MAX_ITERATIONS,
    MAX_SALT_SIZE,
    MIN_ITERATIONS,
    MIN_SALT_SIZE,
    M,
    N,
    derive_keys,
    random_scalar,
)
from evse_node.matter.tlv import Writer, decode_struct, encode
from evse_node.matter.tlv_fields import expect_octets, expect_structure, expect_unsigned

_MAX_DEPTH = 3


class Spake2pProver:
    """The commissioner's side of SPAKE2+. One object serves one attempt."""

    def __init__(
        self,
        w0: bytes,
        w1: bytes,
        context: bytes,
        random_bytes: Callable[[int], bytes],
        *,
        identities: tuple[bytes, bytes] = (b"", b""),
    ) -> None:
        self._w0 = w0
        self._w1 = Multiplier.decode(w1)
        self._context = context
        self._identities = identities
        self._scalar = random_scalar(random_bytes)
        self.pA = (self._scalar.base_point() + Multiplier.decode(w0) * M).encode()

    def on_pB(self, pB: bytes, cB: bytes) -> tuple[bytes, bytes]:  # noqa: N802, N803
        """Process the verifier's share and confirmation; return (cA, Ke), 32 and 16 bytes.

        Raises CryptoError when the share is not a point of the curve or the
        verifier is for another passcode.
        """
        base = Point.decode(pB) + -(Multiplier.decode(self._w0) * N)
        z, v = self._scalar * base, self._w1 * base
        key, confirmation, expected = derive_keys(
            self._context, self._identities, (self.pA, pB), z, v, self._w0
        )
        if not constant_time_equal(expected, cB):
            raise CryptoError("PAKE confirmation does not verify")
        return confirmation, key


def encode_pbkdf_param_request(request: PBKDFParamRequest) -> bytes:
    """Return the message's payload."""
    writer = Writer()
    writer.start_structure()
    writer.octets(1, request.initiator_random)
    writer.uint(2, request.initiator_session_id)
    writer.uint(3, request.passcode_id)
    writer.boolean(4, request.has_pbkdf_parameters)
    if request.parameters is not None:
        request.parameters.encode(writer, 5)
    writer.end()
    return writer.getvalue()


def decode_pbkdf_param_response(data: bytes) -> PBKDFParamResponse:
    """Decode a payload. Raises DecodeError."""
    fields = decode_struct(data, _MAX_DEPTH)
    iterations, salt = 0, b""
    pbkdf = fields.get(4)
    if pbkdf is not None:
        parameters = expect_structure(pbkdf)
        iterations = expect_unsigned(parameters.get(1), MAX_ITERATIONS)
        salt = expect_octets(parameters.get(2), MIN_SALT_SIZE, MAX_SALT_SIZE)
        if iterations < MIN_ITERATIONS:
            raise DecodeError(f"{iterations} iterations")
    return PBKDFParamResponse(
        expect_octets(fields.get(1), RANDOM_SIZE),
        expect_octets(fields.get(2), RANDOM_SIZE),
        decode_session_id(fields.get(3)),
        iterations,
        salt,
        SessionParameters.decode(fields[5]) if 5 in fields else None,
    )


def encode_pake1(p_a: bytes) -> bytes:
    """Return the payload with the initiator's share."""
    return encode({1: p_a})


def decode_pake2(data: bytes) -> tuple[bytes, bytes]:
    """Return the responder's share and confirmation, 65 and 32 bytes. Raises DecodeError."""
    fields = decode_struct(data, _MAX_DEPTH)
    return (
        expect_octets(fields.get(1), SHARE_SIZE),
        expect_octets(fields.get(2), CONFIRMATION_SIZE),
    )


def encode_pake3(c_a: bytes) -> bytes:
    """Return the payload with the initiator's confirmation."""
    return encode({1: c_a})
