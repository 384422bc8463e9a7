"""Exchanges: acknowledgements, repetitions and ends."""

import itertools
import random
from collections import Counter
from collections.abc import Callable

import pytest

from evse_node.errors import SessionError
from evse_node.matter.messaging.exchange import LAST_ACK_TIMEOUT_S, Exchange
from evse_node.matter.messaging.message import (
    EXCHANGE_ACK,
    EXCHANGE_INITIATOR,
    EXCHANGE_RELIABLE,
    Message,
    decode_header,
    decode_message,
    encode_message,
)
from evse_node.matter.messaging.mrp import MAX_TRANSMISSIONS
from evse_node.matter.messaging.session import Address, SessionParameters
from evse_node.matter.messaging.status_report import Opcode
from tests.support.fakes import Network, RecordingHandler, address, secure_pair
from tests.support.matter.exchange_pair import (
    ANSWER,
    FINAL,
    HERE,
    PROTOCOL,
    REQUEST,
    THERE,
    Pair,
    kinds,
)


def test_response_in_same_turn_carries_acknowledgement() -> None:
    pair = Pair()
    handler = RecordingHandler(lambda exchange, message, now: exchange.close(now))
    pair.request(handler)
    pair.network.run()
    assert [m.payload for m in handler.messages] == [b"ping"]
    assert kinds(pair.sent_by_a()) == [
        (REQUEST, True, False),
        (Opcode.STANDALONE_ACK, False, True),
    ]
    assert kinds(pair.sent_by_b()) == [(ANSWER, True, True)]
    request, ack = pair.sent_by_a()
    answer = pair.sent_by_b()[0]
    assert answer.acknowledged == request.counter
    assert ack.acknowledged == answer.counter
    assert (request.flags, answer.flags, ack.flags) == (
        EXCHANGE_INITIATOR | EXCHANGE_RELIABLE,
        EXCHANGE_ACK | EXCHANGE_RELIABLE,
        EXCHANGE_INITIATOR | EXCHANGE_ACK,
    )
    assert len(pair.a.exchanges) == len(pair.b.exchanges) == 0
    assert not pair.a_session.exchanges
    assert not pair.b_session.exchanges
    assert pair.a.get_timer() is None
    assert pair.b.get_timer() is None


def test_late_response_follows_standalone_acknowledgement() -> None:
    pair = Pair()
    pair.answers = False
    pair.b_handler = RecordingHandler()
    pair.request(RecordingHandler())
    start = pair.network.now
    pair.network.run(0.15)
    assert pair.sent_by_b() == []
    pair.network.run(0.1)
    assert kinds(pair.sent_by_b()) == [(Opcode.STANDALONE_ACK, False, True)]
    acked_at = next(when for when, _, origin, _ in pair.network.log if origin == THERE)
    assert acked_at - start == pytest.approx(0.201)
    exchange = pair.exchanges_of_b()[0]
    exchange.send(PROTOCOL, ANSWER, b"", now=pair.network.now)
    pair.network.run()
    assert kinds(pair.sent_by_b())[1] == (ANSWER, True, False)


def test_response_within_200_ms_carries_acknowledgement() -> None:
    pair = Pair()
    pair.answers = False
    pair.b_handler = RecordingHandler()
    pair.request(RecordingHandler())
    pair.network.run(0.15)
    exchange = pair.exchanges_of_b()[0]
    exchange.send(PROTOCOL, ANSWER, b"", now=pair.network.now)
    pair.network.run(0.1)
    assert kinds(pair.sent_by_b()) == [(ANSWER, True, True)]


def test_unreliable_message_is_not_acknowledged() -> None:
    pair = Pair()
    pair.b_handler = RecordingHandler()
    exchange = pair.a.exchanges.open(pair.a_session, RecordingHandler())
    for payload in (b"one", b"two"):
        exchange.send(PROTOCOL, REQUEST, payload, now=pair.network.now, reliable=False)
    pair.network.run(1.0)
    assert [m.payload for m in pair.requests] == [b"one"]
    assert [m.payload for m in pair.b_handler.messages] == [b"two"]
    assert kinds(pair.sent_by_b()) == [(ANSWER, True, False)]


