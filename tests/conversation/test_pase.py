from __future__ import annotations

import pytest

from evse_node.matter.data_model import AuthMode
from evse_node.matter.fabrics.commissioning import PasscodeVerifier
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import (
    PROTOCOL_INTERACTION_MODEL,
    PROTOCOL_SECURE_CHANNEL,
    Message,
)
from evse_node.matter.messaging.session import SecureSession, SessionParameters
from evse_node.matter.messaging.status_report import (
    GeneralCode,
    Opcode,
    ProtocolCode,
    decode_status_report,
)
from evse_node.matter.secure_channel.pase_messages import PBKDFParamRequest, encode_pake2
from evse_node.matter.secure_channel.secure_channel import SecureChannel
from evse_node.matter.secure_channel.spake2p import compute_verifier
from evse_node.testing.memory_store import MemoryStore
from tests.support.fakes import MessageHost, Network, address
from tests.support.matter.case_node import opcodes_sent
from tests.support.matter.fake_controller import FakeController, PaseCall, RefusedError
from tests.support.matter.pase_initiator import (
    encode_pake1,
    encode_pake3,
    encode_pbkdf_param_request,
)

PASSCODE = 20202021
SALT = b"SPAKE2P Key Salt"
ITERATIONS = 1000
W0, L = compute_verifier(PASSCODE, SALT, ITERATIONS)
NODE, COMMISSIONER, OTHER = address(1), address(2), address(3)


class FakeWindow:
    def __init__(self) -> None:
        self.verifier: PasscodeVerifier | None = PasscodeVerifier(W0, L, SALT, ITERATIONS)
        self.established: list[SecureSession] = []
        self.failures = 0

    def pase_verifier(self) -> PasscodeVerifier | None:
        return self.verifier

    def on_pase_established(self, session: SecureSession, now: float) -> None:
        self.established.append(session)

    def on_pase_failed(self, now: float) -> None:
        self.failures += 1


