import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import (
    EXCHANGE_INITIATOR,
    EXCHANGE_RELIABLE,
    Message,
    MessageHeader,
    decode_header,
    decode_message,
    encode_message,
    encode_nonce,
)
from evse_node.matter.messaging.session import SessionParameters, UnsecuredSession
from evse_node.matter.messaging.status_report import Opcode
from tests.support.fakes import MessageHost, Network, RecordingHandler, address, secure_pair
from tests.vectors import messages

HERE, THERE = address(1), address(2)


@pytest.mark.parametrize("row", messages.GROUP_MESSAGES, ids=lambda row: str(row[0]))
@pytest.mark.parametrize("size", [None, 8, 20])
def test_group_message_is_dropped_without_effect(row: tuple[str, ...], size: int | None) -> None:
    host = MessageHost(1)
    for protocol_id in (0, 1, 0x7D20):
        host.exchanges.register(protocol_id, lambda *_: pytest.fail("delivered"))
    for _ in range(2):
        host.receive_datagram(bytes.fromhex(row[4] or row[3])[:size], HERE, 5.0)
    assert host.layer.dropped == {"group message": 2}
    assert host.datagrams_to_send(5.0) == []
    assert host.get_timer() is None
    assert len(host.exchanges) == len(host.sessions) == 0
    assert not list(host.sessions.unsecured())


def unsecured(
    opcode: int,
    *,
    flags: int = EXCHANGE_INITIATOR | EXCHANGE_RELIABLE,
    source: int | None = 77,
    destination: int | None = None,
    protocol_id: int = 0,
    counter: int = 100,
    security: int = 0,
) -> bytes:
    header = MessageHeader(0, security, counter, source, destination)
    return header.encode() + encode_message(flags, opcode, 4, protocol_id, b"payload")


def test_unsecured_messages_are_exchanged() -> None:
    network = Network()
    initiator, responder = MessageHost(1), MessageHost(2)
    network.attach(HERE, initiator)
    network.attach(THERE, responder)
    seen: list[Message] = []
    inner = RecordingHandler(lambda exchange, message, now: exchange.close(now))

    def respond(exchange: Exchange, message: Message, now: float) -> None:
        seen.append(message)
        exchange.handler = inner
        exchange.send(0, Opcode.PBKDF_PARAM_RESPONSE, b"response", now=now)

    def go_on(exchange: Exchange, message: Message, now: float) -> None:
        exchange.send(0, Opcode.PASE_PAKE1, b"pake1", now=now)
        exchange.close(now)

    responder.exchanges.register(0, respond)
    session = initiator.sessions.open_unsecured(THERE, SessionParameters(), network.now)
    handler = RecordingHandler(go_on)
    exchange = initiator.exchanges.open(session, handler)
    exchange.send(0, Opcode.PBKDF_PARAM_REQUEST, b"request", now=network.now)
    network.run()
    assert [m.payload for m in seen] == [b"request"]
    assert [m.payload for m in handler.messages] == [b"response"]
    assert [m.payload for m in inner.messages] == [b"pake1"]
    assert len(initiator.exchanges) == len(responder.exchanges) == 0
    assert responder.layer.dropped == {}


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (unsecured(0x20, destination=5), "malformed"),
        (unsecured(0x20, source=None), "malformed"),
        (unsecured(0x20, protocol_id=1), "malformed"),
        (unsecured(0x00), "malformed"),
        (unsecured(0x20, security=0x80), "malformed"),
        (unsecured(0x20, security=0x40), "malformed"),
        (unsecured(0x22), "no session"),
        (unsecured(0x20, flags=0), "no session"),
        (unsecured(0x21, source=None, destination=5), "no session"),
        (b"", "malformed"),
        (bytes(7), "malformed"),
        (bytes.fromhex("00ffff0001000000") + bytes(30), "no session"),
        (bytes.fromhex("04ffff000100000001020304050607") + bytes(30), "no session"),
    ],
)
def test_invalid_unsecured_message_is_dropped(datagram: bytes, reason: str) -> None:
    host = MessageHost(1)
    host.exchanges.register(0, lambda exchange, message, now: pytest.fail("delivered"))
    host.receive_datagram(datagram, HERE, 0.0)
    assert host.layer.dropped == {reason: 1}
    assert host.sessions.find_unsecured(77, HERE) is None
    assert host.datagrams_to_send(0.0) == []


