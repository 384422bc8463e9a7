"""Commissioner and controller of a node on the network of `tests.support.fakes`.

    network = Network()
    network.attach(address(1), node)
    controller = FakeController(network, address(2), peer=address(1))
    controller.pase(20202021)
    opcode, payload = controller.request(PROTOCOL_INTERACTION_MODEL, 0x02, read_request)

Each call runs the network until a response arrives or the exchange ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from evse_node.errors import CryptoError, DecodeError
from evse_node.matter.crypto import KeyPair, sha256
from evse_node.matter.data_model import AuthMode, Subject
from evse_node.matter.fabrics.commissioning import PasscodeVerifier
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.fabrics.fabric_identity import Fabric
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import (
    PROTOCOL_INTERACTION_MODEL,
    PROTOCOL_SECURE_CHANNEL,
    Message,
)
from evse_node.matter.messaging.session import (
    Address,
    SecureSession,
    SessionParameters,
    UnsecuredSession,
)
from evse_node.matter.messaging.session_keys import derive_session_keys, make_session
from evse_node.matter.messaging.status_report import (
    INVALID_PARAMETER,
    GeneralCode,
    Opcode,
    StatusReport,
    decode_status_report,
)
from evse_node.matter.secure_channel.pase_messages import PBKDFParamRequest
from evse_node.matter.secure_channel.secure_channel import SecureChannel
from evse_node.matter.secure_channel.spake2p import derive_secrets
from evse_node.testing.memory_store import MemoryStore
from tests.support.fakes import MessageHost, Network
from tests.support.matter.fake_ca import CertificateAuthority
from tests.support.matter.pase_initiator import (
    Spake2pProver,
    decode_pake2,
    decode_pbkdf_param_response,
    encode_pake1,
    encode_pake3,
    encode_pbkdf_param_request,
)

IM_STATUS_RESPONSE = 0x01
IM_REPORT_DATA = 0x05
# StatusResponseMessage: status SUCCESS, interaction model revision 11.
IM_SUCCESS = bytes.fromhex("15 24 00 00 24 ff 0b 18")


class RefusedError(Exception):
    """A refused handshake, or a missing response (`report` is None)."""

    def __init__(self, report: StatusReport | None) -> None:
        self.report = report
        super().__init__("no answer" if report is None else repr(report))

    @property
    def busy_wait_ms(self) -> int | None:
        """The minimum wait time of a busy report, None for other reports."""
        if self.report is None or self.report.general_code is not GeneralCode.BUSY:
            return None
        return int.from_bytes(self.report.protocol_data, "little")


class ClosedWindow:
    """A commissioning window that never opens."""

    def pase_verifier(self) -> PasscodeVerifier | None:
        return None

    def on_pase_established(self, session: SecureSession, now: float) -> None:
        raise AssertionError("PASE session with a closed window")

    def on_pase_failed(self, now: float) -> None:
        raise AssertionError("PASE attempt with a closed window")


class Conversation:
    """An exchange of the controller, message by message.

    `is_over` is whether the exchange ended without a call of `close`.
    """

    def __init__(self, controller: FakeController) -> None:
        self.controller = controller
        self.messages: deque[Message] = deque()
        self.is_over = False
        self.exchange: Exchange | None = None

    def send(
        self,
        opcode: int,
        payload: bytes,
        protocol_id: int = PROTOCOL_INTERACTION_MODEL,
        *,
        reliable: bool = True,
    ) -> None:
        assert self.exchange is not None
        now = self.controller.network.now
        self.exchange.send(protocol_id, opcode, payload, reliable=reliable, now=now)

    def receive(self, seconds: float = 30.0) -> Message:
        """Return the next message. Raises RefusedError when none is received."""
        self.controller.network.run(seconds, until=lambda: bool(self.messages) or self.is_over)
        if not self.messages:
            raise RefusedError(None)
        return self.messages.popleft()

    def close(self) -> None:
        if self.exchange is not None:
            self.exchange.close(self.controller.network.now)
        self.controller.network.run()

    def on_message(self, exchange: Exchange, message: Message, now: float) -> None:
        self.messages.append(message)

    def on_closed(self, exchange: Exchange, now: float, failed: bool) -> None:
        self.is_over = True


class FakeController(MessageHost):
    """A controller with a certificate authority of its own, at `where`.

    It is on its own fabric from the start, as `node_id` with `case_authenticated_tags`, or on
    that of `store`;
    `session` is the one of the last `pase` or `case`. Report data that the peer sends by
    itself is put into `reports` and answered with success unless `answers_reports` is
    False.
    """

    def __init__(
        self,
        network: Network,
        where: Address,
        peer: Address,
        *,
        seed: int = 99,
        authority: CertificateAuthority | None = None,
        node_id: int = 0x1122_3344,
        case_authenticated_tags: tuple[int, ...] = (),
        ipk_epoch_key: bytes = bytes(range(16)),
        parameters: SessionParameters | None = None,
        store: MemoryStore | None = None,
    ) -> None:
        super().__init__(seed)
        self.network = network
        self.address = where
        self.peer = peer
        self.authority = authority or CertificateAuthority()
        self.node_id = node_id
        self.ipk_epoch_key = ipk_epoch_key
        self.parameters = parameters or SessionParameters()
        self.store = store or MemoryStore()
        self.fabrics = FabricTable(self.store)
        self.secure_channel = SecureChannel(
            self.exchanges,
            self.fabrics,
            ClosedWindow(),
            self.store,
            self.timers,
            self.parameters,
            self.random_bytes,
            lambda: None,
        )
        self.fabric = next(iter(self.fabrics), None) or self._join(case_authenticated_tags)
        self.session: SecureSession | None = None
        self.reports: list[Message] = []
        self.answers_reports = True
        self.exchanges.register(PROTOCOL_INTERACTION_MODEL, self._on_unsolicited)
        network.attach(where, self)

    def _join(self, case_authenticated_tags: tuple[int, ...]) -> Fabric:
        key = KeyPair.generate()
        authority = self.authority
        noc = authority.issue_noc(
            key.public_key, self.node_id, case_authenticated_tags=case_authenticated_tags
        )
        fabric = self.fabrics.add_pending(
            authority.rcac, noc, authority.icac, key, self.ipk_epoch_key, 0xFFF1
        )
        self.fabrics.commit_pending()
        return fabric

    # Sessions.

    def pase(self, passcode: int, *, known_salt: bytes | None = None) -> SecureSession:
        """Establish a PASE session; raises RefusedError.

        `known_salt` is a salt that the commissioner already has, for 1000 iterations.
        """
        call = PaseCall(self, passcode, known_salt)
        self.network.run(70.0, until=lambda: call.is_over)
        self.network.run()
        if call.session is None:
            raise RefusedError(call.report)
        self.session = call.session
        return call.session

    def case(self, node_id: int) -> SecureSession:
        """Establish a CASE session with a node of the fabric; raises RefusedError."""
        done: list[SecureSession | None] = []
        call = self.secure_channel.connect(
            self.fabric.index,
            node_id,
            self.peer,
            lambda session, now: done.append(session),
            self.network.now,
        )
        self.network.run(70.0, until=lambda: bool(done))
        self.network.run()
        session = done[0] if done else None
        if session is None:
            raise RefusedError(call.report)
        self.session = session
        return session

    def clear_resumption(self) -> None:
        """Clear the resumption data, so that the next `case` is a full handshake."""
        self.secure_channel.resumption.remove_fabric(self.fabric.index)

    def close_session(self) -> None:
        """Close the session with a CloseSession report."""
        assert self.session is not None
        self.sessions.remove(self.session, self.network.now, announce=True)
        self.session = None
        self.network.run()

    # Exchanges.

    def open(self, session: SecureSession | UnsecuredSession | None = None) -> Conversation:
        """Open an exchange, by default on the session established last."""
        session = session or self.session
        assert session is not None
        conversation = Conversation(self)
        conversation.exchange = self.exchanges.open(session, conversation)
        return conversation

    def open_unsecured(self) -> Conversation:
        """Open an unsecured exchange."""
        return self.open(
            self.sessions.open_unsecured(self.peer, SessionParameters(), self.network.now)
        )

    def request(
        self, protocol_id: int, opcode: int, payload: bytes, *, seconds: float = 30.0
    ) -> tuple[int, bytes]:
        """Send a message; return opcode and payload of the response. Raises RefusedError."""
        conversation = self.open()
        conversation.send(opcode, payload, protocol_id)
        message = conversation.receive(seconds)
        conversation.close()
        return message.opcode, message.payload

    def _on_unsolicited(self, exchange: Exchange, message: Message, now: float) -> None:
        self.reports.append(message)
        if self.answers_reports and message.opcode == IM_REPORT_DATA:
            exchange.handler = _ReportHandler(self.reports)
            _answer_report(exchange, now)


def _answer_report(exchange: Exchange, now: float) -> None:
    exchange.send(PROTOCOL_INTERACTION_MODEL, IM_STATUS_RESPONSE, IM_SUCCESS, now=now)


class _ReportHandler:
    """Handler for the remaining messages of a report."""

    def __init__(self, reports: list[Message]) -> None:
        self._reports = reports

    def on_message(self, exchange: Exchange, message: Message, now: float) -> None:
        self._reports.append(message)
        if message.opcode == IM_REPORT_DATA:
            _answer_report(exchange, now)

    def on_closed(self, exchange: Exchange, now: float, failed: bool) -> None:
        pass


class PaseCall:
    """The commissioner's side of one PASE handshake.

    `tamper(opcode, payload)` may change each payload before it is sent.
    """

    def __init__(
        self,
        controller: FakeController,
        passcode: int,
        salt: bytes | None = None,
        *,
        tamper: Callable[[Opcode, bytes], bytes] = lambda opcode, payload: payload,
    ) -> None:
        self.controller = controller
        self.passcode = passcode
        self.salt = salt
        self.tamper = tamper
        self.session: SecureSession | None = None
        self.report: StatusReport | None = None
        self.is_over = False
        self.opcodes: list[int] = []
        self._prover: Spake2pProver | None = None
        self._key = b""
        self._peer_id = 0
        self._local_id = controller.sessions.reserve_id()
        now = controller.network.now
        unsecured = controller.sessions.open_unsecured(controller.peer, SessionParameters(), now)
        self.exchange = controller.exchanges.open(unsecured, self)
        self._random = controller.random_bytes(32)
        self._request = encode_pbkdf_param_request(
            PBKDFParamRequest(
                self._random, self._local_id, 0, salt is not None, controller.parameters
            )
        )
        self._send(Opcode.PBKDF_PARAM_REQUEST, self._request, now)

    def _send(self, opcode: Opcode, payload: bytes, now: float) -> None:
        payload = self.tamper(opcode, payload)
        self.exchange.send(PROTOCOL_SECURE_CHANNEL, opcode, payload, now=now)
        self.exchange.expect_response(30.0, now)

    def on_message(self, exchange: Exchange, message: Message, now: float) -> None:
        self.opcodes.append(message.opcode)
        try:
            if message.opcode == Opcode.PBKDF_PARAM_RESPONSE:
                self._on_response(message.payload, now)
            elif message.opcode == Opcode.PASE_PAKE2 and self._prover is not None:
                c_a, self._key = self._prover.on_pB(*decode_pake2(message.payload))
                self._send(Opcode.PASE_PAKE3, encode_pake3(c_a), now)
            elif message.opcode == Opcode.STATUS_REPORT:
                self._on_report(decode_status_report(message.payload), now)
            else:
                raise DecodeError(f"opcode {message.opcode}")
        except (DecodeError, CryptoError):
            self._send(Opcode.STATUS_REPORT, INVALID_PARAMETER, now)
            self._finish(now)

    def _on_response(self, payload: bytes, now: float) -> None:
        response = decode_pbkdf_param_response(payload)
        assert response.initiator_random == self._random
        assert bool(response.salt) == (self.salt is None)
        assert response.parameters is not None
        self.exchange.session.parameters = response.parameters
        self._peer_id = response.responder_session_id
        context = sha256(b"CHIP PAKE V1 Commissioning" + self._request + payload)
        w0, w1 = derive_secrets(
            self.passcode, self.salt or response.salt, response.iterations or 1000
        )
        self._prover = Spake2pProver(w0, w1, context, self.controller.random_bytes)
        self._send(Opcode.PASE_PAKE1, encode_pake1(self._prover.pA), now)

    def _on_report(self, report: StatusReport, now: float) -> None:
        self.report = report
        if report.is_success and self._key:
            self.session = make_session(
                derive_session_keys(self._key, b""),
                self.exchange.session,
                Subject(AuthMode.PASE),
                self.controller.random_bytes,
                now,
                is_initiator=True,
                local_id=self._local_id,
                peer_id=self._peer_id,
            )
            self.controller.sessions.add(self.session, now)
        self._finish(now)

    def _finish(self, now: float) -> None:
        self.is_over = True
        self.exchange.close(now)

    def on_closed(self, exchange: Exchange, now: float, failed: bool) -> None:
        self.is_over = True
