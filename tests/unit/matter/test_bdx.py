from __future__ import annotations

import struct
from random import Random

import pytest

from evse_node.errors import SessionError
from evse_node.matter.bdx import BEGIN_TIMEOUT_S, PROTOCOL_ID, BdxSender, Opcode, StatusCode
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import PROTOCOL_SECURE_CHANNEL
from evse_node.matter.messaging.status_report import GeneralCode, StatusReport
from evse_node.matter.messaging.status_report import Opcode as SecureChannelOpcode
from tests.support.fakes import MessageHost, Network, address, secure_pair
from tests.support.matter.bdx_receiver import BdxReceiver

DATA = Random(1).randbytes(9240)


class Pair:
    def __init__(self, network: Network | None = None) -> None:
        self.network = network or Network()
        self.node, self.peer = MessageHost(1), MessageHost(2)
        self.network.attach(address(1), self.node)
        self.network.attach(address(2), self.peer)
        self.session, self.peer_session = secure_pair(
            self.node, address(1), self.peer, address(2), self.network.now
        )
        self.sender = BdxSender(self.node.exchanges)
        self.receiver = BdxReceiver(self.peer)
        self.begun: list[bool] = []

    def send(self, data: bytes = DATA, designator: bytes = b"file.txt") -> None:
        self.sender.send(
            self.session,
            designator,
            data,
            lambda is_accepted, now: self.begun.append(is_accepted),
            self.network.now,
        )

    def run(self, seconds: float = 1.0) -> None:
        self.network.run(seconds)


@pytest.fixture
def pair() -> Pair:
    return Pair()


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 2048, 9240])
@pytest.mark.parametrize("block_size", [1024, 100])
def test_bdx_sender_transfers_file(pair: Pair, size: int, block_size: int) -> None:
    pair.receiver.block_size = block_size
    pair.send(DATA[:size])
    assert pair.sender.is_busy
    pair.run()
    assert pair.receiver.offers == [(0x10, 0, 1024, b"file.txt")]
    assert pair.receiver.data == DATA[:size]
    count = -(-size // block_size)
    assert [counter for counter, _ in pair.receiver.blocks] == list(range(count))
    assert pair.receiver.is_complete
    assert pair.begun == [True]
    assert not pair.sender.is_busy
    pair.run(10)
    assert not pair.session.exchanges
    assert not pair.peer_session.exchanges


def test_bdx_transfer_completes_on_lossy_network() -> None:
    pair = Pair(Network(7, drop=0.1, repeat=0.1, reorder=0.2))
    pair.send()
    pair.run(60)
    assert pair.receiver.data == DATA


def test_bdx_sender_rejects_second_file_during_transfer(pair: Pair) -> None:
    pair.send()
    with pytest.raises(SessionError):
        pair.send()
    pair.run()
    pair.send()
    pair.run()
    assert pair.begun == [True, True]


def test_bdx_transfer_ends_when_peer_does_not_respond(pair: Pair) -> None:
    pair.receiver.accepts = False
    pair.send()
    pair.run(BEGIN_TIMEOUT_S - 1)
    assert pair.begun == []
    pair.run(2)
    assert pair.begun == [False]
    assert not pair.sender.is_busy


def test_bdx_transfer_ends_when_peer_lacks_protocol(pair: Pair) -> None:
    pair.peer.exchanges._responders.clear()
    pair.send()
    pair.run(BEGIN_TIMEOUT_S + 1)
    assert pair.begun == [False]


def test_bdx_transfer_ends_when_peer_declines(pair: Pair) -> None:
    report = StatusReport(GeneralCode.FAILURE, 0x50, PROTOCOL_ID).encode()
    pair.receiver.spoil = lambda opcode, payload: (
        PROTOCOL_SECURE_CHANNEL,
        SecureChannelOpcode.STATUS_REPORT,
        report,
    )
    pair.send()
    pair.run()
    assert pair.begun == [False]
    assert not pair.sender.is_busy
    assert pair.receiver.reports == []


def test_bdx_transfer_ends_with_its_session(pair: Pair) -> None:
    pair.receiver.accepts = False
    pair.send()
    pair.run()
    pair.node.sessions.remove(pair.session, pair.network.now)
    assert pair.begun == [False]
    assert not pair.sender.is_busy


def test_bdx_sender_is_free_after_session_without_counters(pair: Pair) -> None:
    pair.session._next_counter = 1 << 32
    with pytest.raises(SessionError):
        pair.send()
    assert not pair.sender.is_busy


def test_bdx_sender_rejects_closing_session(pair: Pair) -> None:
    pair.session.is_closing = True
    with pytest.raises(SessionError):
        pair.send()
    assert not pair.sender.is_busy


ACCEPT = struct.pack("<BH", 0x10, 1024)
COUNTER = struct.pack("<I", 0)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((PROTOCOL_ID, Opcode.RECEIVE_ACCEPT, ACCEPT), StatusCode.UNEXPECTED_MESSAGE),
        ((PROTOCOL_ID, Opcode.BLOCK_ACK, COUNTER), StatusCode.UNEXPECTED_MESSAGE),
        ((0x0001, 0x02, ACCEPT), StatusCode.UNEXPECTED_MESSAGE),
        ((PROTOCOL_ID, Opcode.SEND_ACCEPT, b"\x10\x00"), StatusCode.BAD_MESSAGE_CONTENTS),
        (
            (PROTOCOL_ID, Opcode.SEND_ACCEPT, b"\x20\x00\x04"),
            StatusCode.TRANSFER_METHOD_NOT_SUPPORTED,
        ),
        ((PROTOCOL_ID, Opcode.SEND_ACCEPT, b"\x10\x01\x04"), StatusCode.BAD_MESSAGE_CONTENTS),
        ((PROTOCOL_ID, Opcode.SEND_ACCEPT, b"\x10\x00\x00"), StatusCode.BAD_MESSAGE_CONTENTS),
    ],
)
def test_bdx_transfer_ends_on_invalid_send_accept(
    pair: Pair, answer: tuple[int, int, bytes], code: StatusCode
) -> None:
    pair.receiver.spoil = lambda opcode, payload: answer
    pair.send()
    pair.run()
    assert pair.begun == [False]
    assert pair.receiver.reports == [StatusReport(GeneralCode.FAILURE, code, PROTOCOL_ID)]
    assert not pair.sender.is_busy


