"""CASE initiator, which first attempts to resume an earlier session.

The node connects to subscribers after a restart, and to its time source.

Spec: Matter Core 1.3 "Certificate Authenticated Session Establishment (CASE)"
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from evse_node.errors import CryptoError, DecodeError, SessionError
from evse_node.matter.crypto import KeyPair, constant_time_equal, sha256
from evse_node.matter.fabrics.fabric_identity import Fabric, compute_destination_id
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.exchange_manager import ExchangeManager
from evse_node.matter.messaging.message import Message
from evse_node.matter.messaging.session import Address, SecureSession, SessionParameters
from evse_node.matter.messaging.status_report import (
    INVALID_PARAMETER,
    SESSION_ESTABLISHED,
    Opcode,
    StatusReport,
    decode_status_report,
)
from evse_node.matter.secure_channel.case import (
    ESTABLISHMENT_TIMEOUT_S,
    CaseCredentials,
    CasePeer,
    send,
)
from evse_node.matter.secure_channel.case_messages import (
    NONCE_SIGMA2,
    NONCE_SIGMA3,
    RANDOM_SIZE,
    Sigma1,
    Sigma2,
    compute_resume1_mic,
    compute_resume2_mic,
    decode_identity,
    decode_sigma2,
    decode_sigma2_resume,
    derive_sigma2_key,
    derive_sigma3_key,
    encode_sigma3,
)

_LOGGER: Final = logging.getLogger(__name__)

OnDone = Callable[[SecureSession | None, float], None]


class CaseInitiator:
    """CASE initiator for peers on the node's fabrics."""

    def __init__(self, credentials: CaseCredentials, exchanges: ExchangeManager) -> None:
        self.credentials = credentials
        self._exchanges = exchanges
        self._calls: set[CaseCall] = set()

    def __len__(self) -> int:
        return len(self._calls)

    def connect(
        self,
        fabric_index: int,
        peer_node_id: int,
        address: Address,
        on_done: OnDone,
        now: float,
        parameters: SessionParameters | None = None,
    ) -> CaseCall:
        """Establish a session; `on_done(session, now)` receives None on failure.

        `parameters` are those that the peer announces over DNS-SD, if known.
        Raises SessionError when the fabric does not exist or no session can be opened;
        `on_done` is not called then.
        """
        credentials = self.credentials
        fabric = credentials.fabrics.get(fabric_index)
        if fabric is None:
            raise SessionError(f"no fabric {fabric_index}")
        unsecured = credentials.sessions.open_unsecured(
            address, parameters or SessionParameters(), now
        )
        call = CaseCall(self, fabric, peer_node_id, on_done)
        call.start(self._exchanges.open(unsecured, call), now)
        self._calls.add(call)
        return call

    def remove(self, call: CaseCall) -> None:
        """Remove a call that has ended."""
        self._calls.discard(call)


