"""The messages of certificate-authenticated session establishment, and its keys.

Spec: Matter Core 1.3 "Certificate Authenticated Session Establishment (CASE)"
"""

from __future__ import annotations

from msgspec import Struct

from evse_node.errors import DecodeError
from evse_node.matter.certificates.certificate import MAX_CERTIFICATE_SIZE
from evse_node.matter.crypto import (
    HASH_SIZE,
    PUBLIC_KEY_SIZE,
    SIGNATURE_SIZE,
    SYMMETRIC_KEY_SIZE,
    TAG_SIZE,
    AeadKey,
    hkdf_sha256,
)
from evse_node.matter.messaging.session import SessionParameters, decode_session_id
from evse_node.matter.tlv import TlvValue, Writer, decode_struct
from evse_node.matter.tlv_fields import expect_octets

RANDOM_SIZE = 32
RESUMPTION_ID_SIZE = 16
# Two certificates, signature and resumption id, and room for what a later revision adds.
_MAX_ENCRYPTED_SIZE = 2 * MAX_CERTIFICATE_SIZE + SIGNATURE_SIZE + RESUMPTION_ID_SIZE + 256
_MAX_DEPTH = 3

NONCE_SIGMA2 = b"NCASE_Sigma2N"
NONCE_SIGMA3 = b"NCASE_Sigma3N"
NONCE_RESUME1 = b"NCASE_SigmaS1"
NONCE_RESUME2 = b"NCASE_SigmaS2"
INFO_SIGMA2 = b"Sigma2"
INFO_SIGMA3 = b"Sigma3"
INFO_RESUME1 = b"Sigma1_Resume"
INFO_RESUME2 = b"Sigma2_Resume"


class Sigma1(Struct, frozen=True):
    """The initiator opens, and may offer to resume an earlier session.

    `resumption_id` and `resume_mic` are both there or both None.
    Spec: Matter Core 1.3 "Sigma1"
    """

    initiator_random: bytes
    initiator_session_id: int
    destination_id: bytes
    initiator_public_key: bytes
    parameters: SessionParameters | None = None
    resumption_id: bytes | None = None
    resume_mic: bytes | None = None

    def encode(self) -> bytes:
        """Return the message's payload."""
        writer = Writer()
        writer.start_structure()
        writer.octets(1, self.initiator_random)
        writer.uint(2, self.initiator_session_id)
        writer.octets(3, self.destination_id)
        writer.octets(4, self.initiator_public_key)
        if self.parameters is not None:
            self.parameters.encode(writer, 5)
        if self.resumption_id is not None:
            writer.octets(6, self.resumption_id)
        if self.resume_mic is not None:
            writer.octets(7, self.resume_mic)
        writer.end()
        return writer.getvalue()


def decode_sigma1(data: bytes) -> Sigma1:
    """Decode a payload; raises DecodeError, also for half an offer to resume."""
    fields = decode_struct(data, _MAX_DEPTH)
    resumption_id = expect_octets(fields[6], RESUMPTION_ID_SIZE) if 6 in fields else None
    resume_mic = expect_octets(fields[7], TAG_SIZE) if 7 in fields else None
    if (resumption_id is None) != (resume_mic is None):
        raise DecodeError("resumption id or MIC is missing")
    return Sigma1(
        expect_octets(fields.get(1), RANDOM_SIZE),
        decode_session_id(fields.get(2)),
        expect_octets(fields.get(3), HASH_SIZE),
        expect_octets(fields.get(4), PUBLIC_KEY_SIZE),
        SessionParameters.decode(fields[5]) if 5 in fields else None,
        resumption_id,
        resume_mic,
    )


class Sigma2(Struct, frozen=True):
    """Responder's key and, encrypted, its identity. Spec: Matter Core 1.3 "Sigma2"."""

    responder_random: bytes
    responder_session_id: int
    responder_public_key: bytes
    encrypted: bytes
    parameters: SessionParameters | None = None

    def encode(self) -> bytes:
        """Return the message's payload."""
        writer = Writer()
        writer.start_structure()
        writer.octets(1, self.responder_random)
        writer.uint(2, self.responder_session_id)
        writer.octets(3, self.responder_public_key)
        writer.octets(4, self.encrypted)
        if self.parameters is not None:
            self.parameters.encode(writer, 5)
        writer.end()
        return writer.getvalue()


def decode_sigma2(data: bytes) -> Sigma2:
    """Decode a payload; raises DecodeError when it is not this message."""
    fields = decode_struct(data, _MAX_DEPTH)
    return Sigma2(
        expect_octets(fields.get(1), RANDOM_SIZE),
        decode_session_id(fields.get(2)),
        expect_octets(fields.get(3), PUBLIC_KEY_SIZE),
        _decode_encrypted(fields.get(4)),
        SessionParameters.decode(fields[5]) if 5 in fields else None,
    )


class Sigma2Resume(Struct, frozen=True):
    """Responder's consent to resume. Spec: Matter Core 1.3 "Sigma2_Resume"."""

    resumption_id: bytes
    resume_mic: bytes
    responder_session_id: int
    parameters: SessionParameters | None = None

    def encode(self) -> bytes:
        """Return the message's payload."""
        writer = Writer()
        writer.start_structure()
        writer.octets(1, self.resumption_id)
        writer.octets(2, self.resume_mic)
        writer.uint(3, self.responder_session_id)
        if self.parameters is not None:
            self.parameters.encode(writer, 4)
        writer.end()
        return writer.getvalue()


