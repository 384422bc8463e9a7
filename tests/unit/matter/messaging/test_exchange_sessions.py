"""Exchanges and their sessions: what ends with a session, and how many there may be."""

import pytest

from evse_node.errors import SessionError
from evse_node.matter.data_model import AuthMode
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.exchange_manager import (
    MAX_EXCHANGES_PER_PARTY,
    MAX_EXCHANGES_PER_SESSION,
)
from evse_node.matter.messaging.message import (
    EXCHANGE_INITIATOR,
    Message,
)
from evse_node.matter.messaging.status_report import CLOSE_SESSION, Opcode
from tests.support.fakes import RecordingHandler, address, secure_pair
from tests.support.matter.exchange_pair import ANSWER, HERE, PROTOCOL, REQUEST, THERE, Pair


def test_message_from_peer_revives_defunct_session() -> None:
    pair = Pair()
    pair.b_session.is_defunct = True
    pair.request(RecordingHandler())
    pair.network.run()
    assert not pair.b_session.is_defunct


def test_fresh_message_updates_session_address() -> None:
    pair = Pair()
    pair.network.attach(address(3), pair.a)
    pair.request(RecordingHandler())
    ((datagram, _),) = pair.a.datagrams_to_send(pair.network.now)
    pair.b.receive_datagram(datagram, address(3), pair.network.now)
    assert pair.b_session.address == address(3)


def test_removing_a_session_ends_its_exchanges() -> None:
    pair = Pair()
    handler = RecordingHandler()
    exchange = pair.request(handler)
    pair.a.sessions.remove(pair.a_session, pair.network.now, announce=True)
    assert handler.closed == [False]
    assert len(pair.a.exchanges) == 0
    assert pair.a.get_timer() is None
    with pytest.raises(SessionError):
        pair.a.exchanges.open(pair.a_session, handler)
    exchange.close(pair.network.now)
    pair.network.collect()
    report = pair.sent_by_a()[-1]
    assert report.opcode == Opcode.STATUS_REPORT
    assert report.payload == CLOSE_SESSION
    assert report.flags == EXCHANGE_INITIATOR


def test_expiring_session_responds_and_is_removed() -> None:
    pair = Pair()

    def respond(exchange: Exchange, message: Message, now: float) -> None:
        pair.b.sessions.expire(pair.b_session, now)
        exchange.send(PROTOCOL, ANSWER, b"bye", now=now)

    pair.b.exchanges.register(PROTOCOL, respond)
    handler = RecordingHandler(lambda exchange, message, now: exchange.close(now))
    pair.request(handler)
    pair.network.run()
    assert [m.payload for m in handler.messages] == [b"bye"]
    assert len(pair.b.sessions) == 0
    pair.request(RecordingHandler())
    pair.network.run()
    assert pair.b.layer.dropped == {"no session": 1}


def test_expiring_session_stays_until_its_last_exchange_ends() -> None:
    pair = Pair()
    handlers = [RecordingHandler(), RecordingHandler()]
    first, second = (pair.request(handler) for handler in handlers)
    pair.network.run()
    pair.a.sessions.expire(pair.a_session, pair.network.now)
    first.close(pair.network.now)
    assert len(pair.a.sessions) == 1
    second.close(pair.network.now)
    assert len(pair.a.sessions) == 0
    assert handlers[1].closed == []


def test_expiring_session_accepts_no_new_exchange() -> None:
    pair = Pair()
    pair.b_handler = RecordingHandler()
    pair.request(RecordingHandler())
    pair.network.run()
    pair.b.sessions.expire(pair.b_session, pair.network.now)
    assert len(pair.b.sessions) == 1
    pair.request(RecordingHandler())
    pair.network.run()
    assert len(pair.requests) == 1
    with pytest.raises(SessionError):
        pair.b.exchanges.open(pair.b_session, RecordingHandler())


