"""Sessions that go on without certificates, and those that must not."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from evse_node.matter.crypto import KeyPair
from evse_node.matter.messaging.message import (
    PROTOCOL_INTERACTION_MODEL,
    PROTOCOL_SECURE_CHANNEL,
    Message,
)
from evse_node.matter.messaging.session import SessionParameters
from evse_node.matter.messaging.session_keys import SessionKeys, derive_session_keys
from evse_node.matter.messaging.status_report import (
    Opcode,
    decode_status_report,
)
from evse_node.matter.secure_channel import case_messages
from tests.support.fakes import Network
from tests.support.matter.case_node import (
    AUTHORITY,
    INITIATOR,
    INVALID_PARAMETER,
    NO_SHARED_TRUST_ROOTS,
    NODE,
    NODE_ID,
    TAG,
    Node,
    assert_nothing_left,
    flip,
    opcodes_sent,
    refusal,
    send_sigma1,
)
from tests.support.matter.fake_controller import FakeController


def resumed(network: Network) -> bool:
    """Return whether the node has answered the last Sigma1 with Sigma2_Resume."""
    answers = [
        opcode
        for opcode in opcodes_sent(network, NODE)
        if opcode in (Opcode.CASE_SIGMA2, Opcode.CASE_SIGMA2_RESUME)
    ]
    return answers[-1] == Opcode.CASE_SIGMA2_RESUME


def test_case_session_is_resumed(network: Network, node: Node, controller: FakeController) -> None:
    first = controller.case(NODE_ID)
    assert not resumed(network)
    for _ in range(3):
        second = controller.case(NODE_ID)
        assert resumed(network)
        ours = max(node.sessions, key=lambda session: session.local_id == second.peer_id)
        assert ours.local_id == second.peer_id
        assert ours.subject == next(iter(node.sessions)).subject
        assert ours.subject.case_authenticated_tags == (TAG,)
        assert ours.attestation_challenge == second.attestation_challenge
        assert second.attestation_challenge != first.attestation_challenge
        assert controller.request(PROTOCOL_INTERACTION_MODEL, 2, b"x") == (3, b"x")
    assert len(node.secure_channel.resumption) == 1
    network.run(10.0)
    assert_nothing_left(node, sessions=4)


def test_case_session_is_resumed_after_restart(
    network: Network, node: Node, controller: FakeController
) -> None:
    controller.case(NODE_ID)
    again = Node(network, 2, node.store)
    controller.case(NODE_ID)
    assert resumed(network)
    assert len(again.sessions) == 1
    assert controller.request(PROTOCOL_INTERACTION_MODEL, 2, b"x") == (3, b"x")


def test_wrong_resume_mic_falls_back_to_full_handshake(
    network: Network, node: Node, controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller.case(NODE_ID)
    original = case_messages.compute_resume1_mic
    monkeypatch.setattr(
        f"{INITIATOR}.compute_resume1_mic", lambda *arguments: flip(original(*arguments))
    )
    controller.case(NODE_ID)
    assert not resumed(network)
    assert controller.request(PROTOCOL_INTERACTION_MODEL, 2, b"x") == (3, b"x")


def test_unknown_resumption_id_falls_back_to_full_handshake(
    network: Network, node: Node, controller: FakeController
) -> None:
    controller.case(NODE_ID)
    node.secure_channel.resumption.remove_fabric(1)
    controller.case(NODE_ID)
    assert not resumed(network)
    controller.case(NODE_ID)
    assert resumed(network)


def test_resumption_id_is_valid_only_once(
    network: Network, node: Node, controller: FakeController
) -> None:
    controller.case(NODE_ID)
    record = controller.secure_channel.resumption.find_by_peer(1, NODE_ID)
    assert record is not None
    controller.case(NODE_ID)
    assert resumed(network)
    assert node.secure_channel.resumption.find_by_id(record.resumption_id) is None


def test_resumption_ends_when_initiator_does_not_confirm(
    network: Network, node: Node, controller: FakeController
) -> None:
    controller.case(NODE_ID)
    before = node.secure_channel.resumption.find_by_peer(1, controller.node_id)
    conversation = send_sigma1(network, controller, lambda sigma1: sigma1)
    assert conversation.receive().opcode == Opcode.CASE_SIGMA2_RESUME
    conversation.send(Opcode.STATUS_REPORT, bytes.fromhex("0100000000000200"), 0)
    network.run(10.0)
    assert_nothing_left(node, sessions=1)
    assert node.secure_channel.resumption.find_by_peer(1, controller.node_id) == before


def test_removed_fabric_is_not_resumed(
    network: Network, node: Node, controller: FakeController
) -> None:
    controller.case(NODE_ID)
    assert node.store.items("resumption/")
    node.fabrics.remove(1)
    assert len(node.secure_channel.resumption) == 0
    assert node.store.items("resumption/") == []
    assert refusal(controller) == NO_SHARED_TRUST_ROOTS


def test_resumption_fails_after_new_identity(
    network: Network, node: Node, controller: FakeController
) -> None:
    controller.case(NODE_ID)
    node.fabrics.set_label(1, "a new label changes nothing")
    assert len(node.secure_channel.resumption) == 1
    key = KeyPair.generate()
    noc = AUTHORITY.issue_noc(key.public_key, NODE_ID)
    node.fabrics.update_pending(1, noc, AUTHORITY.icac, key)
    assert len(node.secure_channel.resumption) == 0
    controller.case(NODE_ID)
    assert not resumed(network)


def test_resumption_record_of_pending_identity_is_lost_in_power_cut(
    network: Network, node: Node, controller: FakeController
) -> None:
    controller.case(NODE_ID)
    key = KeyPair.generate()
    noc = AUTHORITY.issue_noc(key.public_key, NODE_ID + 1)
    node.fabrics.update_pending(1, noc, AUTHORITY.icac, key)
    controller.case(NODE_ID + 1)
    controller.case(NODE_ID + 1)
    assert resumed(network)
    node.store.commit()
    assert len(Node(network, store=node.store.after_power_cut()).secure_channel.resumption) == 0
    node.fabrics.commit_pending()
    node.store.commit()
    assert len(Node(network, store=node.store.after_power_cut()).secure_channel.resumption) == 1


def test_resumed_session_has_own_keys(
    node: Node, controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived: list[tuple[bytes, int]] = []

    def derive(secret: bytes, salt: bytes, info: bytes) -> SessionKeys:
        derived.append((info, len(salt)))
        return derive_session_keys(secret, salt, info)

    monkeypatch.setattr("evse_node.matter.secure_channel.case.derive_session_keys", derive)
    # The IPK and a hash; or a random and the resumption id.
    for info, size in ((b"SessionKeys", 16 + 32), (b"SessionResumptionKeys", 32 + 16)):
        controller.case(NODE_ID)
        assert derived == [(info, size)] * 2
        derived.clear()


@pytest.mark.parametrize("is_resumed", [False, True])
def test_resumption_uses_intervals_of_slow_initiator(
    network: Network, node: Node, controller: FakeController, is_resumed: bool
) -> None:
    if is_resumed:
        controller.case(NODE_ID)
        network.log.clear()
    slow = SessionParameters(idle_interval_ms=4_000, active_interval_ms=4_000)
    network.lost = lambda data, source, to: source == NODE
    send_sigma1(network, controller, lambda sigma1: replace(sigma1, parameters=slow))
    network.run(4.0)
    answer = Opcode.CASE_SIGMA2_RESUME if is_resumed else Opcode.CASE_SIGMA2
    assert opcodes_sent(network, NODE) == [answer]
    network.run(2.0)
    assert opcodes_sent(network, NODE) == [answer, answer]


@pytest.mark.parametrize("is_resumed", [False, True])
@pytest.mark.parametrize("protocol_id", [PROTOCOL_INTERACTION_MODEL, PROTOCOL_SECURE_CHANNEL])
def test_unexpected_message_aborts_resumption(
    network: Network,
    node: Node,
    controller: FakeController,
    is_resumed: bool,
    protocol_id: int,
) -> None:
    """Sigma1 in the place of Sigma3 or status report, or even another protocol."""
    if is_resumed:
        controller.case(NODE_ID)
    sessions = len(node.sessions)
    conversation = send_sigma1(network, controller, lambda sigma1: sigma1)
    expected = Opcode.CASE_SIGMA2_RESUME if is_resumed else Opcode.CASE_SIGMA2
    assert conversation.receive().opcode == expected
    (handshake,) = node.secure_channel.case._handshakes
    # The message layer lets no other protocol pass without encryption; the handshake neither.
    message = Message(1, Opcode.CASE_SIGMA1, 0, protocol_id, b"\x15\x18")
    handshake.on_message(handshake._exchange, message, network.now)
    network.run(10.0)
    report = decode_status_report(conversation.receive().payload)
    assert (report.general_code, report.protocol_code) == INVALID_PARAMETER
    assert_nothing_left(node, sessions)