def test_exchange_without_handler_is_closed_and_acknowledged_at_once() -> None:
    pair = Pair()
    pair.answers = False
    handler = RecordingHandler()
    exchange = pair.request(handler)
    pair.network.run()
    assert kinds(pair.sent_by_b()) == [(Opcode.STANDALONE_ACK, False, True)]
    assert len(pair.b.exchanges) == 0
    assert handler.messages == []
    exchange.close(pair.network.now)
    assert len(pair.a.exchanges) == 0


def test_unacknowledged_message_is_sent_five_times_with_backoff() -> None:
    pair = Pair(drop=1.0)
    handler = RecordingHandler()
    exchange = pair.request(handler)
    start = pair.network.now
    pair.network.run(20.0)
    assert handler.closed == [True]
    times = [when - start for when, _, _, _ in pair.network.log]
    assert len(times) == 5
    assert len({data for _, data, _, _ in pair.network.log}) == 1
    waits = [after - before for before, after in itertools.pairwise(times)]
    for wait, least in zip(waits, [0.33, 0.33, 0.528, 0.8448], strict=True):
        assert least <= wait <= least * 1.25
    assert pair.a_session.is_defunct
    assert len(pair.a.exchanges) == 0
    with pytest.raises(SessionError):
        exchange.send(PROTOCOL, REQUEST, b"", now=pair.network.now)
    exchange.close(pair.network.now)


def test_retransmission_to_idle_peer_uses_idle_interval() -> None:
    pair = Pair(drop=1.0)
    pair.a_session.parameters = SessionParameters(idle_interval_ms=5000)
    pair.network.now += 10.0
    pair.request(RecordingHandler())
    pair.network.run(5.4)
    assert len(pair.network.log) == 1
    pair.network.run(1.5)
    assert len(pair.network.log) == 2


def test_lost_response_is_retransmitted_and_request_handled_once() -> None:
    pair = Pair()
    lost = iter([True, False])
    pair.network.lost = lambda data, source, to: source == THERE and next(lost, False)
    handler = RecordingHandler(lambda exchange, message, now: exchange.close(now))
    pair.request(handler)
    pair.network.run(3.0)
    assert len(pair.requests) == 1
    assert len(handler.messages) == 1
    assert handler.closed == []
    assert len(pair.a.exchanges) == len(pair.b.exchanges) == 0


def test_duplicate_is_acknowledged_and_not_delivered() -> None:
    pair = Pair()
    exchange = pair.request(RecordingHandler())
    pair.network.run()
    request = pair.network.log[0][1]
    before = len(pair.sent_by_b())
    pair.b.receive_datagram(request, HERE, pair.network.now)
    pair.network.collect()
    again = pair.sent_by_b()[before:]
    assert kinds(again) == [(Opcode.STANDALONE_ACK, False, True)]
    assert again[0].exchange_id == exchange.id
    assert len(pair.requests) == 1


def test_duplicate_after_the_exchange_has_ended_is_acknowledged() -> None:
    pair = Pair()
    pair.answers = False
    pair.request(RecordingHandler()).close(pair.network.now)
    pair.network.run()
    assert len(pair.b.exchanges) == 0
    pair.b.receive_datagram(pair.network.log[0][1], address(99), pair.network.now)
    ((datagram, destination),) = pair.b.datagrams_to_send(pair.network.now)
    header = decode_header(datagram)
    ack = decode_message(pair.a_session.open(datagram, header.counter))
    assert ack.opcode == Opcode.STANDALONE_ACK
    # A repeated message does not move the session to another address.
    assert destination == HERE
    assert len(pair.b.exchanges) == 0


@pytest.mark.parametrize(
    ("flags", "protocol"),
    [(EXCHANGE_INITIATOR, 0x77), (0, PROTOCOL)],
    ids=["protocol without handler", "response without exchange"],
)
@pytest.mark.parametrize("reliable", [True, False])
def test_unmatched_message_is_only_acknowledged(flags: int, protocol: int, reliable: bool) -> None:
    pair = Pair()
    flags |= EXCHANGE_RELIABLE if reliable else 0
    _, datagram = pair.a_session.seal(encode_message(flags, 9, 55, protocol, b""))
    pair.b.receive_datagram(datagram, HERE, pair.network.now)
    pair.network.collect()
    sent = pair.sent_by_b()
    assert kinds(sent) == ([(Opcode.STANDALONE_ACK, False, True)] if reliable else [])
    if reliable:
        assert sent[0].exchange_id == 55
        assert sent[0].flags & EXCHANGE_INITIATOR == (not flags & EXCHANGE_INITIATOR)
    assert pair.requests == []
    assert len(pair.b.exchanges) == 0