def test_exchanges_of_one_session_are_limited() -> None:
    pair = Pair()
    pair.answers = False
    pair.b_handler = RecordingHandler()
    handler = RecordingHandler()
    for _ in range(MAX_EXCHANGES_PER_SESSION + 3):
        pair.request(handler)
    pair.network.run(0.25)
    assert len(pair.requests) == MAX_EXCHANGES_PER_SESSION
    assert len(pair.b.exchanges) == MAX_EXCHANGES_PER_SESSION
    assert len(pair.sent_by_b()) == MAX_EXCHANGES_PER_SESSION + 3
    for exchange in pair.exchanges_of_b():
        exchange.close(pair.network.now)
    pair.request(handler)
    pair.network.run()
    assert len(pair.requests) == MAX_EXCHANGES_PER_SESSION + 1


def test_own_exchanges_of_one_session_are_limited() -> None:
    pair = Pair()
    for _ in range(2 * MAX_EXCHANGES_PER_SESSION):
        pair.a.exchanges.open(pair.a_session, RecordingHandler())
    with pytest.raises(SessionError):
        pair.a.exchanges.open(pair.a_session, RecordingHandler())


def test_exchanges_are_limited_per_fabric() -> None:
    pair = Pair()
    pair.answers = False
    pair.b_handler = RecordingHandler()

    def request_with_sessions(fabric_index: int) -> None:
        per_session = MAX_EXCHANGES_PER_SESSION - 2
        for number in range(MAX_EXCHANGES_PER_PARTY // per_session + 2):
            a_session, _ = secure_pair(
                *(pair.a, HERE, pair.b, THERE, pair.network.now),
                fabric_index=fabric_index,
                node_ids=(number, number),
            )
            for _ in range(per_session):
                exchange = pair.a.exchanges.open(a_session, RecordingHandler())
                exchange.send(PROTOCOL, REQUEST, b"", now=pair.network.now, reliable=False)
        pair.network.run()

    request_with_sessions(2)
    assert len(pair.b.exchanges) == MAX_EXCHANGES_PER_PARTY
    request_with_sessions(3)
    assert len(pair.b.exchanges) == 2 * MAX_EXCHANGES_PER_PARTY
    for session in list(pair.b.sessions):
        pair.b.sessions.remove(session, pair.network.now)
    assert len(pair.b.exchanges) == 0
    request_with_sessions(2)
    assert len(pair.b.exchanges) == MAX_EXCHANGES_PER_PARTY


def test_session_without_counters_sends_nothing_and_is_removed() -> None:
    pair = Pair()
    exchange = pair.request(RecordingHandler())
    pair.b_session._next_counter = 1 << 32
    pair.network.run(200)
    assert not pair.sent_by_b()
    assert exchange not in pair.a_session.exchanges.values()
    assert pair.b_session not in list(pair.b.sessions)


def test_both_sides_may_use_the_same_exchange_id() -> None:
    pair = Pair()
    pair.a.exchanges._next_id = pair.b.exchanges._next_id = 500
    pair.a.exchanges.register(PROTOCOL, pair.respond)
    to_b, to_a = RecordingHandler(), RecordingHandler()
    one = pair.request(to_b, b"to b")
    other = pair.b.exchanges.open(pair.b_session, to_a)
    other.send(PROTOCOL, REQUEST, b"to a", now=pair.network.now)
    assert one.id == other.id == 500
    pair.network.run()
    assert [m.payload for m in to_b.messages] == [b"to b"]
    assert [m.payload for m in to_a.messages] == [b"to a"]


def test_pase_sessions_have_no_node_ids() -> None:
    pair = Pair()
    pair.a_session, pair.b_session = secure_pair(
        pair.a, HERE, pair.b, THERE, pair.network.now, auth_mode=AuthMode.PASE, fabric_index=0
    )
    handler = RecordingHandler()
    pair.request(handler)
    pair.network.run()
    assert len(handler.messages) == 1
