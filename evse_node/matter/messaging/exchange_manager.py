"""The exchanges of a node: matching of messages, creation, limits.

Spec: Matter Core 1.3 "Message Exchanges", "Exchange Message Matching"
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from evse_node.errors import SessionError
from evse_node.matter.messaging.exchange import (
    Exchange,
    ExchangeHandler,
    Responder,
    Transmit,
)
from evse_node.matter.messaging.message import (
    EXCHANGE_INITIATOR,
    EXCHANGE_RELIABLE,
    PROTOCOL_SECURE_CHANNEL,
    Message,
    encode_message,
)
from evse_node.matter.messaging.mrp import backoff_s
from evse_node.matter.messaging.session import (
    UNSECURED_PARTY,
    SecureSession,
    Session,
)
from evse_node.matter.messaging.session_table import SessionTable
from evse_node.matter.messaging.status_report import CLOSE_SESSION, Opcode
from evse_node.matter.timers import Timers

MAX_EXCHANGES_PER_SESSION = 32
MAX_EXCHANGES_PER_PARTY = 64
"""Limit of exchanges opened by each fabric, and by all unsecured peers together."""

# Jitter is drawn for this many messages at once.
_JITTER_BYTES = 64


class ExchangeManager:
    """The exchanges of a node.

    `transmit` appends a (datagram, destination) to the outbox. `endings` are the bytes that
    end each message sent, by protocol.
    """

    def __init__(
        self,
        sessions: SessionTable,
        timers: Timers,
        random_bytes: Callable[[int], bytes],
        transmit: Transmit,
    ) -> None:
        self.sessions = sessions
        self.timers = timers
        self.transmit = transmit
        self.endings: dict[int, bytes] = {}
        self._random_bytes = random_bytes
        self._responders: dict[int, Responder] = {}
        self._next_id = int.from_bytes(random_bytes(2), "little")
        self._jitter = bytearray()
        self._count = 0
        # Exchanges opened by peers, by party.
        self._opened: Counter[int] = Counter()
        sessions.on_removed.append(self._on_session_removed)
        sessions.announce_close = self._announce_close

    def __len__(self) -> int:
        return self._count

    def register(self, protocol_id: int, responder: Responder, ending: bytes = b"") -> None:
        """Register the responder for messages of a protocol that open an exchange.

        `ending` is appended to each message sent of the protocol.
        """
        self._responders[protocol_id] = responder
        self.endings[protocol_id] = ending

    def open(self, session: Session, handler: ExchangeHandler) -> Exchange:
        """Open an exchange as initiator. Raises SessionError when the session accepts none."""
        if session.is_closing:
            raise SessionError("session is closing")
        exchanges = session.exchanges
        if len(exchanges) >= 2 * MAX_EXCHANGES_PER_SESSION:
            raise SessionError("session has too many exchanges")
        while True:
            exchange_id = self._next_id & 0xFFFF
            self._next_id = exchange_id + 1
            key = exchange_id << 1 | 1
            if key not in exchanges:
                break
        exchange = exchanges[key] = Exchange(self, session, exchange_id, True, handler)
        self._count += 1
        return exchange

    def receive(self, session: Session, message: Message, is_duplicate: bool, now: float) -> None:
        """Process a message that is authenticated by its session, or unsecured."""
        # The lowest bit of the key is this node's role: 1 for initiator.
        key = message.exchange_id << 1 | (not message.flags & EXCHANGE_INITIATOR)
        exchange = session.exchanges.get(key)
        if exchange is not None:
            exchange.receive(message, is_duplicate, now)
        elif not is_duplicate and self._may_open(session, message, now):
            party = session.party
            exchange = Exchange(self, session, message.exchange_id, False, None, party)
            session.exchanges[key] = exchange
            self._count += 1
            self._opened[party] += 1
            exchange.deliver_first(self._responders[message.protocol_id], message, now)
        elif message.flags & EXCHANGE_RELIABLE:
            # An ephemeral exchange only acknowledges. That includes messages beyond the
            # limits: retransmitted, they would be duplicates and not be delivered either.
            self.send_ack(
                session,
                message.exchange_id,
                not message.flags & EXCHANGE_INITIATOR,
                message.counter,
            )

    def send_ack(
        self, session: Session, exchange_id: int, is_initiator: bool, counter: int
    ) -> None:
        """Send a standalone acknowledgement of a message.

        Spec: Matter Core 1.3 "Standalone acknowledgement"
        """
        flags = EXCHANGE_INITIATOR if is_initiator else 0
        message = encode_message(
            flags, Opcode.STANDALONE_ACK, exchange_id, PROTOCOL_SECURE_CHANNEL, b"", counter
        )
        # A session without counters left cannot send.
        with suppress(SessionError):
            self.transmit((session.seal(message)[1], session.address))

    # For exchanges.

    def retry_delay_s(self, session: Session, transmission: int, now: float) -> float:
        """Return the time until the next retransmission, in seconds."""
        if not self._jitter:
            self._jitter += self._random_bytes(_JITTER_BYTES)
        fraction = self._jitter.pop() / 255
        return backoff_s(session.retry_interval_ms(now), transmission, fraction)

    def remove(self, exchange: Exchange, now: float) -> None:
        """Remove an exchange that has ended from its session."""
        session = exchange.session
        if session.exchanges.pop(exchange.id << 1 | exchange.is_initiator, None) is None:
            return
        self._count -= 1
        if exchange.party is not None:
            self._opened[exchange.party] -= 1
        if session.is_closing and not session.exchanges and isinstance(session, SecureSession):
            self.sessions.remove(session, now)

    def _may_open(self, session: Session, message: Message, now: float) -> bool:
        return bool(
            message.flags & EXCHANGE_INITIATOR
            and message.protocol_id in self._responders
            and not (not message.protocol_id and message.opcode == Opcode.STANDALONE_ACK)
            and not session.is_closing
            and len(session.exchanges) < MAX_EXCHANGES_PER_SESSION
            and (
                self._opened[session.party] < MAX_EXCHANGES_PER_PARTY
                or self._end_one_unsecured(session, now)
            )
        )

    def _end_one_unsecured(self, session: Session, now: float) -> bool:
        """Make room for an unsecured peer; return whether there was an exchange to end.

        The oldest that only waits for an acknowledgement is ended, so that peers which never
        acknowledge a rejection cannot lock out others.
        """
        if session.party != UNSECURED_PARTY:
            return False
        for unsecured in self.sessions.unsecured():
            for exchange in unsecured.exchanges.values():
                if not exchange.is_open:
                    exchange.end(now, failed=True)
                    return True
        return False

    def _on_session_removed(self, session: SecureSession, now: float) -> None:
        for exchange in list(session.exchanges.values()):
            exchange.end(now, failed=False)

    def _announce_close(self, session: SecureSession, now: float) -> None:
        exchange_id = self._next_id & 0xFFFF
        self._next_id = exchange_id + 1
        report = encode_message(
            EXCHANGE_INITIATOR,
            Opcode.STATUS_REPORT,
            exchange_id,
            PROTOCOL_SECURE_CHANNEL,
            CLOSE_SESSION,
        )
        # A session without counters left can still be removed.
        with suppress(SessionError):
            self.transmit((session.seal(report)[1], session.address))
