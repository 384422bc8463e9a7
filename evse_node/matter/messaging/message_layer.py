"""From datagram to exchange and back: decode, decrypt, check for duplicates, dispatch.

Group messages are dropped, since no endpoint can be a member of a group.

Spec: Matter Core 1.3 "Message Processing" (incoming and outgoing)
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from evse_node.errors import CryptoError, DecodeError, EvseNodeError, SessionError
from evse_node.matter.messaging.exchange_manager import ExchangeManager
from evse_node.matter.messaging.message import (
    EXCHANGE_INITIATOR,
    PROTOCOL_SECURE_CHANNEL,
    SECURED_HEADER,
    SESSION_TYPE_GROUP,
    SESSION_TYPE_MASK,
    MessageHeader,
    decode_header,
    decode_message,
)
from evse_node.matter.messaging.session import Address, UnsecuredSession
from evse_node.matter.messaging.session_table import SessionTable
from evse_node.matter.messaging.status_report import Opcode
from evse_node.matter.timers import Timers

_LOGGER: Final = logging.getLogger(__name__)

# The size for nearly all messages.
_SHORTEST_HEADER = SECURED_HEADER.size

# Opcodes that may open an unencrypted exchange, and those that may follow.
_OPENING_OPCODES = frozenset({Opcode.PBKDF_PARAM_REQUEST, Opcode.CASE_SIGMA1})
_UNSECURED_OPCODES = _OPENING_OPCODES | {
    Opcode.STANDALONE_ACK,
    Opcode.PBKDF_PARAM_RESPONSE,
    Opcode.PASE_PAKE1,
    Opcode.PASE_PAKE2,
    Opcode.PASE_PAKE3,
    Opcode.CASE_SIGMA2,
    Opcode.CASE_SIGMA3,
    Opcode.CASE_SIGMA2_RESUME,
    Opcode.STATUS_REPORT,
}


class MessageLayer:
    """Sessions and exchanges over datagrams. `dropped` counts dropped datagrams by reason."""

    def __init__(
        self,
        timers: Timers,
        random_bytes: Callable[[int], bytes],
        *,
        session_capacity: int | None = None,
    ) -> None:
        self.timers = timers
        self.sessions = (
            SessionTable(random_bytes)
            if session_capacity is None
            else SessionTable(random_bytes, capacity=session_capacity)
        )
        self._outbox: list[tuple[bytes, Address]] = []
        self.exchanges = ExchangeManager(self.sessions, timers, random_bytes, self._outbox.append)
        self.dropped: dict[str, int] = {}

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """Return the datagrams to send, in order, and clear them."""
        outbox = self._outbox
        datagrams = outbox[:]
        outbox.clear()
        return datagrams

    def receive_datagram(self, data: bytes, address: Address, now: float) -> None:
        """Process a datagram. Never raises."""
        try:
            size = _SHORTEST_HEADER
            if len(data) < size:
                raise DecodeError("message header is truncated")
            flags, session_id, security, counter = SECURED_HEADER.unpack_from(data)
            if flags or security or not session_id:
                if security & SESSION_TYPE_MASK == SESSION_TYPE_GROUP:
                    self._drop("group message", address, None)
                    return
                header = decode_header(data)
                if not session_id:
                    self._receive_unsecured(data, header, address, now)
                    return
                size = header.size
            session = self.sessions.get(session_id)
            if session is None:
                raise SessionError(f"unknown session {session_id}")
            message = decode_message(session.open(data, counter, security, size), counter)
            is_new = session.window.accept_unicast(counter)
            if is_new:
                # Only a fresh message proves the presence and address of the peer.
                session.address = address
                session.active_at = session.used_at = now
                session.is_defunct = False
            self.exchanges.receive(session, message, not is_new, now)
        except DecodeError as error:
            self._drop("malformed", address, error)
        except CryptoError as error:
            self._drop("not authentic", address, error)
        except SessionError as error:
            self._drop("no session", address, error)
        except EvseNodeError as error:
            self._drop("refused", address, error)
        except Exception:
            # A bug in this node must not stop it from processing the next datagram.
            self._drop("internal error", address, None)
            _LOGGER.exception("error while processing a datagram from %s", address[0])

    def _drop(self, reason: str, address: Address, error: Exception | None) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        _LOGGER.debug("dropped datagram from %s: %s: %s", address[0], reason, error)

    def _receive_unsecured(
        self, data: bytes, header: MessageHeader, address: Address, now: float
    ) -> None:
        source, destination = header.source_node, header.destination_node
        if (source is None) == (destination is None):
            raise DecodeError("unsecured message needs one of source and destination")
        message = decode_message(data[header.size :], header.counter)
        if message.protocol_id != PROTOCOL_SECURE_CHANNEL:
            raise DecodeError(f"unsecured message of protocol {message.protocol_id}")
        if message.opcode not in _UNSECURED_OPCODES:
            raise DecodeError(f"unsecured message with opcode {message.opcode}")
        session: UnsecuredSession | None
        if source is not None:
            session = self.sessions.find_unsecured(source, address)
            if session is None:
                if message.opcode not in _OPENING_OPCODES or not message.flags & EXCHANGE_INITIATOR:
                    raise SessionError("unknown ephemeral node id")
                session = self.sessions.accept_unsecured(source, address, now)
        else:
            assert destination is not None
            session = self.sessions.find_own_unsecured(destination)
            if session is None:
                raise SessionError("unknown ephemeral node id")
        is_new = session.window.accept_unencrypted(header.counter)
        if is_new:
            session.active_at = session.used_at = now
        self.exchanges.receive(session, message, not is_new, now)
