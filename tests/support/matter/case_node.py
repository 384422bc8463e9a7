"""A node with its secure channel alone, for conversations over CASE."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from evse_node.matter.crypto import KeyPair
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import (
    PROTOCOL_INTERACTION_MODEL,
    PROTOCOL_SECURE_CHANNEL,
    Message,
)
from evse_node.matter.messaging.session import SessionParameters
from evse_node.matter.messaging.status_report import (
    GeneralCode,
    Opcode,
    ProtocolCode,
)
from evse_node.matter.secure_channel.case_initiator import CaseCall
from evse_node.matter.secure_channel.case_messages import Sigma1, decode_sigma1
from evse_node.matter.secure_channel.secure_channel import SecureChannel
from evse_node.testing.memory_store import MemoryStore
from tests.support.fakes import MessageHost, Network, address
from tests.support.matter.fake_ca import NOT_BEFORE, CertificateAuthority
from tests.support.matter.fake_controller import (
    ClosedWindow,
    Conversation,
    FakeController,
    RefusedError,
)

NODE, CONTROLLER, OTHER = address(1), address(2), address(3)
NODE_ID = 0xAAAA_0001
TAG = 0xABCD_0002
IPK = bytes(range(16))
INITIATOR = "evse_node.matter.secure_channel.case_initiator"
UTC_MS = (NOT_BEFORE + 1000 + 946_684_800) * 1000


class Node(MessageHost):
    """Secure channel of a node, with an echo in place of the interaction model."""

    def __init__(self, network: Network, seed: int = 1, store: MemoryStore | None = None) -> None:
        super().__init__(seed)
        self.store = store or MemoryStore()
        self.fabrics = FabricTable(self.store)
        self.utc_ms: int | None = None
        self.secure_channel = SecureChannel(
            self.exchanges,
            self.fabrics,
            ClosedWindow(),
            self.store,
            self.timers,
            SessionParameters(idle_interval_ms=900),
            self.random_bytes,
            lambda: self.utc_ms,
        )
        self.exchanges.register(PROTOCOL_INTERACTION_MODEL, self._echo)
        network.attach(NODE, self)

    def _echo(self, exchange: Exchange, message: Message, now: float) -> None:
        exchange.send(message.protocol_id, message.opcode + 1, message.payload, now=now)

    def join(self, authority: CertificateAuthority, node_id: int = NODE_ID) -> int:
        key = KeyPair.generate()
        noc = authority.issue_noc(key.public_key, node_id)
        fabric = self.fabrics.add_pending(authority.rcac, noc, authority.icac, key, IPK, 0xFFF1)
        self.fabrics.commit_pending()
        return fabric.index


# Generating keys is slow; tests only read this one.
AUTHORITY = CertificateAuthority(0x1234)


def make_node(network: Network) -> Node:
    """Return a node that has joined the fabric of AUTHORITY."""
    node = Node(network)
    node.join(AUTHORITY)
    return node


def make_controller(network: Network) -> FakeController:
    """Return a controller on the same fabric, with one CASE authenticated tag."""
    return FakeController(
        network,
        CONTROLLER,
        NODE,
        authority=AUTHORITY,
        case_authenticated_tags=(TAG,),
        ipk_epoch_key=IPK,
    )


def assert_nothing_left(node: Node, sessions: int = 0) -> None:
    assert len(node.sessions) == sessions
    assert len(node.secure_channel.case) == 0
    assert len(node.exchanges) == 0
    assert node.sessions._reserved == set()
    assert "internal error" not in node.layer.dropped


def refusal(controller: FakeController, node_id: int = NODE_ID) -> tuple[int, int] | None:
    """Return general and protocol code by which a handshake is refused."""
    with pytest.raises(RefusedError) as refused:
        controller.case(node_id)
    report = refused.value.report
    return None if report is None else (report.general_code, report.protocol_code)


INVALID_PARAMETER = (GeneralCode.FAILURE, ProtocolCode.INVALID_PARAMETER)
NO_SHARED_TRUST_ROOTS = (GeneralCode.FAILURE, ProtocolCode.NO_SHARED_TRUST_ROOTS)


def opcodes_sent(network: Network, source: tuple[str, int, int, int]) -> list[int]:
    """Return the opcodes of the unsecured messages that a host sent, acks left out."""
    found = []
    for _, data, sender, _ in network.log:
        # Flags 1 and 4: 8 bytes of node id follow the eight of the header.
        if sender == source and data[1:3] == b"\0\0" and data[17] != Opcode.STANDALONE_ACK:
            found.append(data[17])
    return found


def flip(data: bytes | None, position: int = 0) -> bytes:
    assert data is not None
    changed = bytearray(data)
    changed[position] ^= 0xFF
    return bytes(changed)


def send_sigma1(
    network: Network, controller: FakeController, change: Callable[[Sigma1], Sigma1]
) -> Conversation:
    """Send a changed Sigma1 of the controller; the response is ignored."""
    recorder = SendRecorder()
    initiator = controller.secure_channel.initiator
    call = CaseCall(initiator, controller.fabric, NODE_ID, lambda session, now: None)
    call.start(cast("Exchange", recorder), network.now)
    conversation = controller.open_unsecured()
    sigma1 = change(decode_sigma1(recorder.payload))
    conversation.send(Opcode.CASE_SIGMA1, sigma1.encode(), PROTOCOL_SECURE_CHANNEL)
    return conversation


class SendRecorder:
    """Exchange that records sent messages."""

    payload = b""

    def send(self, protocol_id: int, opcode: int, payload: bytes, *, now: float) -> None:
        self.payload = payload

    def expect_response(self, timeout_s: float, now: float) -> None:
        pass