def test_flood_of_session_requests_keeps_tables_bounded() -> None:
    host = MessageHost(1)

    def hold(exchange: Exchange, message: Message, now: float) -> None:
        exchange.handler = RecordingHandler()
        exchange.expect_response(5.0, now)

    host.exchanges.register(0, hold)
    for number in range(500):
        host.receive_datagram(unsecured(0x20, source=number + 1), address(number), 0.0)
    assert len(host.sessions._unsecured) == 32
    assert len(host.exchanges) == 32
    assert host.layer.dropped == {"no session": 500 - 32}
    host.handle_timer(6.0)
    assert len(host.exchanges) == 0
    host.receive_datagram(unsecured(0x20, source=9999), address(1), 7.0)
    assert len(host.exchanges) == 1


def test_unacknowledging_unsecured_peers_do_not_lock_out_others() -> None:
    host = MessageHost(1)

    def refuse(exchange: Exchange, message: Message, now: float) -> None:
        exchange.send(0, Opcode.STATUS_REPORT, b"no", now=now)

    host.exchanges.register(0, refuse)
    for number in range(100):
        host.receive_datagram(unsecured(0x20, source=number + 1), address(number), 0.0)
    assert len(host.datagrams_to_send(0.0)) == 100
    assert host.layer.dropped == {}
    assert len(host.exchanges) == 32
    assert len(host.timers) == 32


def test_restarted_peer_with_lower_counter_is_accepted() -> None:
    host = MessageHost(1)
    seen: list[int] = []

    def respond(exchange: Exchange, message: Message, now: float) -> None:
        seen.append(message.counter)

    host.exchanges.register(0, respond)
    for counter in (100_000, 100_000, 50):
        host.receive_datagram(unsecured(0x20, counter=counter), HERE, 0.0)
    assert seen == [100_000, 50]
    session = host.sessions.find_unsecured(77, HERE)
    assert isinstance(session, UnsecuredSession)


def test_secured_header_with_node_ids_is_accepted() -> None:
    host, peer = MessageHost(1), MessageHost(2)
    seen: list[Message] = []
    host.exchanges.register(1, lambda exchange, message, now: seen.append(message))
    host_session, peer_session = secure_pair(host, HERE, peer, THERE, 0.0)
    header = MessageHeader(host_session.local_id, 0, 10, 0x2222, 0x1111).encode()
    sealed = peer_session._encrypt(
        encode_nonce(0, 10, 0x2222), encode_message(1, 2, 3, 1, b"x"), header
    )
    host.receive_datagram(header + sealed, THERE, 0.0)
    assert [m.payload for m in seen] == [b"x"]


@given(st.binary(max_size=80))
@settings(max_examples=300)
def test_random_datagrams_never_raise(raw: bytes) -> None:
    host = MessageHost(1)
    host.receive_datagram(raw, HERE, 0.0)
    assert "internal error" not in host.layer.dropped


@given(st.data())
@settings(max_examples=200)
def test_damaged_datagrams_leave_session_unchanged(data: st.DataObject) -> None:
    host, peer = MessageHost(1), MessageHost(2)
    host.exchanges.register(1, lambda exchange, message, now: pytest.fail("delivered"))
    session, peer_session = secure_pair(host, HERE, peer, THERE, 0.0)
    good = bytearray(peer_session.seal(encode_message(5, 2, 3, 1, b"payload"))[1])
    position = data.draw(st.integers(0, len(good) - 1))
    good[position] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(good)))
    host.receive_datagram(bytes(good), address(9), 50.0)
    host.receive_datagram(bytes(good[:cut]), address(9), 50.0)
    assert session.address == THERE
    assert session.active_at == 0.0
    assert host.datagrams_to_send(50.0) == []
    assert "internal error" not in host.layer.dropped


@given(st.binary(max_size=60))
@settings(max_examples=200)
def test_authentic_garbage_never_raises(plain: bytes) -> None:
    host, peer = MessageHost(1), MessageHost(2)
    host.exchanges.register(1, lambda exchange, message, now: None)
    _, peer_session = secure_pair(host, HERE, peer, THERE, 0.0)
    _, datagram = peer_session.seal(plain)
    host.receive_datagram(datagram, THERE, 0.0)
    host.receive_datagram(datagram, THERE, 0.0)
    assert "internal error" not in host.layer.dropped
    for answer, _ in host.datagrams_to_send(0.0):
        header = decode_header(answer)
        assert decode_message(peer_session.open(answer, header.counter)).opcode == 0x10
