"""The five messages of passcode-authenticated session establishment.

Spec: Matter Core 1.3 "Passcode-Authenticated Session Establishment (PASE)"
"""

from __future__ import annotations

from msgspec import Struct

from evse_node.errors import DecodeError
from evse_node.matter.messaging.session import SessionParameters, decode_session_id
from evse_node.matter.secure_channel.spake2p import (
    CONFIRMATION_SIZE,
    MAX_ITERATIONS,
    MAX_SALT_SIZE,
    MIN_ITERATIONS,
    MIN_SALT_SIZE,
)
from evse_node.matter.tlv import Writer, decode_struct
from evse_node.matter.tlv_fields import (
    expect_boolean,
    expect_octets,
    expect_structure,
    expect_unsigned,
)

RANDOM_SIZE = 32
SHARE_SIZE = 65
_MAX_DEPTH = 3


class PBKDFParamRequest(Struct, frozen=True):
    """The initiator opens: its nonce, its session id, and whether it knows the salt.

    `parameters` is None when the initiator leaves the message timing to the defaults.
    Spec: Matter Core 1.3 "PBKDFParamRequest"
    """

    initiator_random: bytes
    initiator_session_id: int
    passcode_id: int
    has_pbkdf_parameters: bool
    parameters: SessionParameters | None = None

    def encode(self) -> bytes:
        """Return the message's payload."""
        writer = Writer()
        writer.start_structure()
        writer.octets(1, self.initiator_random)
        writer.uint(2, self.initiator_session_id)
        writer.uint(3, self.passcode_id)
        writer.boolean(4, self.has_pbkdf_parameters)
        if self.parameters is not None:
            self.parameters.encode(writer, 5)
        writer.end()
        return writer.getvalue()


def decode_pbkdf_param_request(data: bytes) -> PBKDFParamRequest:
    """Decode a payload; raises DecodeError when it is not this message."""
    fields = decode_struct(data, _MAX_DEPTH)
    return PBKDFParamRequest(
        expect_octets(fields.get(1), RANDOM_SIZE),
        decode_session_id(fields.get(2)),
        expect_unsigned(fields.get(3), 0xFFFF),
        expect_boolean(fields.get(4)),
        SessionParameters.decode(fields[5]) if 5 in fields else None,
    )


class PBKDFParamResponse(Struct, frozen=True):
    """The responder's nonce and session id, and what the passcode is stretched with.

    `iterations` and `salt` are 0 and empty when the initiator knows them already.
    Spec: Matter Core 1.3 "PBKDFParamResponse"
    """

    initiator_random: bytes
    responder_random: bytes
    responder_session_id: int
    iterations: int = 0
    salt: bytes = b""
    parameters: SessionParameters | None = None

    def encode(self) -> bytes:
        """Return the message's payload."""
        writer = Writer()
        writer.start_structure()
        writer.octets(1, self.initiator_random)
        writer.octets(2, self.responder_random)
        writer.uint(3, self.responder_session_id)
        if self.salt:
            writer.start_structure(4)
            writer.uint(1, self.iterations)
            writer.octets(2, self.salt)
            writer.end()
        if self.parameters is not None:
            self.parameters.encode(writer, 5)
        writer.end()
        return writer.getvalue()


def decode_pbkdf_param_response(data: bytes) -> PBKDFParamResponse:
    """Decode a payload; raises DecodeError when it is not this message."""
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
    """Return the payload with the initiator's share. Spec: Matter Core 1.3 "Pake1"."""
    return _encode_octets(p_a)


def decode_pake1(data: bytes) -> bytes:
    """Return the initiator's share, 65 bytes; raises DecodeError."""
    return expect_octets(decode_struct(data, _MAX_DEPTH).get(1), SHARE_SIZE)


def encode_pake2(p_b: bytes, c_b: bytes) -> bytes:
    """Return the payload with the responder's share and proof. Spec: Matter Core 1.3 "Pake2"."""
    return _encode_octets(p_b, c_b)


def decode_pake2(data: bytes) -> tuple[bytes, bytes]:
    """Return the responder's share and proof, 65 and 32 bytes; raises DecodeError."""
    fields = decode_struct(data, _MAX_DEPTH)
    return expect_octets(fields.get(1), SHARE_SIZE), expect_octets(fields.get(2), CONFIRMATION_SIZE)


def encode_pake3(c_a: bytes) -> bytes:
    """Return the payload with the initiator's proof. Spec: Matter Core 1.3 "Pake3"."""
    return _encode_octets(c_a)


def decode_pake3(data: bytes) -> bytes:
    """Return the initiator's proof, 32 bytes; raises DecodeError."""
    return expect_octets(decode_struct(data, _MAX_DEPTH).get(1), CONFIRMATION_SIZE)


def _encode_octets(*values: bytes) -> bytes:
    writer = Writer()
    writer.start_structure()
    for tag, value in enumerate(values, 1):
        writer.octets(tag, value)
    writer.end()
    return writer.getvalue()
