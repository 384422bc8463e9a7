"""Exchanges: conversations within a session, with reliable delivery.

An exchange acknowledges what it receives: on the answer, if one is sent in the same
turn or within 200 ms, with a message of its own otherwise. It sends a reliable message
again until that is acknowledged or the peer is taken for gone.

Spec: Matter Core 1.3 "Message Exchanges", "Message Reliability Protocol (MRP)"
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Protocol

from evse_node.errors import SessionError
from evse_node.matter.message import (
    EXCHANGE_INITIATOR,
    EXCHANGE_RELIABLE,
    PROTOCOL_SECURE_CHANNEL,
    Message,
    encode_message,
)
from evse_node.matter.mrp import MAX_TRANSMISSIONS, STANDALONE_ACK_TIMEOUT_S, backoff_s
from evse_node.matter.session import (
    Address,
    GroupSession,
    SecureSession,
    Session,
)
from evse_node.matter.session_table import SessionTable
from evse_node.matter.status_report import CLOSE_SESSION, Opcode
from evse_node.matter.timers import Timer, Timers

# Plain integers: compared with every message.
_STANDALONE_ACK = int(Opcode.STANDALONE_ACK)
_STATUS_REPORT = int(Opcode.STATUS_REPORT)

MAX_EXCHANGES_PER_SESSION = 32
MAX_UNSOLICITED_EXCHANGES = 256
# Random bytes for the jitter of so many messages are drawn at once.
_JITTER_BYTES = 64

Responder = Callable[["Exchange", Message, float], None]
Transmit = Callable[[bytes, Address], None]


class ExchangeHandler(Protocol):
    """The owner of an exchange."""

    def on_message(self, exchange: Exchange, message: Message, now: float) -> None:
        """Take the next message of the exchange; it is not a duplicate."""

    def on_closed(self, exchange: Exchange, now: float, failed: bool) -> None:
        """Learn that the exchange has ended though the owner did not close it.

        `failed` is True when the peer did not acknowledge or did not answer in time, and
        False when the session was removed. Called also after `close`, when the last
        message sent was never acknowledged.
        """


class Exchange:
    """One conversation. Sending and closing raise SessionError once it has ended.

    The owner sets `handler`; an unsolicited exchange that has none when its responder
    returns is closed.
    """

    __slots__ = (
        "_ack_at",
        "_is_closing",
        "_is_gone",
        "_manager",
        "_pending_ack",
        "_response_at",
        "_retry_at",
        "_timer",
        "_transmissions",
        "_unacked",
        "_unacked_counter",
        "handler",
        "id",
        "is_initiator",
        "session",
    )

    def __init__(
        self,
        manager: ExchangeManager,
        session: Session,
        exchange_id: int,
        is_initiator: bool,
        handler: ExchangeHandler | None,
    ) -> None:
        self._manager = manager
        self.session = session
        self.id = exchange_id
        self.is_initiator = is_initiator
        self.handler = handler
        self._is_closing = False
        self._is_gone = False
        self._pending_ack: int | None = None
        self._unacked: bytes | None = None
        self._unacked_counter = 0
        self._transmissions = 0
        # One timer for all three. It may come too early, and then looks again: most of
        # what it waits for happens long before, and nobody pays for moving it.
        self._timer: Timer | None = None
        self._ack_at = inf
        self._retry_at = inf
        self._response_at = inf

    @property
    def is_open(self) -> bool:
        """True until the owner closes the exchange or it ends by itself."""
        return not (self._is_closing or self._is_gone)

    def send(
        self,
        protocol_id: int,
        opcode: int,
        payload: bytes,
        *,
        reliable: bool = True,
        now: float,
    ) -> None:
        """Send a message, with the acknowledgement that is due, if any.

        A reliable message takes the place of an earlier one that is not yet acknowledged:
        the peer's answer to that one has arrived, or the owner would not go on.
        """
        if self._is_closing or self._is_gone:
            raise SessionError("exchange is closed")
        flags = EXCHANGE_INITIATOR if self.is_initiator else 0
        if reliable:
            flags |= EXCHANGE_RELIABLE
        acknowledged = self._pending_ack
        self._pending_ack = None
        self._ack_at = inf
        session = self.session
        payload += self._manager.endings.get(protocol_id, b"")
        counter, datagram = session.seal(
            encode_message(flags, opcode, self.id, protocol_id, payload, acknowledged)
        )
        session.used_at = now
        self._manager.transmit(datagram, session.address)
        if reliable:
            self._unacked = datagram
            self._unacked_counter = counter
            self._transmissions = 1
            self._retry_at = retry_at = now + self._manager.retry_delay_s(session, 0, now)
            self._look_at(retry_at)

    def expect_response(self, timeout_s: float, now: float) -> None:
        """End the exchange as failed unless a message arrives within `timeout_s` seconds."""
        self._response_at = when = now + timeout_s
        self._look_at(when)

    def close(self, now: float) -> None:
        """Finish: acknowledge what was received, and wait until what was sent is acknowledged.

        Closing again is allowed and does nothing.
        Spec: Matter Core 1.3 "Closing an Exchange"
        """
        if self._is_closing or self._is_gone:
            return
        self._is_closing = True
        self._response_at = inf
        if self._pending_ack is not None:
            self._flush_ack(now)
        if self._unacked is None:
            self._leave(now)

    # For the manager.

    def receive(self, message: Message, is_duplicate: bool, now: float) -> None:
        """Take a message that matches this exchange."""
        acknowledged = message.acknowledged
        if acknowledged is not None and self._unacked is not None:
            self._on_ack(acknowledged, now)
        is_reliable = message.flags & EXCHANGE_RELIABLE
        if is_duplicate or self._is_closing or self._is_gone:
            if is_reliable:
                self._manager.send_ack(self.session, self.id, self.is_initiator, message.counter)
            return
        if message.opcode == _STANDALONE_ACK and not message.protocol_id:
            return
        if is_reliable:
            if self._pending_ack is not None:
                self._flush_ack(now)
            self._pending_ack = message.counter
        self._response_at = inf
        handler = self.handler
        if handler is not None:
            try:
                handler.on_message(self, message, now)
            except Exception:
                # Whatever went wrong, the conversation is over; the stack counts and logs it.
                self.close(now)
                raise
        if self._pending_ack is not None:
            self.await_piggyback(now)

    def deliver_first(self, responder: Responder, message: Message, now: float) -> None:
        """Hand an unsolicited message to the protocol's responder."""
        if message.flags & EXCHANGE_RELIABLE:
            self._pending_ack = message.counter
        try:
            responder(self, message, now)
        except Exception:
            self.close(now)
            raise
        if self.handler is None:
            self.close(now)
        elif self._pending_ack is not None:
            self.await_piggyback(now)

    def await_piggyback(self, now: float) -> None:
        """Give the owner 200 ms to answer before a standalone acknowledgement goes out."""
        if self._ack_at == inf and not self._is_gone:
            self._ack_at = when = now + STANDALONE_ACK_TIMEOUT_S
            self._look_at(when)

    def end(self, now: float, *, failed: bool) -> None:
        """Leave the session and tell the owner, who did not ask for it."""
        if self._is_gone:
            return
        self._leave(now)
        handler = self.handler
        if handler is not None:
            handler.on_closed(self, now, failed)

    def _on_ack(self, counter: int, now: float) -> None:
        if counter == self._unacked_counter:
            self._unacked = None
            self._retry_at = inf
            if self._is_closing:
                self._leave(now)

    def _flush_ack(self, now: float) -> None:
        counter = self._pending_ack
        self._pending_ack = None
        self._ack_at = inf
        if counter is not None:
            self._manager.send_ack(self.session, self.id, self.is_initiator, counter)

    def _look_at(self, when: float) -> None:
        """Make sure that `_on_timer` is called at this time, or before."""
        timer = self._timer
        if timer is not None:
            if timer.when <= when:
                return
            timer.cancel()
        self._timer = self._manager.timers.call_at(when, self._on_timer)

    def _on_timer(self, now: float) -> None:
        self._timer = None
        if self._ack_at <= now:
            self._flush_ack(now)
        if self._retry_at <= now:
            self._retry(now)
        if self._response_at <= now:
            self._time_out(now)
        when = min(self._ack_at, self._retry_at, self._response_at)
        if when != inf:
            self._look_at(when)

    def _retry(self, now: float) -> None:
        datagram = self._unacked
        if datagram is None:
            return
        if self._transmissions >= MAX_TRANSMISSIONS:
            self.session.is_defunct = True
            self.end(now, failed=True)
            return
        session = self.session
        manager = self._manager
        manager.transmit(datagram, session.address)
        self._retry_at = now + manager.retry_delay_s(session, self._transmissions, now)
        self._transmissions += 1

    def _time_out(self, now: float) -> None:
        self._response_at = inf
        if self._pending_ack is not None:
            self._flush_ack(now)
        self.end(now, failed=True)

    def _leave(self, now: float) -> None:
        self._is_gone = True
        self._pending_ack = None
        self._unacked = None
        self._ack_at = self._retry_at = self._response_at = inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._manager.forget(self, now)


