"""Common parts of both CASE roles: own credentials, and verification of a peer's.

Spec: Matter Core 1.3 "Certificate Authenticated Session Establishment (CASE)"
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from evse_node.errors import CryptoError, DecodeError
from evse_node.matter.certificates.certificate import Certificate, decode_certificate, verify_chain
from evse_node.matter.crypto import verify_signature
from evse_node.matter.data_model import AuthMode, Subject
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.fabrics.fabric_identity import Fabric
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import PROTOCOL_SECURE_CHANNEL, Message
from evse_node.matter.messaging.session import SecureSession, SessionParameters
from evse_node.matter.messaging.session_keys import (
    INFO_RESUMPTION_KEYS,
    INFO_SESSION_KEYS,
    derive_session_keys,
    make_session,
)
from evse_node.matter.messaging.session_table import SessionTable
from evse_node.matter.messaging.status_report import Opcode
from evse_node.matter.secure_channel.case_messages import Identity, encode_signed
from evse_node.matter.secure_channel.certificate_time import CertificateTime
from evse_node.matter.secure_channel.session_resumption import ResumptionRecord, ResumptionStore

ESTABLISHMENT_TIMEOUT_S = 30.0
"""Longest wait for the peer's next message; its cryptography may be slow."""


class CasePeer(Struct, frozen=True):
    """The authenticated identity of a peer."""

    node_id: int
    case_authenticated_tags: tuple[int, ...]


class CaseCredentials:
    """Credentials of the fabrics for CASE, and creation of its sessions."""

    def __init__(
        self,
        sessions: SessionTable,
        fabrics: FabricTable,
        resumption: ResumptionStore,
        parameters: SessionParameters,
        random_bytes: Callable[[int], bytes],
        certificate_time: Callable[[], CertificateTime],
    ) -> None:
        self.sessions = sessions
        self.fabrics = fabrics
        self.resumption = resumption
        self.parameters = parameters
        self.random_bytes = random_bytes
        self._certificate_time = certificate_time
        # Root certificates that have been parsed, by their bytes, one for each fabric.
        self._roots: dict[int, tuple[bytes, Certificate]] = {}

    def check_message(self, message: Message, fabric: Fabric) -> None:
        """Check that a message may continue a handshake on a fabric.

        Raises DecodeError for another protocol, and CryptoError when the fabric was removed
        or its NOC replaced during the handshake.
        """
        if message.protocol_id != PROTOCOL_SECURE_CHANNEL:
            raise DecodeError(f"protocol {message.protocol_id}")
        current = self.fabrics.get(fabric.index)
        if current is None or current.noc != fabric.noc:
            raise CryptoError("the fabric has changed")

    def verify_peer(
        self, fabric: Fabric, identity: Identity, peer_key: bytes, own_key: bytes
    ) -> CasePeer:
        """Verify a peer's identity and return it; the keys are the ephemeral ones.

        Raises DecodeError or CryptoError when it does not belong to the fabric.
        """
        noc = decode_certificate(identity.noc)
        icac = None if identity.icac is None else decode_certificate(identity.icac)
        root = self._root(fabric)
        time = self._certificate_time()
        chain = [certificate for certificate in (noc, icac, root) if certificate is not None]
        verify_chain(noc, icac, root, time.for_chain(chain))
        if noc.subject.fabric_id != fabric.fabric_id:
            raise CryptoError("peer belongs to another fabric")
        signed = encode_signed(identity.noc, identity.icac, peer_key, own_key)
        verify_signature(noc.public_key, signed, identity.signature)
        # verify_chain has made sure that there is an operational node id.
        assert noc.subject.node_id is not None
        return CasePeer(noc.subject.node_id, noc.subject.case_authenticated_tags)

    def _root(self, fabric: Fabric) -> Certificate:
        encoded, root = self._roots.get(fabric.index, (b"", None))
        if root is None or encoded != fabric.root_certificate:
            root = decode_certificate(fabric.root_certificate)
            self._roots[fabric.index] = (fabric.root_certificate, root)
        return root

    def sign(
        self, fabric: Fabric, own_key: bytes, peer_key: bytes, resumption_id: bytes | None = None
    ) -> Identity:
        """Return this node's identity in a fabric, signed for one handshake."""
        signed = encode_signed(fabric.noc, fabric.icac, own_key, peer_key)
        signature = fabric.operational_key.sign(signed)
        return Identity(fabric.noc, fabric.icac, signature, resumption_id)

    def add_session(
        self,
        exchange: Exchange,
        fabric: Fabric,
        peer: CasePeer,
        secret: bytes,
        salt: bytes,
        now: float,
        *,
        is_initiator: bool,
        is_resumed: bool,
        local_id: int,
        peer_id: int,
    ) -> SecureSession:
        """Add the session that a handshake has established."""
        info = INFO_RESUMPTION_KEYS if is_resumed else INFO_SESSION_KEYS
        session = make_session(
            derive_session_keys(secret, salt, info),
            exchange.session,
            Subject(AuthMode.CASE, fabric.index, peer.node_id, peer.case_authenticated_tags),
            self.random_bytes,
            now,
            is_initiator=is_initiator,
            local_id=local_id,
            peer_id=peer_id,
            local_node_id=fabric.node_id,
        )
        self.sessions.add(session, now)
        return session

    def save_resumption(
        self, fabric: Fabric, peer: CasePeer, resumption_id: bytes, secret: bytes
    ) -> None:
        """Store the record for resumption of a new session.

        Under a pending identity it is kept in memory only, since a power cut reverts that.
        """
        self.resumption.save(
            ResumptionRecord(
                resumption_id, secret, fabric.index, peer.node_id, peer.case_authenticated_tags
            ),
            is_lasting=not self.fabrics.has_pending_change(fabric.index),
        )

    def remove_fabric(self, fabric_index: int) -> None:
        """Drop cached data of a fabric that was removed or has a new identity."""
        self._roots.pop(fabric_index, None)
        self.resumption.remove_fabric(fabric_index)


def send(exchange: Exchange, opcode: Opcode, payload: bytes, now: float) -> None:
    """Send a message of the Secure Channel protocol reliably."""
    exchange.send(PROTOCOL_SECURE_CHANNEL, opcode, payload, now=now)