@pytest.mark.parametrize(
    ("opcode", "payload", "code"),
    [
        (Opcode.BLOCK_ACK, struct.pack("<I", 9), StatusCode.BAD_BLOCK_COUNTER),
        (Opcode.BLOCK_ACK, b"\0\0", StatusCode.BAD_MESSAGE_CONTENTS),
        (Opcode.BLOCK_ACK_EOF, COUNTER, StatusCode.UNEXPECTED_MESSAGE),
        (Opcode.SEND_ACCEPT, ACCEPT, StatusCode.UNEXPECTED_MESSAGE),
        (Opcode.BLOCK_QUERY, COUNTER, StatusCode.UNEXPECTED_MESSAGE),
    ],
)
def test_bdx_transfer_ends_on_invalid_block_ack(
    pair: Pair, opcode: int, payload: bytes, code: StatusCode
) -> None:
    def spoil(given: int, sent: bytes) -> tuple[int, int, bytes]:
        if given == Opcode.SEND_ACCEPT:
            return PROTOCOL_ID, given, sent
        return PROTOCOL_ID, opcode, payload

    pair.receiver.spoil = spoil
    pair.send()
    pair.run()
    assert pair.begun == [True]
    assert len(pair.receiver.blocks) == 1
    assert pair.receiver.reports == [StatusReport(GeneralCode.FAILURE, code, PROTOCOL_ID)]
    assert not pair.sender.is_busy


def test_bdx_late_end_of_exchange_keeps_next_transfer(pair: Pair) -> None:
    """The peer never acknowledges the report of its error."""
    pair.receiver.spoil = lambda opcode, payload: (PROTOCOL_ID, Opcode.BLOCK_QUERY, COUNTER)
    pair.send()
    (exchange,) = pair.session.exchanges.values()
    pair.run()
    assert not pair.sender.is_busy
    pair.receiver.accepts = False
    pair.send()
    assert isinstance(exchange, Exchange)
    assert exchange.handler is not None
    exchange.handler.on_closed(exchange, pair.network.now, True)
    assert pair.sender.is_busy
