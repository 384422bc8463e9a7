"""The node's side of session establishment with the passcode.

Spec: Matter Core 1.3 "Passcode-Authenticated Session Establishment (PASE)"
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from evse_node.errors import CryptoError, DecodeError
from evse_node.matter.crypto import sha256
from evse_node.matter.data_model import AuthMode, Subject
from evse_node.matter.fabrics.commissioning import PasscodeVerifier
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import PROTOCOL_SECURE_CHANNEL, Message
from evse_node.matter.messaging.session import SecureSession, SessionParameters, UnsecuredSession
from evse_node.matter.messaging.session_keys import derive_session_keys, make_session
from evse_node.matter.messaging.session_table import SessionTable
from evse_node.matter.messaging.status_report import (
    INVALID_PARAMETER,
    SESSION_ESTABLISHED,
    Opcode,
    encode_busy,
)
from evse_node.matter.secure_channel.pase_messages import (
    RANDOM_SIZE,
    PBKDFParamRequest,
    PBKDFParamResponse,
    decode_pake1,
    decode_pake3,
    decode_pbkdf_param_request,
    encode_pake2,
)
from evse_node.matter.secure_channel.spake2p import Spake2pVerifier
from evse_node.matter.timers import Timers

_LOGGER: Final = logging.getLogger(__name__)

ESTABLISHMENT_TIMEOUT_S = 60.0
"""Longest time from PBKDFParamRequest to a session.

