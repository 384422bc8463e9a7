"""Session keys, derived from the shared secret of a handshake.

Spec: Matter Core 1.3 "Session Context", "Session Encryption"
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from evse_node.matter.crypto import SYMMETRIC_KEY_SIZE, AeadKey, hkdf_sha256
from evse_node.matter.data_model import Subject
from evse_node.matter.messaging.session import SecureSession, Session

INFO_SESSION_KEYS = b"SessionKeys"
INFO_RESUMPTION_KEYS = b"SessionResumptionKeys"


class SessionKeys(Struct, frozen=True):
    """The 16-byte keys of a session: initiator to responder, the reverse, and attestation."""

    i2r: bytes
    r2i: bytes
    attestation_challenge: bytes

    def __repr__(self) -> str:
        return "SessionKeys(...)"


def derive_session_keys(secret: bytes, salt: bytes, info: bytes = INFO_SESSION_KEYS) -> SessionKeys:
    """Derive the keys of a session from the shared secret of its handshake."""
    size = SYMMETRIC_KEY_SIZE
    keys = hkdf_sha256(secret, salt, info, 3 * size)
    return SessionKeys(keys[:size], keys[size : 2 * size], keys[2 * size :])


def make_session(
    keys: SessionKeys,
    unsecured: Session,
    subject: Subject,
    random_bytes: Callable[[int], bytes],
    now: float,
    *,
    is_initiator: bool,
    local_id: int,
    peer_id: int,
    local_node_id: int = 0,
) -> SecureSession:
    """Return the secure session that a handshake has established.

    The peer's address and session parameters are those of the handshake's `unsecured`
    session, and its node id is the subject's.
    """
    i2r, r2i = AeadKey(keys.i2r), AeadKey(keys.r2i)
    return SecureSession(
        local_id=local_id,
        peer_id=peer_id,
        subject=subject,
        encrypt_key=i2r if is_initiator else r2i,
        decrypt_key=r2i if is_initiator else i2r,
        attestation_challenge=keys.attestation_challenge,
        address=unsecured.address,
        parameters=unsecured.parameters,
        random_bytes=random_bytes,
        now=now,
        local_node_id=local_node_id,
        peer_node_id=subject.node_id,
    )
