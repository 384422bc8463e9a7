"""CASE responder: answers Sigma1 with Sigma2 or Sigma2_Resume.

Spec: Matter Core 1.3 "Certificate Authenticated Session Establishment (CASE)"
"""

from __future__ import annotations

import logging
from typing import Final

from evse_node.errors import CryptoError, DecodeError
from evse_node.matter.crypto import KeyPair, constant_time_equal, sha256
from evse_node.matter.fabrics.fabric_identity import Fabric
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import Message
from evse_node.matter.messaging.session import UnsecuredSession
from evse_node.matter.messaging.status_report import (
    INVALID_PARAMETER,
    NO_SHARED_TRUST_ROOTS,
    SESSION_ESTABLISHED,
    Opcode,
    decode_status_report,
    encode_busy,
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
    RESUMPTION_ID_SIZE,
    Sigma1,
    Sigma2,
    Sigma2Resume,
    compute_resume1_mic,
    compute_resume2_mic,
    decode_identity,
    decode_sigma1,
    decode_sigma3,
    derive_sigma2_key,
    derive_sigma3_key,
)
from evse_node.matter.secure_channel.session_resumption import ResumptionRecord

_LOGGER: Final = logging.getLogger(__name__)

MAX_HANDSHAKES = 8
_BUSY_WAIT_MS = 2000
# A replayed Sigma1 of this many latest handshakes is ignored.
_STORED_RANDOMS = 64


class CaseResponder:
    """CASE responder for up to eight handshakes at the same time."""

    def __init__(self, credentials: CaseCredentials, max_handshakes: int = MAX_HANDSHAKES) -> None:
        self.credentials = credentials
        self._max_handshakes = max_handshakes
        self._handshakes: set[_Handshake] = set()
        # The initiators' randoms of the latest handshakes, the oldest first.
        self._randoms: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self._handshakes)

    def on_sigma1(self, exchange: Exchange, message: Message, now: float) -> None:
        """Process the Sigma1 that opens `exchange`."""
        if not isinstance(exchange.session, UnsecuredSession):
            _LOGGER.debug("Sigma1 ignored: received over a secure session")
            return
        if len(self._handshakes) >= self._max_handshakes:
            _LOGGER.debug("CASE initiator rejected as busy: %d handshakes", len(self._handshakes))
            send(exchange, Opcode.STATUS_REPORT, encode_busy(_BUSY_WAIT_MS), now)
            return
        try:
            sigma1 = decode_sigma1(message.payload)
            if sigma1.initiator_random in self._randoms:
                _LOGGER.debug("Sigma1 ignored: replayed")
                return
            handshake = self._accept(exchange, sigma1, message.payload, now)
        except (DecodeError, CryptoError) as error:
            _LOGGER.debug("Sigma1 refused: %s", error)
            send(exchange, Opcode.STATUS_REPORT, INVALID_PARAMETER, now)
            return
        if handshake is None:
            _LOGGER.debug("Sigma1 refused: no fabric of this node matches")
            send(exchange, Opcode.STATUS_REPORT, NO_SHARED_TRUST_ROOTS, now)
            return
        self._handshakes.add(handshake)
        self._store_random(sigma1.initiator_random)
        exchange.handler = handshake
        exchange.expect_response(ESTABLISHMENT_TIMEOUT_S, now)

    def _store_random(self, initiator_random: bytes) -> None:
        # Only for initiators with the IPK, so that others cannot displace the stored randoms.
        randoms = self._randoms
        if len(randoms) >= _STORED_RANDOMS:
            del randoms[next(iter(randoms))]
        randoms[initiator_random] = None

    def _accept(
        self, exchange: Exchange, sigma1: Sigma1, payload: bytes, now: float
    ) -> _Handshake | None:
        """Send Sigma2 or Sigma2_Resume; return None when no fabric matches."""
        credentials = self.credentials
        record = self._find_record(sigma1)
        if record is not None:
            fabric = credentials.fabrics.get(record.fabric_index)
            if fabric is not None:
                self._take_parameters(exchange, sigma1)
                resumed = _ResumedHandshake(self, exchange, fabric, sigma1, record)
                resumed.answer(now)
                return resumed
        destination = credentials.fabrics.find_by_destination_id(
            sigma1.destination_id, sigma1.initiator_random
        )
        if destination is None:
            return None
        self._take_parameters(exchange, sigma1)
        full = _FullHandshake(self, exchange, destination[0], sigma1)
        full.answer(destination[1], payload, now)
        return full

    def _take_parameters(self, exchange: Exchange, sigma1: Sigma1) -> None:
        # Not for a rejected initiator, which could make retransmissions last for hours.
        if sigma1.parameters is not None:
            exchange.session.parameters = sigma1.parameters

    def _find_record(self, sigma1: Sigma1) -> ResumptionRecord | None:
        if sigma1.resumption_id is None or sigma1.resume_mic is None:
            return None
        record = self.credentials.resumption.find_by_id(sigma1.resumption_id)
        if record is None:
            return None
        mic = compute_resume1_mic(
            record.shared_secret, sigma1.initiator_random, sigma1.resumption_id
        )
        if not constant_time_equal(mic, sigma1.resume_mic):
            _LOGGER.debug("session is not resumed: wrong MIC")
            return None
        return record

    def remove(self, handshake: _Handshake) -> None:
        """Remove a handshake that has ended."""
        self._handshakes.discard(handshake)