Spec: Matter Core 1.3 "Commissioning Flows"
"""
_CONTEXT_PREFIX = b"CHIP PAKE V1 Commissioning"
# Short enough for a commissioner to retry while its user waits.
_BUSY_WAIT_MS = 5000
# The passcode for commissioning, the only one.
_DEFAULT_PASSCODE_ID = 0


class CommissioningWindowPort(Protocol):
    """The part of the commissioning window that PASE needs."""

    def pase_verifier(self) -> PasscodeVerifier | None:
        """Return the verifier, or None while the node is not in commissioning mode."""

    def on_pase_established(self, session: SecureSession, now: float) -> None:
        """Arm the fail-safe for a new session."""

    def on_pase_failed(self, now: float) -> None:
        """Count a failed guess of the passcode; too many close the window."""


class PaseResponder:
    """PASE responder: one handshake and one session at a time."""

    def __init__(
        self,
        sessions: SessionTable,
        timers: Timers,
        window: CommissioningWindowPort,
        parameters: SessionParameters,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.sessions = sessions
        self.timers = timers
        self.window = window
        self.parameters = parameters
        self.random_bytes = random_bytes
        self._attempt: _Attempt | None = None

    @property
    def is_busy(self) -> bool:
        """True while a handshake is under way."""
        return self._attempt is not None

    def on_request(self, exchange: Exchange, message: Message, now: float) -> None:
        """Process the PBKDFParamRequest that opens `exchange`."""
        verifier = self.window.pase_verifier()
        has_session = any(not (session.is_case or session.is_closing) for session in self.sessions)
        if not isinstance(exchange.session, UnsecuredSession) or not (verifier or has_session):
            _LOGGER.debug("PBKDFParamRequest ignored: not in commissioning mode")
            return
        try:
            request = decode_pbkdf_param_request(message.payload)
            if request.passcode_id != _DEFAULT_PASSCODE_ID:
                raise DecodeError(f"passcode id {request.passcode_id}")
        except DecodeError as error:
            _LOGGER.debug("PBKDFParamRequest refused: %s", error)
            _send(exchange, Opcode.STATUS_REPORT, INVALID_PARAMETER, now)
            return
        attempt = self._attempt
        if attempt is not None and attempt.exchange.session.address == exchange.session.address:
            # The commissioner has started over.
            attempt.abandon(now)
        if self._attempt is not None:
            wait_ms = int((self._attempt.deadline - now) * 1000.0)
        else:
            wait_ms = _BUSY_WAIT_MS
        if verifier is None or has_session or self._attempt is not None:
            _LOGGER.debug("commissioner rejected as busy: another one is active")
            _send(exchange, Opcode.STATUS_REPORT, encode_busy(wait_ms), now)
            return
        self._attempt = _Attempt(self, exchange, verifier, now)
        self._attempt.answer(request, message.payload, now)

    def remove(self, attempt: _Attempt) -> None:
        """End an attempt, so that the next commissioner is accepted."""
        if self._attempt is attempt:
            self._attempt = None


def _send(exchange: Exchange, opcode: Opcode, payload: bytes, now: float) -> None:
    exchange.send(PROTOCOL_SECURE_CHANNEL, opcode, payload, now=now)


class _Attempt:
    """One handshake, from PBKDFParamRequest to the session or to failure."""

    def __init__(
        self, responder: PaseResponder, exchange: Exchange, verifier: PasscodeVerifier, now: float
    ) -> None:
        self.exchange = exchange
        self.deadline = now + ESTABLISHMENT_TIMEOUT_S
        self._responder = responder
        self._verifier = verifier
        self._local_id = responder.sessions.reserve_id()
        self._peer_id = 0
        self._context = b""
        self._pake: Spake2pVerifier | None = None
        self._is_over = False
        self._timer = responder.timers.call_at(self.deadline, self.abandon)
        exchange.handler = self

    def answer(self, request: PBKDFParamRequest, payload: bytes, now: float) -> None:
        """Send the PBKDFParamResponse."""
        responder, verifier = self._responder, self._verifier
        self._peer_id = request.initiator_session_id
        if request.parameters is not None:
            self.exchange.session.parameters = request.parameters
        is_known = request.has_pbkdf_parameters
        response = PBKDFParamResponse(
            request.initiator_random,
            responder.random_bytes(RANDOM_SIZE),
            self._local_id,
            0 if is_known else verifier.iterations,
            b"" if is_known else verifier.salt,
            responder.parameters,
        ).encode()
        self._context = sha256(_CONTEXT_PREFIX + payload + response)
        _send(self.exchange, Opcode.PBKDF_PARAM_RESPONSE, response, now)

    def on_message(self, exchange: Exchange, message: Message, now: float) -> None:
        """Process Pake1, Pake3 or a status report."""
        if message.protocol_id == PROTOCOL_SECURE_CHANNEL:
            opcode = message.opcode
            if opcode == Opcode.STATUS_REPORT:
                self._fail("aborted by the commissioner", now)
                return
            try:
                if self._responder.window.pase_verifier() != self._verifier:
                    raise CryptoError("the commissioning window has closed")
                if opcode == Opcode.PASE_PAKE1 and self._pake is None:
                    self._on_pake1(message.payload, now)
                    return
                if opcode == Opcode.PASE_PAKE3 and self._pake is not None:
                    self._on_pake3(self._pake, message.payload, now)
                    return
            except (DecodeError, CryptoError) as error:
                self._refuse(str(error), now)
                return
        self._refuse("unexpected message", now)

    def _on_pake1(self, payload: bytes, now: float) -> None:
        p_a = decode_pake1(payload)
        verifier = self._verifier
        # Pake2 reveals whether the guess was right, so the attempt counts from here on.
        self._pake = Spake2pVerifier(
            verifier.w0, verifier.L, self._context, self._responder.random_bytes
        )
        p_b, c_b = self._pake.on_pA(p_a)
        _send(self.exchange, Opcode.PASE_PAKE2, encode_pake2(p_b, c_b), now)

    def _on_pake3(self, pake: Spake2pVerifier, payload: bytes, now: float) -> None:
        key = pake.verify(decode_pake3(payload))
        responder = self._responder
        session = make_session(
            derive_session_keys(key, b""),
            self.exchange.session,
            Subject(AuthMode.PASE),
            responder.random_bytes,
            now,
            is_initiator=False,
            local_id=self._local_id,
            peer_id=self._peer_id,
        )
        self._finish()
        responder.sessions.add(session, now)
        _send(self.exchange, Opcode.STATUS_REPORT, SESSION_ESTABLISHED, now)
        self.exchange.close(now)
        _LOGGER.info("PASE session established")
        responder.window.on_pase_established(session, now)

    def on_closed(self, exchange: Exchange, now: float, failed: bool) -> None:
        """Fail, since the commissioner is unreachable."""
        self._fail("the commissioner does not respond", now)

    def abandon(self, now: float) -> None:
        """Abort on timeout, or when the commissioner starts over."""
        if not self._is_over:
            self._refuse("aborted", now)

    def _refuse(self, reason: str, now: float) -> None:
        if self.exchange.is_open:
            _send(self.exchange, Opcode.STATUS_REPORT, INVALID_PARAMETER, now)
        self._fail(reason, now)

    def _fail(self, reason: str, now: float) -> None:
        if self._is_over:
            return
        _LOGGER.debug("PASE failed: %s", reason)
        is_guess = self._pake is not None
        self._finish()
        self._responder.sessions.release_id(self._local_id)
        self.exchange.close(now)
        if is_guess:
            self._responder.window.on_pase_failed(now)

    def _finish(self) -> None:
        self._is_over = True
        self._timer.cancel()
        self._responder.remove(self)
