"""The node calls, as it does for a subscriber after a restart."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evse_node.errors import SessionError
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import PROTOCOL_SECURE_CHANNEL, Message
from evse_node.matter.messaging.session import SecureSession
from evse_node.matter.messaging.status_report import INVALID_PARAMETER as INVALID_REPORT
from evse_node.matter.messaging.status_report import Opcode, encode_busy
from evse_node.matter.secure_channel.case_messages import Sigma2, Sigma2Resume
from tests.support.fakes import Network
from tests.support.matter.case_node import (
    CONTROLLER,
    NODE,
    NODE_ID,
    OTHER,
    TAG,
    Node,
    assert_nothing_left,
    opcodes_sent,
)
from tests.support.matter.fake_controller import Conversation, FakeController


def test_initiator_establishes_session(
    network: Network, node: Node, controller: FakeController
) -> None:
    done: list[SecureSession | None] = []
    for is_resumed in (False, True):
        node.secure_channel.connect(
            1,
            controller.node_id,
            CONTROLLER,
            lambda session, now: done.append(session),
            network.now,
        )
        network.run(1.0)
        session = done[-1]
        assert session is not None
        assert session.subject.case_authenticated_tags == (TAG,)
        assert session.peer_node_id == controller.node_id
        assert is_resumed == (Opcode.CASE_SIGMA3 not in opcodes_sent(network, NODE))
        network.log.clear()
    assert len(node.secure_channel.initiator) == 0


def test_initiator_resumes_session_it_accepted_before(
    network: Network, node: Node, controller: FakeController
) -> None:
    controller.case(NODE_ID)
    network.log.clear()
    done: list[SecureSession | None] = []
    node.secure_channel.connect(
        1, controller.node_id, CONTROLLER, lambda session, now: done.append(session), network.now
    )
    network.run(1.0)
    assert done[0] is not None
    assert Opcode.CASE_SIGMA3 not in opcodes_sent(network, NODE)


def test_initiator_fails_for_unknown_fabric_or_unreachable_peer(
    network: Network, node: Node
) -> None:
    done: list[SecureSession | None] = []
    node.secure_channel.connect(
        1, 77, OTHER, lambda session, now: done.append(session), network.now
    )
    network.run(60.0)
    assert done == [None]
    assert len(node.secure_channel.initiator) == 0
    assert_nothing_left(node)
    with pytest.raises(SessionError):
        node.secure_channel.connect(9, 77, OTHER, lambda session, now: None, network.now)


def test_initiator_rejects_another_node(
    network: Network, node: Node, controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member of the fabric that claims another identity."""
    original = controller.fabrics.get(1)
    assert original is not None
    monkeypatch.setattr(
        controller.fabrics,
        "find_by_destination_id",
        lambda *_: (original, original.operational_ipk),
    )
    done: list[SecureSession | None] = []
    node.secure_channel.connect(
        1, 77, CONTROLLER, lambda session, now: done.append(session), network.now
    )
    network.run(1.0)
    assert done == [None]
    assert opcodes_sent(network, NODE) == [Opcode.CASE_SIGMA1, Opcode.STATUS_REPORT]
    assert_nothing_left(node)


def test_initiator_times_out_when_responder_only_acknowledges(
    network: Network, node: Node, controller: FakeController
) -> None:
    def hold(exchange: Exchange, message: Message, now: float) -> None:
        exchange.handler = Conversation(controller)

    controller.exchanges.register(PROTOCOL_SECURE_CHANNEL, hold)
    done: list[SecureSession | None] = []
    node.secure_channel.connect(
        1, controller.node_id, CONTROLLER, lambda session, now: done.append(session), network.now
    )
    network.run(29.0)
    assert done == []
    network.run(2.0)
    assert done == [None]
    assert len(node.secure_channel.initiator) == 0
    assert_nothing_left(node)


class TestResponders:
    """What a responder may answer to a call of the node, and gets nowhere with."""

    @pytest.fixture
    def answers(
        self, network: Network, node: Node, controller: FakeController
    ) -> Callable[[Opcode, bytes], list[SecureSession | None]]:
        def answer(opcode: Opcode, payload: bytes) -> list[SecureSession | None]:
            done: list[SecureSession | None] = []

            def respond(exchange: Exchange, message: Message, now: float) -> None:
                exchange.handler = Conversation(controller)
                exchange.send(PROTOCOL_SECURE_CHANNEL, opcode, payload, now=now)

            controller.exchanges.register(PROTOCOL_SECURE_CHANNEL, respond)
            node.secure_channel.connect(
                1,
                controller.node_id,
                CONTROLLER,
                lambda session, now: done.append(session),
                network.now,
            )
            network.run(1.0)
            network.run(60.0)
            assert len(node.secure_channel.initiator) == 0
            assert node.sessions._reserved == set()
            return done

        return answer

    @pytest.mark.parametrize(
        ("opcode", "payload"),
        [
            (Opcode.CASE_SIGMA1, b"\x15\x18"),
            (Opcode.CASE_SIGMA2, b"\x15\x18"),
            (Opcode.CASE_SIGMA3, b"\x15\x18"),
            (Opcode.CASE_SIGMA2_RESUME, b"\x15\x18"),
            (Opcode.CASE_SIGMA2_RESUME, Sigma2Resume(bytes(16), bytes(16), 1).encode()),
            (Opcode.CASE_SIGMA2, Sigma2(bytes(32), 1, b"\4" + bytes(64), bytes(99)).encode()),
            (Opcode.STATUS_REPORT, b""),
            # Success, before there was anything to succeed.
            (Opcode.STATUS_REPORT, bytes(8)),
            (Opcode.STATUS_REPORT, encode_busy(500)),
        ],
    )
    @pytest.mark.parametrize("offers_resumption", [False, True])
    def test_initiator_fails_on_invalid_response(
        self,
        answers: Callable[[Opcode, bytes], list[SecureSession | None]],
        node: Node,
        controller: FakeController,
        opcode: Opcode,
        payload: bytes,
        offers_resumption: bool,
    ) -> None:
        if offers_resumption:
            controller.case(NODE_ID)
        assert answers(opcode, payload) == [None]
        assert len(node.sessions) == offers_resumption

    @pytest.mark.parametrize(
        ("opcode", "payload", "is_kept"),
        [
            (Opcode.STATUS_REPORT, INVALID_REPORT, False),
            (Opcode.CASE_SIGMA2_RESUME, b"\x15\x18", True),
        ],
    )
    def test_initiator_keeps_resumption_record_unless_rejected(
        self,
        answers: Callable[[Opcode, bytes], list[SecureSession | None]],
        node: Node,
        controller: FakeController,
        opcode: Opcode,
        payload: bytes,
        is_kept: bool,
    ) -> None:
        controller.case(NODE_ID)
        assert answers(opcode, payload) == [None]
        assert len(node.secure_channel.resumption) == is_kept


def test_initiator_fails_when_fabric_is_removed(
    network: Network, node: Node, controller: FakeController
) -> None:
    done: list[SecureSession | None] = []
    node.secure_channel.connect(
        1, controller.node_id, CONTROLLER, lambda session, now: done.append(session), network.now
    )
    network.run(until=lambda: len(controller.secure_channel.case) == 1)
    node.fabrics.remove(1)
    network.run(1.0)
    assert done == [None]
    assert_nothing_left(node)