class Node(MessageHost):
    """The secure channel of a node, and an echo in place of the interaction model."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__(seed)
        self.window = FakeWindow()
        self.store = MemoryStore()
        self.secure_channel = SecureChannel(
            self.exchanges,
            FabricTable(self.store),
            self.window,
            self.store,
            self.timers,
            SessionParameters(idle_interval_ms=900),
            self.random_bytes,
            lambda: None,
        )
        self.exchanges.register(PROTOCOL_INTERACTION_MODEL, self._echo)

    def _echo(self, exchange: Exchange, message: Message, now: float) -> None:
        exchange.send(message.protocol_id, message.opcode + 1, message.payload, now=now)


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def node(network: Network) -> Node:
    node = Node()
    network.attach(NODE, node)
    return node


@pytest.fixture
def commissioner(network: Network, node: Node) -> FakeController:
    return FakeController(network, COMMISSIONER, NODE)


def assert_nothing_left(node: Node) -> None:
    assert len(node.sessions) == 0
    assert not node.secure_channel.pase.is_busy
    assert len(node.exchanges) == 0
    assert node.sessions._reserved == set()


def test_pase_establishes_session(
    network: Network, node: Node, commissioner: FakeController
) -> None:
    theirs = commissioner.pase(PASSCODE)
    (ours,) = node.window.established
    assert list(node.sessions) == [ours]
    assert ours.subject.auth_mode is AuthMode.PASE
    assert ours.fabric_index == 0
    assert (ours.local_id, ours.peer_id) == (theirs.peer_id, theirs.local_id)
    assert ours.attestation_challenge == theirs.attestation_challenge
    assert len(ours.attestation_challenge) == 16
    # Each side has the other's session parameters.
    assert theirs.parameters.idle_interval_ms == 900
    assert ours.parameters == commissioner.parameters
    assert commissioner.request(PROTOCOL_INTERACTION_MODEL, 2, b"hello") == (3, b"hello")
    assert node.window.failures == 0
    network.run(60.0)
    assert len(node.exchanges) == 0
    assert len(node.timers) == 0


def test_pase_establishes_session_with_known_salt(node: Node, commissioner: FakeController) -> None:
    commissioner.pase(PASSCODE, known_salt=SALT)
    assert len(node.window.established) == 1


def test_pase_establishes_session_on_lossy_network(node: Node) -> None:
    for seed in range(5):
        network = Network(seed, drop=0.2, repeat=0.3, reorder=0.3)
        node = Node(seed)
        network.attach(NODE, node)
        commissioner = FakeController(network, COMMISSIONER, NODE, seed=seed)
        commissioner.pase(PASSCODE)
        assert commissioner.request(PROTOCOL_INTERACTION_MODEL, 2, b"hello") == (3, b"hello")
        assert len(node.sessions) == 1
        assert node.window.failures == 0
        assert node.layer.dropped.get("internal error") is None


def test_pase_uses_intervals_of_slow_commissioner(
    network: Network, node: Node, commissioner: FakeController
) -> None:
    commissioner.parameters = SessionParameters(idle_interval_ms=4_000, active_interval_ms=4_000)
    network.lost = lambda data, source, to: source == NODE
    PaseCall(commissioner, PASSCODE)
    network.run(4.0)
    assert opcodes_sent(network, NODE) == [Opcode.PBKDF_PARAM_RESPONSE]
    network.run(2.0)
    assert opcodes_sent(network, NODE) == [Opcode.PBKDF_PARAM_RESPONSE] * 2


def test_wrong_passcode_is_rejected_and_counted(
    network: Network, node: Node, commissioner: FakeController
) -> None:
    with pytest.raises(RefusedError):
        commissioner.pase(PASSCODE + 1)
    network.run()
    assert node.window.failures == 1
    assert_nothing_left(node)
    commissioner.pase(PASSCODE)


def test_wrong_confirmation_is_rejected_and_counted(
    network: Network, node: Node, commissioner: FakeController
) -> None:
    def tamper(opcode: Opcode, payload: bytes) -> bytes:
        if opcode is Opcode.PASE_PAKE3:
            return payload[:-2] + bytes((payload[-2] ^ 1,)) + payload[-1:]
        return payload

    call = PaseCall(commissioner, PASSCODE, tamper=tamper)
    network.run(1.0)
    assert call.report is not None
    assert call.report.protocol_code == ProtocolCode.INVALID_PARAMETER
    assert node.window.failures == 1
    assert_nothing_left(node)


@pytest.mark.parametrize(
    ("changed", "payload"),
    [
        (Opcode.PBKDF_PARAM_REQUEST, b""),
        (Opcode.PBKDF_PARAM_REQUEST, b"\x15\x18"),
        (Opcode.PASE_PAKE1, b"\x15\x18"),
        (Opcode.PASE_PAKE1, bytes.fromhex("15 30 01 41 04") + b"\x01" * 64 + b"\x18"),
        (Opcode.PASE_PAKE1, bytes.fromhex("15 30 01 41 04") + b"\x00" * 64 + b"\x18"),
        (Opcode.PASE_PAKE3, b"\x15\x18"),
        (Opcode.PASE_PAKE3, bytes.fromhex("15 30 01 1f") + b"\x01" * 31 + b"\x18"),
    ],
)
def test_malformed_pase_message_is_rejected(
    network: Network, node: Node, commissioner: FakeController, changed: Opcode, payload: bytes
) -> None:
    call = PaseCall(
        commissioner,
        PASSCODE,
        tamper=lambda opcode, original: payload if opcode is changed else original,
    )
    network.run(1.0)
    assert call.report is not None
    assert call.report.general_code is GeneralCode.FAILURE
    assert call.report.protocol_code == ProtocolCode.INVALID_PARAMETER
    assert_nothing_left(node)


def test_unknown_passcode_id_is_rejected(
    network: Network, node: Node, commissioner: FakeController
) -> None:
    def tamper(opcode: Opcode, payload: bytes) -> bytes:
        return payload.replace(b"\x24\x03\x00", b"\x24\x03\x01")

    call = PaseCall(commissioner, PASSCODE, tamper=tamper)
    network.run(1.0)
    assert call.report is not None
    assert call.report.protocol_code == ProtocolCode.INVALID_PARAMETER


WELL_FORMED = {
    Opcode.PASE_PAKE1: encode_pake1(L),
    Opcode.PASE_PAKE2: encode_pake2(L, bytes(32)),
    Opcode.PASE_PAKE3: encode_pake3(bytes(32)),
}


@pytest.mark.parametrize(
    ("turn", "sent"),
    [
        (Opcode.PASE_PAKE1, Opcode.PASE_PAKE2),
        (Opcode.PASE_PAKE1, Opcode.PASE_PAKE3),
        (Opcode.PASE_PAKE3, Opcode.PASE_PAKE1),
        (Opcode.PASE_PAKE3, Opcode.PASE_PAKE2),
    ],
)
def test_pase_message_out_of_turn_is_rejected(
    network: Network,
    node: Node,
    commissioner: FakeController,
    monkeypatch: pytest.MonkeyPatch,
    turn: Opcode,
    sent: Opcode,
) -> None:
    original = PaseCall._send

    def send(call: PaseCall, opcode: Opcode, payload: bytes, now: float) -> None:
        if opcode is turn:
            opcode, payload = sent, WELL_FORMED[sent]
        original(call, opcode, payload, now)

    monkeypatch.setattr(PaseCall, "_send", send)
    call = PaseCall(commissioner, PASSCODE)
    network.run(1.0)
    assert call.report is not None
    assert call.report.protocol_code == ProtocolCode.INVALID_PARAMETER
    assert_nothing_left(node)
    assert node.layer.dropped == {}
    # After Pake2 it could have been a guess.
    assert node.window.failures == (turn is Opcode.PASE_PAKE3)


def test_closed_window_ignores_pase(
    network: Network, node: Node, commissioner: FakeController
) -> None:
    node.window.verifier = None
    call = PaseCall(commissioner, PASSCODE)
    network.run(5.0)
    assert call.opcodes == []
    assert node.window.failures == 0
    assert_nothing_left(node)


def test_pase_fails_when_window_closes_during_handshake(
    network: Network, node: Node, commissioner: FakeController
) -> None:
    call = PaseCall(commissioner, PASSCODE)
    network.run(until=lambda: Opcode.PASE_PAKE2 in call.opcodes)
    node.window.verifier = None
    network.run(1.0)
    assert call.session is None
    assert node.window.established == []
    assert_nothing_left(node)


def test_second_commissioner_is_rejected_as_busy(
    network: Network, node: Node, commissioner: FakeController
) -> None:
    other = FakeController(network, OTHER, NODE, seed=5)
    slow = PaseCall(commissioner, PASSCODE)
    network.run(until=lambda: Opcode.PBKDF_PARAM_RESPONSE in slow.opcodes)
    with pytest.raises(RefusedError) as refused:
        other.pase(PASSCODE)
    assert 0 < (refused.value.busy_wait_ms or 0) <= 60_000
    network.run(1.0)
    assert slow.session is not None
    # And not while one has a session.
    with pytest.raises(RefusedError) as refused:
        other.pase(PASSCODE)
    assert refused.value.busy_wait_ms == 5000
    for session in node.sessions:
        node.sessions.remove(session, network.now)
    other.pase(PASSCODE)


def test_restarted_handshake_replaces_the_first(
    network: Network, node: Node, commissioner: FakeController
) -> None:
    lost = PaseCall(commissioner, PASSCODE)
    network.run(until=lambda: Opcode.PBKDF_PARAM_RESPONSE in lost.opcodes)
    commissioner.pase(PASSCODE)
    assert len(node.sessions) == 1
    assert len(node.sessions._reserved) == 0


def test_pase_handshake_times_out_after_a_minute(
    network: Network, node: Node, commissioner: FakeController
) -> None:
    conversation = commissioner.open_unsecured()
    request = encode_pbkdf_param_request(PBKDFParamRequest(bytes(32), 1, 0, False))
    conversation.send(Opcode.PBKDF_PARAM_REQUEST, request, PROTOCOL_SECURE_CHANNEL)
    start = network.now
    assert conversation.receive().opcode == Opcode.PBKDF_PARAM_RESPONSE
    network.run(50.0)
    assert node.secure_channel.pase.is_busy
    report = conversation.receive()
    assert decode_status_report(report.payload).protocol_code == ProtocolCode.INVALID_PARAMETER
    assert network.now - start == pytest.approx(60.0, abs=1.0)
    assert not node.secure_channel.pase.is_busy
    # It was no guess: nothing is counted.
    assert node.window.failures == 0


def test_pase_handshake_ends_when_commissioner_vanishes(
    network: Network, node: Node, commissioner: FakeController
) -> None:
    call = PaseCall(commissioner, PASSCODE)
    network.run(until=lambda: Opcode.PBKDF_PARAM_RESPONSE in call.opcodes)
    network.lost = lambda data, source, to: source == COMMISSIONER
    network.run(30.0)
    assert_nothing_left(node)


def test_pase_request_on_secure_session_is_ignored(
    network: Network, node: Node, commissioner: FakeController
) -> None:
    commissioner.pase(PASSCODE)
    conversation = commissioner.open()
    conversation.send(Opcode.PBKDF_PARAM_REQUEST, b"\x15\x18", PROTOCOL_SECURE_CHANNEL)
    with pytest.raises(RefusedError):
        conversation.receive(1.0)
    assert not node.secure_channel.pase.is_busy


def test_close_session_removes_session(
    network: Network, node: Node, commissioner: FakeController
) -> None:
    commissioner.pase(PASSCODE)
    assert len(node.sessions) == 1
    commissioner.close_session()
    assert len(node.sessions) == 0


def test_evicted_session_is_announced(
    network: Network, node: Node, commissioner: FakeController
) -> None:
    commissioner.pase(PASSCODE)
    (ours,) = node.sessions
    node.sessions.remove(ours, network.now, announce=True)
    network.run()
    assert len(commissioner.sessions) == 0


def test_unknown_opcodes_on_session_are_ignored(
    network: Network, node: Node, commissioner: FakeController
) -> None:
    commissioner.pase(PASSCODE)
    for opcode in (0x00, 0x01, 0x24, 0x32, 0x50, 0xFF, Opcode.STATUS_REPORT, Opcode.CASE_SIGMA1):
        conversation = commissioner.open()
        conversation.send(opcode, b"nonsense", PROTOCOL_SECURE_CHANNEL)
        network.run(1.0)
        assert not conversation.messages
    assert len(node.sessions) == 1
    assert len(node.exchanges) == 0


def test_pase_does_not_log_secrets(
    node: Node, commissioner: FakeController, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with pytest.raises(RefusedError):
        commissioner.pase(PASSCODE + 1)
    commissioner.pase(PASSCODE)
    assert caplog.records
    assert str(PASSCODE) not in caplog.text
    assert W0.hex() not in caplog.text
