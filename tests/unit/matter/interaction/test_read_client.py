from __future__ import annotations

import pytest

from evse_node.errors import SessionError
from evse_node.matter.data_model import AttributePath
from evse_node.matter.interaction.encoding import message_end
from evse_node.matter.interaction.messages import Opcode, decode_read_request
from evse_node.matter.interaction.read_client import ReadClient, Values, encode_read_request
from evse_node.matter.messaging.message import PROTOCOL_INTERACTION_MODEL
from evse_node.matter.tlv import TlvList, TlvValue, encode
from tests.support.fakes import MessageHost, Network, RecordingHandler, address, secure_pair
from tests.support.matter.interaction_host import Client, InteractionHost
from tests.support.matter.sample_cluster import CLUSTER, LEVEL

PATHS = (AttributePath(1, CLUSTER, LEVEL), AttributePath(1, CLUSTER, 0xFFFD))


class Reader:
    """A client that reads from an interaction model."""

    def __init__(self) -> None:
        self.network = Network()
        self.host = InteractionHost(self.network)
        self.client = Client(self.host)
        self.client.exchanges.endings[PROTOCOL_INTERACTION_MODEL] = message_end(11)
        self.answers: list[Values | None] = []

    def read(self, *paths: AttributePath) -> Values | None:
        ReadClient(lambda values, now: self.answers.append(values)).start(
            self.client.exchanges, self.client.session, paths, self.network.now
        )
        self.network.run(1)
        return self.answers.pop()


def test_read_returns_values_of_a_node() -> None:
    reader = Reader()
    reader.host.samples[1].level = 7
    assert reader.read(*PATHS) == {PATHS[0]: 7, PATHS[1]: 1}
    assert not reader.client.session.exchanges
    assert not reader.answers


def test_missing_attribute_is_left_out() -> None:
    reader = Reader()
    nothing = AttributePath(1, CLUSTER, 0x777)
    assert reader.read(nothing, PATHS[1]) == {PATHS[1]: 1}


def test_read_request_is_encoded() -> None:
    request = decode_read_request(encode_read_request(PATHS) + message_end(11))
    assert request.fabric_filtered
    assert [tuple(path)[:3] for path in request.attributes] == [tuple(path) for path in PATHS]


class Peer:
    """A peer that answers a read with given messages."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.network = Network()
        self.node, self.peer = MessageHost(1), MessageHost(2)
        self.network.attach(address(1), self.node)
        self.network.attach(address(2), self.peer)
        self.session, self.peer_session = secure_pair(
            self.node, address(1), self.peer, address(2), self.network.now
        )
        self.answers = list(answers)
        self.handler = RecordingHandler(lambda exchange, message, now: self.answer(exchange, now))
        self.peer.exchanges.register(
            PROTOCOL_INTERACTION_MODEL, lambda exchange, message, now: self.answer(exchange, now)
        )
        self.seen: list[Values | None] = []
        ReadClient(lambda values, now: self.seen.append(values)).start(
            self.node.exchanges, self.session, PATHS, self.network.now
        )

    def answer(self, exchange: object, now: float) -> None:
        exchange.handler = self.handler  # type: ignore[attr-defined]
        if self.answers:
            opcode, payload = self.answers.pop(0)
            exchange.send(PROTOCOL_INTERACTION_MODEL, opcode, payload, now=now)  # type: ignore[attr-defined]


def report(*reports: TlvValue, more: bool = False, suppress: bool = False) -> tuple[int, bytes]:
    members: dict[object, TlvValue] = {1: list(reports), 3: more, 4: suppress, 0xFF: 11}
    return Opcode.REPORT_DATA, encode(members)  # type: ignore[arg-type]


def data(value: TlvValue, path: AttributePath = PATHS[0]) -> TlvValue:
    return {1: {0: 1, 1: TlvList(list(zip((2, 3, 4), path, strict=True))), 2: value}}


@pytest.mark.parametrize("suppress", [True, False])
def test_report_in_several_messages_is_joined(suppress: bool) -> None:
    peer = Peer(report(data(1), more=True), report(data(2, PATHS[1]), suppress=suppress))
    peer.network.run(5)
    assert peer.seen == [{PATHS[0]: 1, PATHS[1]: 2}]
    assert len(peer.handler.messages) == (1 if suppress else 2)


@pytest.mark.parametrize(
    "answer",
    [
        (Opcode.STATUS_RESPONSE, encode({0: 0x80, 0xFF: 11})),
        (Opcode.SUBSCRIBE_RESPONSE, encode({0: 1, 2: 1, 0xFF: 11})),
        (Opcode.REPORT_DATA, b"\x16"),
        (Opcode.REPORT_DATA, encode({1: 3})),
        report({1: {0: 1, 2: 3}}),
        report({1: {0: 1, 1: TlvList([(2, 1), (3, CLUSTER), (4, 0)])}}),
        report({1: {0: 1, 1: TlvList([(2, 1), (3, CLUSTER)]), 2: 4}}),
    ],
)
def test_invalid_report_fails_the_read(answer: tuple[int, bytes]) -> None:
    peer = Peer(answer)
    peer.network.run(5)
    assert peer.seen == [None]
    assert not peer.session.exchanges or all(
        not exchange.is_open for exchange in peer.session.exchanges.values()
    )


def test_report_of_too_many_messages_fails_the_read() -> None:
    peer = Peer(*[report(data(1), more=True)] * 20)
    peer.network.run(20)
    assert peer.seen == [None]


def test_read_fails_without_response() -> None:
    peer = Peer()
    peer.network.run(60)
    assert peer.seen == [None]


def test_closing_session_raises_session_error() -> None:
    peer = Peer()
    peer.session.is_closing = True
    with pytest.raises(SessionError):
        ReadClient(lambda values, now: None).start(peer.node.exchanges, peer.session, PATHS, 0.0)