def test_acknowledgement_of_other_message_is_ignored() -> None:
    pair = Pair()
    pair.answers = False
    pair.b_handler = RecordingHandler()
    exchange = pair.request(RecordingHandler())
    (datagram, _), *_ = pair.a.datagrams_to_send(pair.network.now)
    wrong = encode_message(0, Opcode.STANDALONE_ACK, exchange.id, 0, b"", 12345)
    pair.a.receive_datagram(pair.b_session.seal(wrong)[1], THERE, pair.network.now)
    later = pair.network.now + 1
    pair.a.handle_timer(later)
    assert [data for data, _ in pair.a.datagrams_to_send(later)] == [datagram]
    right = decode_header(datagram).counter
    ack = encode_message(0, Opcode.STANDALONE_ACK, exchange.id, 0, b"", right)
    pair.a.receive_datagram(pair.b_session.seal(ack)[1], THERE, later)
    pair.a.handle_timer(later + 100)
    assert not pair.a.datagrams_to_send(later + 100)
    assert pair.a.get_timer() is None


def test_close_waits_for_the_acknowledgement_of_the_last_message() -> None:
    pair = Pair()
    pair.network.lost = lambda data, source, to: source == HERE and pair.network.now < 1000.3
    pair.answers = False
    handler = RecordingHandler()
    pair.request(handler).close(pair.network.now)
    assert len(pair.a.exchanges) == 1
    pair.network.run(2.0)
    assert len(pair.requests) == 1
    assert len(pair.a.exchanges) == 0
    assert handler.closed == []


def test_owner_is_notified_when_last_message_is_not_acknowledged() -> None:
    pair = Pair(drop=1.0)
    handler = RecordingHandler()
    pair.request(handler).close(pair.network.now)
    pair.network.run(20.0)
    assert handler.closed == [True]


def test_message_on_a_closing_exchange_is_acknowledged_and_not_delivered() -> None:
    pair = Pair()
    handler = RecordingHandler()
    exchange = pair.request(handler)
    exchange.close(pair.network.now)
    pair.network.run()
    assert handler.messages == []
    assert kinds(pair.sent_by_a()) == [
        (REQUEST, True, False),
        (Opcode.STANDALONE_ACK, False, True),
    ]
    assert len(pair.a.exchanges) == len(pair.b.exchanges) == 0


def test_second_reliable_message_flushes_the_first_acknowledgement() -> None:
    pair = Pair()
    pair.answers = False
    pair.b_handler = RecordingHandler()
    exchange = pair.request(RecordingHandler())
    exchange.send(PROTOCOL, REQUEST, b"two", now=pair.network.now)
    pair.network.run()
    first, second = pair.sent_by_a()
    acks = pair.sent_by_b()
    assert [m.acknowledged for m in acks] == [first.counter]
    pair.network.run(0.3)
    assert [m.acknowledged for m in pair.sent_by_b()] == [first.counter, second.counter]
    assert [m.payload for m in pair.b_handler.messages] == [b"two"]


def test_response_timeout_ends_the_exchange() -> None:
    pair = Pair()
    pair.answers = False
    pair.b_handler = RecordingHandler()
    handler = RecordingHandler()
    exchange = pair.request(handler)
    exchange.expect_response(1.0, pair.network.now)
    pair.network.run(0.9)
    assert handler.closed == []
    pair.network.run(0.2)
    assert handler.closed == [True]
    assert not exchange.is_open


def test_response_stops_response_timeout() -> None:
    pair = Pair()
    handler = RecordingHandler()
    exchange = pair.request(handler)
    exchange.expect_response(1.0, pair.network.now)
    pair.network.run(2.0)
    assert len(handler.messages) == 1
    assert handler.closed == []
    exchange.close(pair.network.now)


def test_reliable_message_replaces_unacknowledged_one() -> None:
    pair = Pair(drop=1.0)
    exchange = pair.request(RecordingHandler(), b"one")
    pair.network.run(0.2)
    exchange.send(PROTOCOL, REQUEST, b"two", now=pair.network.now)
    start = pair.network.now
    pair.network.run(20.0)
    assert [m.payload for m in pair.sent_by_a()] == [b"one"] + 5 * [b"two"]
    second = [when for when, *_ in pair.network.log][2]
    assert second - start >= 0.33