class _Handshake:
    """One handshake, from the answer to Sigma1 to the session or to failure."""

    def __init__(
        self, responder: CaseResponder, exchange: Exchange, fabric: Fabric, sigma1: Sigma1
    ) -> None:
        self.fabric = fabric
        self._responder = responder
        self._credentials = responder.credentials
        self._exchange = exchange
        self._sigma1 = sigma1
        self._local_id = 0
        self._resumption_id = self._credentials.random_bytes(RESUMPTION_ID_SIZE)
        self._is_over = False

    def on_message(self, exchange: Exchange, message: Message, now: float) -> None:
        """Process the initiator's next message."""
        try:
            self._credentials.check_message(message, self.fabric)
            self._take(message, now)
        except (DecodeError, CryptoError) as error:
            self._refuse(str(error), now)

    def _take(self, message: Message, now: float) -> None:
        raise NotImplementedError

    def on_closed(self, exchange: Exchange, now: float, failed: bool) -> None:
        """Fail, since the initiator is unreachable."""
        self._fail("the initiator does not respond", now)

    def _refuse(self, reason: str, now: float) -> None:
        if self._exchange.is_open:
            send(self._exchange, Opcode.STATUS_REPORT, INVALID_PARAMETER, now)
        self._fail(reason, now)

    def _fail(self, reason: str, now: float) -> None:
        if self._is_over:
            return
        _LOGGER.debug("CASE failed on fabric %d: %s", self.fabric.index, reason)
        self._finish()
        self._credentials.sessions.release_id(self._local_id)
        self._exchange.close(now)

    def _finish(self) -> None:
        self._is_over = True
        self._responder.remove(self)

    def _establish(
        self, peer: CasePeer, secret: bytes, salt: bytes, now: float, *, is_resumed: bool
    ) -> None:
        self._finish()
        self._credentials.add_session(
            self._exchange,
            self.fabric,
            peer,
            secret,
            salt,
            now,
            is_initiator=False,
            is_resumed=is_resumed,
            local_id=self._local_id,
            peer_id=self._sigma1.initiator_session_id,
        )
        self._credentials.save_resumption(self.fabric, peer, self._resumption_id, secret)
        _LOGGER.info(
            "CASE session %s with %d/0x%016X",
            "resumed" if is_resumed else "established",
            self.fabric.index,
            peer.node_id,
        )


class _FullHandshake(_Handshake):
    """Sigma1, Sigma2, Sigma3: mutual authentication by certificates."""

    def answer(self, ipk: bytes, payload: bytes, now: float) -> None:
        """Send Sigma2. Raises CryptoError when the initiator's key is not a point."""
        credentials, peer_key = self._credentials, self._sigma1.initiator_public_key
        key_pair = KeyPair.generate()
        self._public_key = key_pair.public_key
        self._ipk = ipk
        self._secret = key_pair.ecdh(peer_key)
        random = credentials.random_bytes(RANDOM_SIZE)
        identity = credentials.sign(self.fabric, self._public_key, peer_key, self._resumption_id)
        key = derive_sigma2_key(self._secret, ipk, random, self._public_key, sha256(payload))
        self._local_id = credentials.sessions.reserve_id()
        sigma2 = Sigma2(
            random,
            self._local_id,
            self._public_key,
            key.encrypt(NONCE_SIGMA2, identity.encode(), None),
            credentials.parameters,
        ).encode()
        self._transcript = payload + sigma2
        send(self._exchange, Opcode.CASE_SIGMA2, sigma2, now)

    def _take(self, message: Message, now: float) -> None:
        if message.opcode == Opcode.STATUS_REPORT:
            self._fail("aborted by the initiator", now)
            return
        if message.opcode != Opcode.CASE_SIGMA3:
            raise DecodeError(f"opcode 0x{message.opcode:02X} in place of Sigma3")
        encrypted = decode_sigma3(message.payload)
        key = derive_sigma3_key(self._secret, self._ipk, sha256(self._transcript))
        identity = decode_identity(key.decrypt(NONCE_SIGMA3, encrypted, None), is_responder=False)
        peer = self._credentials.verify_peer(
            self.fabric, identity, self._sigma1.initiator_public_key, self._public_key
        )
        salt = self._ipk + sha256(self._transcript + message.payload)
        self._establish(peer, self._secret, salt, now, is_resumed=False)
        send(self._exchange, Opcode.STATUS_REPORT, SESSION_ESTABLISHED, now)
        self._exchange.close(now)


class _ResumedHandshake(_Handshake):
    """Sigma1, Sigma2_Resume: mutual proof of the secret of an earlier session."""

    def __init__(
        self,
        responder: CaseResponder,
        exchange: Exchange,
        fabric: Fabric,
        sigma1: Sigma1,
        record: ResumptionRecord,
    ) -> None:
        super().__init__(responder, exchange, fabric, sigma1)
        self._record = record

    def answer(self, now: float) -> None:
        """Send Sigma2_Resume."""
        self._local_id = self._credentials.sessions.reserve_id()
        mic = compute_resume2_mic(
            self._record.shared_secret, self._sigma1.initiator_random, self._resumption_id
        )
        sigma2_resume = Sigma2Resume(
            self._resumption_id, mic, self._local_id, self._credentials.parameters
        ).encode()
        send(self._exchange, Opcode.CASE_SIGMA2_RESUME, sigma2_resume, now)

    def _take(self, message: Message, now: float) -> None:
        if message.opcode != Opcode.STATUS_REPORT:
            raise DecodeError(f"opcode 0x{message.opcode:02X} in place of a status report")
        if not decode_status_report(message.payload).is_success:
            self._fail("the initiator does not resume", now)
            return
        record = self._record
        self._establish(
            CasePeer(record.peer_node_id, record.case_authenticated_tags),
            record.shared_secret,
            self._sigma1.initiator_random + record.resumption_id,
            now,
            is_resumed=True,
        )
        self._exchange.close(now)