class CaseCall:
    """One call, from Sigma1 to the session or to failure.

    `report` is the status report of the responder's rejection, if any.
    """

    def __init__(
        self, initiator: CaseInitiator, fabric: Fabric, peer_node_id: int, on_done: OnDone
    ) -> None:
        self.fabric = fabric
        self.peer_node_id = peer_node_id
        self.report: StatusReport | None = None
        self._initiator = initiator
        self._credentials = credentials = initiator.credentials
        self._on_done = on_done
        self._record = credentials.resumption.find_by_peer(fabric.index, peer_node_id)
        self._random = credentials.random_bytes(RANDOM_SIZE)
        self._key_pair = KeyPair.generate()
        self._local_id = 0
        self._transcript = b""
        self._exchange: Exchange | None = None
        # Set once Sigma3 is on its way.
        self._secret = b""
        self._resumption_id = b""
        self._peer: CasePeer | None = None
        self._peer_session_id = 0
        self._is_over = False

    def start(self, exchange: Exchange, now: float) -> None:
        """Send Sigma1."""
        self._exchange = exchange
        self._local_id = self._credentials.sessions.reserve_id()
        record, fabric = self._record, self.fabric
        mic: bytes | None = None
        if record is not None:
            mic = compute_resume1_mic(record.shared_secret, self._random, record.resumption_id)
        self._transcript = Sigma1(
            self._random,
            self._local_id,
            compute_destination_id(
                fabric.operational_ipk,
                self._random,
                fabric.root_public_key,
                fabric.fabric_id,
                self.peer_node_id,
            ),
            self._key_pair.public_key,
            self._credentials.parameters,
            None if record is None else record.resumption_id,
            mic,
        ).encode()
        self._send(Opcode.CASE_SIGMA1, self._transcript, exchange, now)

    def _send(self, opcode: Opcode, payload: bytes, exchange: Exchange, now: float) -> None:
        send(exchange, opcode, payload, now)
        exchange.expect_response(ESTABLISHMENT_TIMEOUT_S, now)

    def on_message(self, exchange: Exchange, message: Message, now: float) -> None:
        """Process the responder's next message."""
        try:
            self._credentials.check_message(message, self.fabric)
            if message.opcode == Opcode.STATUS_REPORT:
                self._on_status_report(exchange, message.payload, now)
            elif message.opcode == Opcode.CASE_SIGMA2 and self._peer is None:
                self._on_sigma2(exchange, decode_sigma2(message.payload), message.payload, now)
            elif message.opcode == Opcode.CASE_SIGMA2_RESUME and self._peer is None:
                self._on_sigma2_resume(exchange, message.payload, now)
            else:
                raise DecodeError(f"unexpected opcode 0x{message.opcode:02X}")
        except (DecodeError, CryptoError) as error:
            send(exchange, Opcode.STATUS_REPORT, INVALID_PARAMETER, now)
            self._fail(str(error), now)

    def _on_sigma2(self, exchange: Exchange, sigma2: Sigma2, payload: bytes, now: float) -> None:
        credentials, fabric, peer_key = self._credentials, self.fabric, sigma2.responder_public_key
        ipk, own_key = fabric.operational_ipk, self._key_pair.public_key
        secret = self._key_pair.ecdh(peer_key)
        key = derive_sigma2_key(
            secret, ipk, sigma2.responder_random, peer_key, sha256(self._transcript)
        )
        identity = decode_identity(
            key.decrypt(NONCE_SIGMA2, sigma2.encrypted, None), is_responder=True
        )
        peer = credentials.verify_peer(fabric, identity, peer_key, own_key)
        if peer.node_id != self.peer_node_id:
            raise CryptoError("another node has answered")
        if sigma2.parameters is not None:
            exchange.session.parameters = sigma2.parameters
        assert identity.resumption_id is not None
        self._peer, self._secret = peer, secret
        self._resumption_id = identity.resumption_id
        self._peer_session_id = sigma2.responder_session_id
        self._transcript += payload
        own = credentials.sign(fabric, own_key, peer_key)
        key = derive_sigma3_key(secret, ipk, sha256(self._transcript))
        sigma3 = encode_sigma3(key.encrypt(NONCE_SIGMA3, own.encode(), None))
        self._transcript += sigma3
        self._send(Opcode.CASE_SIGMA3, sigma3, exchange, now)

    def _on_sigma2_resume(self, exchange: Exchange, payload: bytes, now: float) -> None:
        record = self._record
        if record is None:
            raise DecodeError("Sigma2_Resume without an offer to resume")
        answer = decode_sigma2_resume(payload)
        mic = compute_resume2_mic(record.shared_secret, self._random, answer.resumption_id)
        if not constant_time_equal(mic, answer.resume_mic):
            raise CryptoError("responder's MIC is wrong")
        if answer.parameters is not None:
            exchange.session.parameters = answer.parameters
        self._secret = record.shared_secret
        self._resumption_id = answer.resumption_id
        self._peer_session_id = answer.responder_session_id
        send(exchange, Opcode.STATUS_REPORT, SESSION_ESTABLISHED, now)
        self._establish(
            exchange,
            CasePeer(record.peer_node_id, record.case_authenticated_tags),
            self._random + record.resumption_id,
            now,
            is_resumed=True,
        )

    def _on_status_report(self, exchange: Exchange, payload: bytes, now: float) -> None:
        report = decode_status_report(payload)
        if report.is_success and self._peer is not None:
            salt = self.fabric.operational_ipk + sha256(self._transcript)
            self._establish(exchange, self._peer, salt, now, is_resumed=False)
            return
        self.report = report
        if self._record is not None:
            # The resumption offer may be the cause.
            self._credentials.resumption.remove(self._record)
        self._fail(f"refused with {report.general_code}/{report.protocol_code}", now)

    def _establish(
        self, exchange: Exchange, peer: CasePeer, salt: bytes, now: float, *, is_resumed: bool
    ) -> None:
        self._finish()
        session = self._credentials.add_session(
            exchange,
            self.fabric,
            peer,
            self._secret,
            salt,
            now,
            is_initiator=True,
            is_resumed=is_resumed,
            local_id=self._local_id,
            peer_id=self._peer_session_id,
        )
        self._credentials.save_resumption(self.fabric, peer, self._resumption_id, self._secret)
        exchange.close(now)
        self._on_done(session, now)

    def on_closed(self, exchange: Exchange, now: float, failed: bool) -> None:
        """Fail, since the responder is unreachable."""
        self._fail("no response", now)

    def _fail(self, reason: str, now: float) -> None:
        if self._is_over:
            return
        _LOGGER.info("CASE call to 0x%016X failed: %s", self.peer_node_id, reason)
        self._finish()
        self._credentials.sessions.release_id(self._local_id)
        if self._exchange is not None:
            self._exchange.close(now)
        self._on_done(None, now)

    def _finish(self) -> None:
        self._is_over = True
        self._initiator.remove(self)
