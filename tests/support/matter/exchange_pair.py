"""Two hosts with a secure session between them, for the tests of exchanges."""

from __future__ import annotations

from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import (
    EXCHANGE_RELIABLE,
    Message,
    decode_header,
    decode_message,
)
from evse_node.matter.messaging.session import SecureSession
from tests.support.fakes import MessageHost, Network, RecordingHandler, address, secure_pair

HERE, THERE = address(1), address(2)
PROTOCOL = 1
REQUEST, ANSWER, FINAL = 2, 5, 1


class Pair:
    """Two hosts with a secure session; `b` answers requests through `responder`."""

    def __init__(self, **network: float) -> None:
        self.network = Network(7, **network)
        self.a, self.b = MessageHost(1), MessageHost(2)
        self.network.attach(HERE, self.a)
        self.network.attach(THERE, self.b)
        self.a_session, self.b_session = secure_pair(self.a, HERE, self.b, THERE, self.network.now)
        self.requests: list[Message] = []
        self.b_handler: RecordingHandler | None = None
        self.answers = True
        self.b.exchanges.register(PROTOCOL, self.respond)

    def respond(self, exchange: Exchange, message: Message, now: float) -> None:
        self.requests.append(message)
        exchange.handler = self.b_handler
        if self.answers:
            exchange.send(PROTOCOL, ANSWER, message.payload, now=now)

    def exchanges_of_b(self) -> list[Exchange]:
        """Return the exchanges of b's session."""
        exchanges: list[Exchange] = []
        for exchange in self.b_session.exchanges.values():
            assert isinstance(exchange, Exchange)
            exchanges.append(exchange)
        return exchanges

    def request(self, handler: RecordingHandler, payload: bytes = b"ping") -> Exchange:
        exchange = self.a.exchanges.open(self.a_session, handler)
        exchange.send(PROTOCOL, REQUEST, payload, now=self.network.now)
        return exchange

    def sent(self, session: SecureSession, source: object) -> list[Message]:
        """Return what one side sent, decrypted with the session of the receiver."""
        found = []
        for _, data, origin, _ in self.network.log:
            if origin == source:
                header = decode_header(data)
                found.append(decode_message(session.open(data, header.counter), header.counter))
        return found

    def sent_by_a(self) -> list[Message]:
        return self.sent(self.b_session, HERE)

    def sent_by_b(self) -> list[Message]:
        return self.sent(self.a_session, THERE)


def kinds(sent: list[Message]) -> list[tuple[int, bool, bool]]:
    return [(m.opcode, bool(m.flags & EXCHANGE_RELIABLE), m.acknowledged is not None) for m in sent]
