"""Whole CASE handshakes."""

from __future__ import annotations

import pytest

from evse_node.matter.data_model import AuthMode
from evse_node.matter.fabrics.group_key import EpochKey, GroupKeySet
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import (
    PROTOCOL_INTERACTION_MODEL,
    PROTOCOL_SECURE_CHANNEL,
    Message,
)
from evse_node.matter.messaging.session import SecureSession
from evse_node.matter.messaging.status_report import (
    CLOSE_SESSION,
    Opcode,
)
from tests.support.fakes import Network, address
from tests.support.matter.case_node import (
    AUTHORITY,
    CONTROLLER,
    IPK,
    NODE,
    NODE_ID,
    TAG,
    Node,
    assert_nothing_left,
    opcodes_sent,
)
from tests.support.matter.fake_ca import CertificateAuthority
from tests.support.matter.fake_controller import FakeController


@pytest.mark.parametrize("with_icac", [True, False])
def test_case_establishes_session(network: Network, with_icac: bool) -> None:
    authority = CertificateAuthority(0x77, with_icac=with_icac)
    node = Node(network)
    index = node.join(authority)
    controller = FakeController(
        network,
        CONTROLLER,
        NODE,
        authority=authority,
        case_authenticated_tags=(TAG, 0x1111_0001),
        ipk_epoch_key=IPK,
    )
    theirs = controller.case(NODE_ID)
    (ours,) = node.sessions
    assert ours.subject.auth_mode is AuthMode.CASE
    assert ours.subject.node_id == controller.node_id
    assert ours.subject.case_authenticated_tags == (TAG, 0x1111_0001)
    assert ours.fabric_index == index
    assert (ours.local_node_id, ours.peer_node_id) == (NODE_ID, controller.node_id)
    assert (theirs.local_node_id, theirs.peer_node_id) == (controller.node_id, NODE_ID)
    assert ours.attestation_challenge == theirs.attestation_challenge
    assert theirs.parameters.idle_interval_ms == 900
    assert controller.request(PROTOCOL_INTERACTION_MODEL, 2, b"hello") == (3, b"hello")
    assert opcodes_sent(network, NODE) == [Opcode.CASE_SIGMA2, Opcode.STATUS_REPORT]
    network.run(60.0)
    assert_nothing_left(node, sessions=1)
    assert len(node.timers) == 0


def test_case_establishes_session_on_lossy_network() -> None:
    for seed in range(6):
        network = Network(seed, drop=0.2, repeat=0.3, reorder=0.3)
        node = Node(network, seed)
        node.join(AUTHORITY)
        controller = FakeController(
            network, CONTROLLER, NODE, seed=seed, authority=AUTHORITY, ipk_epoch_key=IPK
        )
        for _ in range(2):
            # The second time the session is resumed.
            controller.case(NODE_ID)
            answer = controller.request(PROTOCOL_INTERACTION_MODEL, 2, b"hello")
            assert answer == (3, b"hello")
        network.run(60.0)
        assert_nothing_left(node, sessions=2)


def test_case_finds_fabric_among_several(network: Network, node: Node) -> None:
    others = [CertificateAuthority(number) for number in (5, 6)]
    indices = [node.join(authority, 0xBEEF) for authority in others]
    controller = FakeController(network, CONTROLLER, NODE, authority=others[1], ipk_epoch_key=IPK)
    controller.case(0xBEEF)
    (session,) = node.sessions
    assert session.fabric_index == indices[1]
    assert session.local_node_id == 0xBEEF


@pytest.mark.parametrize("position", [0, 1, 2])
def test_case_accepts_each_epoch_key(network: Network, node: Node, position: int) -> None:
    keys = [bytes((number,)) * 16 for number in (1, 2, 3)]
    node.fabrics.set_ipk(
        1, GroupKeySet(0, 0, tuple(EpochKey(key, start) for start, key in enumerate(keys)))
    )
    controller = FakeController(
        network, CONTROLLER, NODE, authority=AUTHORITY, ipk_epoch_key=keys[position]
    )
    controller.case(NODE_ID)
    assert controller.request(PROTOCOL_INTERACTION_MODEL, 2, b"x") == (3, b"x")


def test_case_serves_eight_controllers_at_once(network: Network, node: Node) -> None:
    done: list[SecureSession | None] = []
    for number in range(8):
        controller = FakeController(
            network,
            address(100 + number),
            NODE,
            seed=number,
            node_id=100 + number,
            authority=AUTHORITY,
            ipk_epoch_key=IPK,
        )
        controller.secure_channel.connect(
            1, NODE_ID, NODE, lambda session, now: done.append(session), network.now
        )
    network.run(1.0)
    assert len([session for session in done if session]) == 8
    assert {session.peer_node_id for session in node.sessions} == set(range(100, 108))


def test_status_report_on_unsecured_session_closes_no_session(
    network: Network, node: Node, controller: FakeController
) -> None:
    controller.case(NODE_ID)
    conversation = controller.open_unsecured()
    conversation.send(Opcode.STATUS_REPORT, CLOSE_SESSION, PROTOCOL_SECURE_CHANNEL)
    network.run(1.0)
    exchange = Exchange(
        node.exchanges, next(iter(node.sessions._unsecured.values())), 1, False, None
    )
    message = Message(1, Opcode.STATUS_REPORT, 1, PROTOCOL_SECURE_CHANNEL, CLOSE_SESSION)
    node.secure_channel.on_message(exchange, message, network.now)
    assert len(node.sessions) == 1