def test_response_timeout_flushes_acknowledgement() -> None:
    pair = Pair()
    pair.answers = False
    pair.b_handler = RecordingHandler()
    pair.request(RecordingHandler())
    pair.network.run(0.05)
    exchange = pair.exchanges_of_b()[0]
    exchange.expect_response(0.05, pair.network.now)
    pair.network.run(0.1)
    assert pair.b_handler.closed == [True]
    assert kinds(pair.sent_by_b()) == [(Opcode.STANDALONE_ACK, False, True)]


def test_last_message_is_given_up_after_limit() -> None:
    pair = Pair()
    lazy = SessionParameters(idle_interval_ms=3_600_000, active_interval_ms=3_600_000)
    _, session = secure_pair(
        pair.a, HERE, pair.b, THERE, pair.network.now, node_ids=(7, 8), parameters=lazy
    )
    handler = RecordingHandler()
    exchange = pair.b.exchanges.open(session, handler)
    exchange.send(PROTOCOL, REQUEST, b"", now=pair.network.now)
    pair.b.datagrams_to_send(pair.network.now)
    exchange.close(pair.network.now)
    pair.b.handle_timer(pair.network.now + LAST_ACK_TIMEOUT_S - 1)
    assert len(pair.b.exchanges) == 1
    pair.b.handle_timer(pair.network.now + LAST_ACK_TIMEOUT_S)
    assert len(pair.b.exchanges) == 0
    assert handler.closed == [True]
    assert session.is_defunct


def test_error_in_a_handler_closes_the_exchange_and_is_counted() -> None:
    pair = Pair()

    def fail(exchange: Exchange, message: Message, now: float) -> None:
        raise SessionError("handler")

    pair.b_handler = RecordingHandler(fail)
    pair.answers = True
    exchange = pair.request(RecordingHandler())
    pair.network.run()
    assert len(pair.b.exchanges) == 1
    exchange.send(PROTOCOL, FINAL, b"", now=pair.network.now)
    pair.network.run()
    assert pair.b.layer.dropped == {"no session": 1}
    assert len(pair.b.exchanges) == 0
    assert pair.sent_by_b()[-1].acknowledged == pair.sent_by_a()[-1].counter


def test_error_in_responder_does_not_leave_receive_datagram(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pair = Pair()

    def fail(exchange: Exchange, message: Message, now: float) -> None:
        raise ZeroDivisionError

    pair.b.exchanges.register(PROTOCOL, fail)
    pair.request(RecordingHandler())
    pair.network.run()
    assert pair.b.layer.dropped == {"internal error": 1}
    assert len(pair.b.exchanges) == 0
    assert "ZeroDivisionError" in caplog.text


def lose_some(seed: int) -> Callable[[bytes, Address, Address], bool]:
    """Lose three datagrams of ten, but none so often that its sender gives up."""
    losses: Counter[bytes] = Counter()
    draw = random.Random(seed).random

    def lost(data: bytes, source: Address, destination: Address) -> bool:
        is_lost = draw() < 0.3 and losses[data] < MAX_TRANSMISSIONS // 2
        losses[data] += is_lost
        return is_lost

    return lost


@pytest.mark.parametrize("seed", range(8))
def test_every_request_is_answered_once_on_lossy_network(seed: int) -> None:
    pair = Pair()
    network = Network(seed, repeat=0.2, reorder=0.3, latency_s=0.005)
    network.lost = lose_some(seed)
    network.attach(HERE, pair.a)
    network.attach(THERE, pair.b)
    pair.network = network
    handlers = []
    for number in range(20):
        handler = RecordingHandler(lambda exchange, message, now: exchange.close(now))
        handlers.append(handler)
        pair.request(handler, bytes((number,)))
        # Not faster: what is repeated when 32 later ones are there counts as a duplicate.
        network.run(0.3)
    network.run(30.0)
    assert sorted(request.payload[0] for request in pair.requests) == list(range(20))
    answers = [[m.payload[0] for m in handler.messages] for handler in handlers]
    assert answers == [[number] for number in range(20)]
    assert len(pair.a.exchanges) == len(pair.b.exchanges) == 0
    assert pair.a.get_timer() is None
    assert pair.b.get_timer() is None
