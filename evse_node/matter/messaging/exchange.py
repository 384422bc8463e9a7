"""Exchanges: conversations within a session, with reliable delivery.

An exchange acknowledges a received message with its response when that is sent within
200 ms, and with a standalone acknowledgement otherwise. It retransmits a reliable message
until that is acknowledged or the retries are exhausted.

Spec: Matter Core 1.3 "Message Exchanges", "Message Reliability Protocol (MRP)"
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Protocol, TypeAlias

from evse_node.errors import SessionError
from evse_node.matter.messaging.message import (
    EXCHANGE_INITIATOR,
    EXCHANGE_RELIABLE,
    Message,
    encode_message,
)
from evse_node.matter.messaging.mrp import (
    MAX_TRANSMISSIONS,
    SOONEST_RETRY,
    STANDALONE_ACK_TIMEOUT_S,
)
from evse_node.matter.messaging.session import Address, Session
from evse_node.matter.messaging.status_report import Opcode
from evse_node.matter.timers import Timer, Timers

LAST_ACK_TIMEOUT_S = 90.0
"""Limit for the acknowledgement of the last message, whatever interval the peer declares."""

Responder: TypeAlias = Callable[["Exchange", Message, float], None]
Transmit: TypeAlias = Callable[[tuple[bytes, Address]], None]


class ExchangeServices(Protocol):
    """The part of ExchangeManager that an exchange uses."""

    timers: Timers
    transmit: Transmit
    endings: dict[int, bytes]

    def send_ack(
        self, session: Session, exchange_id: int, is_initiator: bool, counter: int
    ) -> None:
        """Send a standalone acknowledgement of the message with this counter."""

    def retry_delay_s(self, session: Session, transmission: int, now: float) -> float:
        """Return the time until the next retransmission, in seconds."""

    def remove(self, exchange: Exchange, now: float) -> None:
        """Remove an exchange that has ended from its session."""


class ExchangeHandler(Protocol):
    """The owner of an exchange."""

    def on_message(self, exchange: Exchange, message: Message, now: float) -> None:
        """Process the next message of the exchange, which is not a duplicate."""

    def on_closed(self, exchange: Exchange, now: float, failed: bool) -> None:
        """Handle the end of an exchange that the owner has not closed.

        `failed` is True when the peer did not acknowledge or respond in time, and False
        when the session was removed. Also called after `close` when the last message was
        not acknowledged.
        """


class Exchange:
    """One conversation. `send` raises SessionError once it has ended.

    The owner sets `handler`. An unsolicited exchange without a handler is closed when its
    responder returns.
    """

    __slots__ = (
        "_ack_at",
        "_is_gone",
        "_is_retry_exact",
        "_manager",
        "_pending_ack",
        "_response_at",
        "_retry_at",
        "_sent_at",
        "_timer",
        "_timer_at",
        "_transmissions",
        "_unacked",
        "_unacked_counter",
        "handler",
        "id",
        "is_initiator",
        "is_open",
        "party",
        "session",
    )

    def __init__(
        self,
        manager: ExchangeServices,
        session: Session,
        exchange_id: int,
        is_initiator: bool,
        handler: ExchangeHandler | None,
        party: int | None = None,
    ) -> None:
        self._manager = manager
        self.session = session
        self.id = exchange_id
        self.is_initiator = is_initiator
        self.handler = handler
        # Limits are counted per party; see ExchangeManager.
        self.party = party
        self.is_open = True
        """True until the owner closes the exchange or it ends."""
        self._is_gone = False
        self._pending_ack: int | None = None
        self._unacked: bytes | None = None
        self._unacked_counter = 0
        self._transmissions = 0
        # One timer for all three deadlines. It is not moved when a deadline is met, which
        # is the common case; firing early, it is set again for the next deadline.
        self._timer: Timer | None = None
        self._timer_at = inf
        self._ack_at = inf
        # Retransmission time; at first its lower bound, computed when that is reached.
        self._retry_at = inf
        self._is_retry_exact = False
        self._sent_at = 0.0
        self._response_at = inf

    def send(
        self,
        protocol_id: int,
        opcode: int,
        payload: bytes,
        *,
        reliable: bool = True,
        response_timeout_s: float | None = None,
        now: float,
    ) -> None:
        """Send a message, with the pending acknowledgement, if any.

        A reliable message replaces an earlier unacknowledged one, whose response must have
        arrived for the owner to continue. `response_timeout_s` is as in `expect_response`.
        The exchange ends when its session has no message counter left.
        """
        if not self.is_open:
            raise SessionError("exchange is closed")
        flags = EXCHANGE_INITIATOR if self.is_initiator else 0
        if reliable:
            flags |= EXCHANGE_RELIABLE
        acknowledged = self._pending_ack
        self._pending_ack = None
        self._ack_at = inf
        session = self.session
        manager = self._manager
        payload += manager.endings.get(protocol_id, b"")
        try:
            counter, datagram = session.seal(
                encode_message(flags, opcode, self.id, protocol_id, payload, acknowledged)
            )
        except SessionError:
            # Without a counter to send with, no response can arrive.
            self._remove(now)
            raise
        session.used_at = now
        manager.transmit((datagram, session.address))
        check_at = inf
        if reliable:
            self._unacked = datagram
            self._unacked_counter = counter
            self._transmissions = 1
            self._sent_at = now
            self._is_retry_exact = False
            self._retry_at = check_at = now + session.parameters.active_interval_ms * SOONEST_RETRY
        if response_timeout_s is not None:
            self._response_at = when = now + response_timeout_s
            if when < check_at:
                check_at = when
        if check_at < self._timer_at:
            self._arm(check_at)

    def expect_response(self, timeout_s: float, now: float) -> None:
        """End the exchange as failed unless a message arrives within `timeout_s` seconds."""
        self._response_at = when = now + timeout_s
        if when < self._timer_at:
            self._arm(when)

    def close(self, now: float) -> None:
        """Acknowledge the last message, then end once the peer has acknowledged ours.

        Closing twice has no effect.
        Spec: Matter Core 1.3 "Closing an Exchange"
        """
        if not self.is_open:
            return
        self.is_open = False
        if self._pending_ack is not None:
            self._flush_ack(now)
        if self._unacked is None:
            self._remove(now)
        else:
            self.expect_response(LAST_ACK_TIMEOUT_S, now)

    # For ExchangeManager.

    def receive(self, message: Message, is_duplicate: bool, now: float) -> None:
        """Process a message that matches this exchange."""
        acknowledged = message.acknowledged
        if acknowledged == self._unacked_counter and self._unacked is not None:
            self._unacked = None
            self._retry_at = inf
            if not self.is_open:
                self._remove(now)
        is_reliable = message.flags & EXCHANGE_RELIABLE
        if is_duplicate or not self.is_open:
            if is_reliable:
                self._manager.send_ack(self.session, self.id, self.is_initiator, message.counter)
            return
        if not message.protocol_id and message.opcode == Opcode.STANDALONE_ACK:
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
                # After any error the exchange is over; the message layer counts and logs it.
                self.close(now)
                raise
        if self._pending_ack is not None:
            self.await_piggyback(now)

    def deliver_first(self, responder: Responder, message: Message, now: float) -> None:
        """Pass an unsolicited message to the protocol's responder."""
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
        """Wait 200 ms for a response before sending a standalone acknowledgement."""
        if self._ack_at == inf and not self._is_gone:
            self._ack_at = when = now + STANDALONE_ACK_TIMEOUT_S
            if when < self._timer_at:
                self._arm(when)

    def end(self, now: float, *, failed: bool) -> None:
        """End the exchange and notify its owner."""
        if self._is_gone:
            return
        self._remove(now)
        handler = self.handler
        if handler is not None:
            handler.on_closed(self, now, failed)

    def _flush_ack(self, now: float) -> None:
        counter = self._pending_ack
        self._pending_ack = None
        self._ack_at = inf
        if counter is not None:
            self._manager.send_ack(self.session, self.id, self.is_initiator, counter)

    def _arm(self, when: float) -> None:
        """Set the timer to this time, which is before `_timer_at`."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._manager.timers.call_at(when, self._on_timer)
        self._timer_at = when

    def _on_timer(self, now: float) -> None:
        self._timer = None
        self._timer_at = inf
        if self._ack_at <= now:
            self._flush_ack(now)
        if self._retry_at <= now:
            self._retry(now)
        if self._response_at <= now:
            self._time_out(now)
        when = min(self._ack_at, self._retry_at, self._response_at)
        if when != inf:
            self._arm(when)

    def _retry(self, now: float) -> None:
        datagram = self._unacked
        if datagram is None:
            return
        if not self._is_retry_exact:
            # Computed only now, since nearly every message is acknowledged before.
            self._is_retry_exact = True
            sent_at = self._sent_at
            self._retry_at = sent_at + self._manager.retry_delay_s(self.session, 0, sent_at)
            if self._retry_at > now:
                return
        if self._transmissions >= MAX_TRANSMISSIONS:
            self.session.is_defunct = True
            self.end(now, failed=True)
            return
        session = self.session
        manager = self._manager
        manager.transmit((datagram, session.address))
        self._retry_at = now + manager.retry_delay_s(session, self._transmissions, now)
        self._transmissions += 1

    def _time_out(self, now: float) -> None:
        self._response_at = inf
        if self._pending_ack is not None:
            self._flush_ack(now)
        if not self.is_open:
            self.session.is_defunct = True
        self.end(now, failed=True)

    def _remove(self, now: float) -> None:
        self._is_gone = True
        self.is_open = False
        self._pending_ack = None
        self._unacked = None
        self._ack_at = self._retry_at = self._response_at = inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._timer_at = inf
        self._manager.remove(self, now)