def decode_sigma2_resume(data: bytes) -> Sigma2Resume:
    """Decode a payload; raises DecodeError when it is not this message."""
    fields = decode_struct(data, _MAX_DEPTH)
    return Sigma2Resume(
        expect_octets(fields.get(1), RESUMPTION_ID_SIZE),
        expect_octets(fields.get(2), TAG_SIZE),
        decode_session_id(fields.get(3)),
        SessionParameters.decode(fields[4]) if 4 in fields else None,
    )


def encode_sigma3(encrypted: bytes) -> bytes:
    """Return the payload with the initiator's identity. Spec: Matter Core 1.3 "Sigma3"."""
    writer = Writer()
    writer.start_structure()
    writer.octets(1, encrypted)
    writer.end()
    return writer.getvalue()


def decode_sigma3(data: bytes) -> bytes:
    """Return the encrypted part; raises DecodeError when it is not this message."""
    return _decode_encrypted(decode_struct(data, _MAX_DEPTH).get(1))


def _decode_encrypted(value: TlvValue) -> bytes:
    return expect_octets(value, TAG_SIZE + 1, _MAX_ENCRYPTED_SIZE)


class Identity(Struct, frozen=True):
    """What Sigma2 and Sigma3 carry encrypted. Only the responder's has a resumption id.

    `noc` and `icac` are Matter certificates, as bytes.
    Spec: Matter Core 1.3 "sigma-2-tbedata and sigma-3-tbedata"
    """

    noc: bytes
    icac: bytes | None
    signature: bytes
    resumption_id: bytes | None = None

    def encode(self) -> bytes:
        """Return the plaintext."""
        writer = Writer()
        writer.start_structure()
        writer.octets(1, self.noc)
        if self.icac is not None:
            writer.octets(2, self.icac)
        writer.octets(3, self.signature)
        if self.resumption_id is not None:
            writer.octets(4, self.resumption_id)
        writer.end()
        return writer.getvalue()


def decode_identity(data: bytes, *, is_responder: bool) -> Identity:
    """Decode the plaintext of Sigma2 (`is_responder`) or Sigma3; raises DecodeError."""
    fields = decode_struct(data, _MAX_DEPTH)
    return Identity(
        expect_octets(fields.get(1), 0, MAX_CERTIFICATE_SIZE),
        expect_octets(fields[2], 0, MAX_CERTIFICATE_SIZE) if 2 in fields else None,
        expect_octets(fields.get(3), SIGNATURE_SIZE),
        expect_octets(fields.get(4), RESUMPTION_ID_SIZE) if is_responder else None,
    )


def encode_signed(noc: bytes, icac: bytes | None, sender_key: bytes, receiver_key: bytes) -> bytes:
    """Return the data that the sender of a certificate signs, with both ephemeral public keys.

    Spec: Matter Core 1.3 "sigma-2-tbsdata and sigma-3-tbsdata"
    """
    writer = Writer()
    writer.start_structure()
    writer.octets(1, noc)
    if icac is not None:
        writer.octets(2, icac)
    writer.octets(3, sender_key)
    writer.octets(4, receiver_key)
    writer.end()
    return writer.getvalue()


def derive_sigma2_key(
    secret: bytes, ipk: bytes, random: bytes, public_key: bytes, transcript: bytes
) -> AeadKey:
    """Return the key of Sigma2's encrypted part.

    `secret` is the ECDH secret, `ipk` the 16-byte operational identity protection key,
    `random` and `public_key` the responder's, `transcript` the hash of Sigma1.
    """
    salt = ipk + random + public_key + transcript
    return AeadKey(hkdf_sha256(secret, salt, INFO_SIGMA2, SYMMETRIC_KEY_SIZE))


def derive_sigma3_key(secret: bytes, ipk: bytes, transcript: bytes) -> AeadKey:
    """Return the key of Sigma3's encrypted part; `transcript` hashes Sigma1 and Sigma2."""
    return AeadKey(hkdf_sha256(secret, ipk + transcript, INFO_SIGMA3, SYMMETRIC_KEY_SIZE))


def _resume_key(
    secret: bytes, initiator_random: bytes, resumption_id: bytes, info: bytes
) -> AeadKey:
    return AeadKey(hkdf_sha256(secret, initiator_random + resumption_id, info, SYMMETRIC_KEY_SIZE))


def compute_resume1_mic(secret: bytes, initiator_random: bytes, resumption_id: bytes) -> bytes:
    """Return the initiator's proof, 16 bytes, of the earlier session's secret."""
    key = _resume_key(secret, initiator_random, resumption_id, INFO_RESUME1)
    return key.encrypt(NONCE_RESUME1, b"", None)


def compute_resume2_mic(secret: bytes, initiator_random: bytes, resumption_id: bytes) -> bytes:
    """Return the responder's proof, 16 bytes, made with the new resumption id."""
    key = _resume_key(secret, initiator_random, resumption_id, INFO_RESUME2)
    return key.encrypt(NONCE_RESUME2, b"", None)