class GroupExchange(Exchange):
    """The one-message exchange of a group message: nothing is ever sent back.

    Spec: Matter Core 1.3 "Groupcast"
    """

    __slots__ = ()

    def send(
        self,
        protocol_id: int,
        opcode: int,
        payload: bytes,
        *,
        reliable: bool = True,
        now: float,
    ) -> None:
        """Do nothing: responses to group messages are suppressed."""

    def expect_response(self, timeout_s: float, now: float) -> None:
        """Do nothing: nothing can come."""


class ExchangeManager:
    """All exchanges of a node: matching, creating, limits.

    `transmit(datagram, address)` puts a datagram into the outbox. `endings` are bytes at
    the end of every message that is sent of a protocol.
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
        sessions.on_removed.append(self._on_session_removed)
        sessions.announce_close = self._announce_close

    def __len__(self) -> int:
        return self._count

    def register(self, protocol_id: int, responder: Responder, ending: bytes = b"") -> None:
        """Let `responder` take messages of a protocol that open an exchange.

        `ending` is sent at the end of every message of the protocol.
        """
        self._responders[protocol_id] = responder
        self.endings[protocol_id] = ending

    def open(self, session: Session, handler: ExchangeHandler) -> Exchange:
        """Open an exchange as initiator. Raises SessionError when the session takes none."""
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
        """Take a message that its session has authenticated (or that is unsecured)."""
        # The lowest bit of the key is this node's role: 1 for initiator.
        key = message.exchange_id << 1 | (not message.flags & EXCHANGE_INITIATOR)
        exchange = session.exchanges.get(key)
        if exchange is not None:
            exchange.receive(message, is_duplicate, now)
        elif not is_duplicate and self._may_open(session, message):
            exchange = Exchange(self, session, message.exchange_id, False, None)
            session.exchanges[key] = exchange
            self._count += 1
            exchange.deliver_first(self._responders[message.protocol_id], message, now)
        elif message.flags & EXCHANGE_RELIABLE:
            # An ephemeral exchange does nothing but acknowledge. That includes messages
            # beyond the limits: sent again they would be duplicates and not delivered either.
            self.send_ack(
                session,
                message.exchange_id,
                not message.flags & EXCHANGE_INITIATOR,
                message.counter,
            )

    def receive_group(self, session: GroupSession, message: Message, now: float) -> None:
        """Take an authenticated group message."""
        responder = self._responders.get(message.protocol_id)
        if responder is None or not message.flags & EXCHANGE_INITIATOR:
            return
        self._count += 1
        exchange = GroupExchange(self, session, message.exchange_id, False, None)
        session.exchanges[message.exchange_id << 1] = exchange
        exchange.deliver_first(responder, message, now)
        exchange.close(now)

    def send_ack(
        self, session: Session, exchange_id: int, is_initiator: bool, counter: int
    ) -> None:
        """Send a standalone acknowledgement of a message.

        Spec: Matter Core 1.3 "Standalone acknowledgement"
        """
        flags = EXCHANGE_INITIATOR if is_initiator else 0
        _, datagram = session.seal(
            encode_message(
                flags, _STANDALONE_ACK, exchange_id, PROTOCOL_SECURE_CHANNEL, b"", counter
            )
        )
        self.transmit(datagram, session.address)

    # For exchanges.

    def retry_delay_s(self, session: Session, transmission: int, now: float) -> float:
        """Return how long to wait before a message is sent again, in seconds."""
        if not self._jitter:
            self._jitter += self._random_bytes(_JITTER_BYTES)
        fraction = self._jitter.pop() / 255
        return backoff_s(session.retry_interval_ms(now), transmission, fraction)

    def forget(self, exchange: Exchange, now: float) -> None:
        """Take an exchange that has ended out of its session."""
        session = exchange.session
        if session.exchanges.pop(exchange.id << 1 | exchange.is_initiator, None) is None:
            return
        self._count -= 1
        if session.is_closing and not session.exchanges and isinstance(session, SecureSession):
            self.sessions.remove(session, now)

    def _may_open(self, session: Session, message: Message) -> bool:
        return bool(
            message.flags & EXCHANGE_INITIATOR
            and message.protocol_id in self._responders
            and not (message.opcode == _STANDALONE_ACK and not message.protocol_id)
            and not session.is_closing
            and self._count < MAX_UNSOLICITED_EXCHANGES
            and len(session.exchanges) < MAX_EXCHANGES_PER_SESSION
        )

    def _on_session_removed(self, session: SecureSession, now: float) -> None:
        for exchange in list(session.exchanges.values()):
            exchange.end(now, failed=False)

    def _announce_close(self, session: SecureSession, now: float) -> None:
        exchange_id = self._next_id & 0xFFFF
        self._next_id = exchange_id + 1
        report = encode_message(
            EXCHANGE_INITIATOR, _STATUS_REPORT, exchange_id, PROTOCOL_SECURE_CHANNEL, CLOSE_SESSION
        )
        # A session that has used up its counters can still be removed.
        with suppress(SessionError):
            self.transmit(session.seal(report)[1], session.address)
