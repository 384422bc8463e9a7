"""The five messages of passcode-authenticated session establishment.

Spec: Matter Core 1.3 "Passcode-Authenticated Session Establishment (PASE)"
"""

from __future__ import annotations

from msgspec import Struct

from evse_node.matter.messaging.session import SessionParameters, decode_session_id
from evse_node.matter.secure_channel.spake2p import CONFIRMATION_SIZE
from evse_node.matter.tlv import Writer, decode_struct, encode
from evse_node.matter.tlv_fields import (
    expect_boolean,
    expect_octets,
    expect_unsigned,
)

RANDOM_SIZE = 32
SHARE_SIZE = 65
_MAX_DEPTH = 3


class PBKDFParamRequest(Struct, frozen=True):
    """First message: nonce and session id of the initiator, and whether it needs the salt.

    `parameters` is None when the initiator leaves the message timing to the defaults.
    Spec: Matter Core 1.3 "PBKDFParamRequest"
    """

    initiator_random: bytes
    initiator_session_id: int
    passcode_id: int
    has_pbkdf_parameters: bool
    parameters: SessionParameters | None = None


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
    """Nonce and session id of the responder, with iterations and salt for the passcode.

    `iterations` and `salt` are 0 and empty when the initiator has them already.
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


def decode_pake1(data: bytes) -> bytes:
    """Return the initiator's share, 65 bytes; raises DecodeError."""
    return expect_octets(decode_struct(data, _MAX_DEPTH).get(1), SHARE_SIZE)


def encode_pake2(p_b: bytes, c_b: bytes) -> bytes:
    """Return the payload with the responder's share and proof. Spec: Matter Core 1.3 "Pake2"."""
    return encode({1: p_b, 2: c_b})


def decode_pake3(data: bytes) -> bytes:
    """Return the initiator's proof, 32 bytes; raises DecodeError."""
    return expect_octets(decode_struct(data, _MAX_DEPTH).get(1), CONFIRMATION_SIZE)
