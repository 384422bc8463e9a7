"""Bulk Data Exchange: sends a file to a peer over an existing session.

Not implemented: receiving files, transfers that the receiver drives, asynchronous
transfers, start offsets and metadata.

Spec: Matter Core 1.3 "Bulk Data Exchange Protocol (BDX)"
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Final, TypeAlias

from evse_node.errors import DecodeError, SessionError
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.exchange_manager import ExchangeManager
from evse_node.matter.messaging.message import PROTOCOL_SECURE_CHANNEL, Message
from evse_node.matter.messaging.session import SecureSession
from evse_node.matter.messaging.status_report import GeneralCode, StatusReport
from evse_node.matter.messaging.status_report import Opcode as SecureChannelOpcode

PROTOCOL_ID: Final = 0x0002
BLOCK_SIZE: Final = 1024
_SENDER_DRIVE: Final = 0x10
_VERSION_MASK: Final = 0x0F
# The command that requested the file is answered when the transfer has begun.
BEGIN_TIMEOUT_S: Final = 15.0
_BLOCK_TIMEOUT_S: Final = 60.0

_INIT: Final = struct.Struct("<BBHH")
_ACCEPT: Final = struct.Struct("<BH")
_COUNTER: Final = struct.Struct("<I")

_LOGGER: Final = logging.getLogger(__name__)


class Opcode(IntEnum):
    """Spec: Matter Core 1.3 "BDX Messages"."""

    SEND_INIT = 0x01
    SEND_ACCEPT = 0x02
    RECEIVE_INIT = 0x04
    RECEIVE_ACCEPT = 0x05
    BLOCK_QUERY = 0x10
    BLOCK = 0x11
    BLOCK_EOF = 0x12
    BLOCK_ACK = 0x13
    BLOCK_ACK_EOF = 0x14
    BLOCK_QUERY_WITH_SKIP = 0x15


class StatusCode(IntEnum):
    """Reasons for the end of a transfer; those that a sender uses.

    Spec: Matter Core 1.3 "BDX Status Report"
    """

    BAD_MESSAGE_CONTENTS = 0x0016
    BAD_BLOCK_COUNTER = 0x0017
    UNEXPECTED_MESSAGE = 0x0018
    TRANSFER_METHOD_NOT_SUPPORTED = 0x0050


OnBegun: TypeAlias = Callable[[bool, float], None]
"""`on_begun(is_accepted, now)` is called once, when the peer accepts or rejects."""


class BdxSender:
    """Sender of files, one at a time."""

    def __init__(self, exchanges: ExchangeManager) -> None:
        self._exchanges = exchanges
        self._transfer: _Transfer | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a transfer is in progress."""
        return self._transfer is not None

    def send(
        self, session: SecureSession, designator: bytes, data: bytes, on_begun: OnBegun, now: float
    ) -> None:
        """Offer a file to the peer of a session.

        Raises SessionError when the session takes no more exchanges, or during another transfer.
        """
        if self.is_busy:
            raise SessionError("another transfer is in progress")
        transfer = _Transfer(data, on_begun, self._remove)
        exchange = self._exchanges.open(session, transfer)
        init = _INIT.pack(_SENDER_DRIVE, 0, BLOCK_SIZE, len(designator)) + designator
        exchange.send(PROTOCOL_ID, Opcode.SEND_INIT, init, now=now)
        exchange.expect_response(BEGIN_TIMEOUT_S, now)
        # Only now, since an exchange that could not send is not closed.
        self._transfer = transfer

    def _remove(self, transfer: _Transfer) -> None:
        # An exchange may end after its transfer, during the next one.
        if self._transfer is transfer:
            self._transfer = None


class _RefusedError(DecodeError):
    """An invalid message, which ends the transfer; `code` is sent to the peer."""

    def __init__(self, code: StatusCode, reason: str) -> None:
        self.code = code
        super().__init__(reason)


class _Transfer:
    """The handler of a transfer's exchange. `_sent` counts the blocks that were sent."""

    def __init__(
        self, data: bytes, on_begun: OnBegun, on_ended: Callable[[_Transfer], None]
    ) -> None:
        self._data = data
        self._on_begun: OnBegun | None = on_begun
        self._on_ended = on_ended
        self._block_size = 0
        self._sent = 0

    def on_message(self, exchange: Exchange, message: Message, now: float) -> None:
        """Process the peer's response to the last message."""
        try:
            is_over = self._take(exchange, message, now)
        except _RefusedError as error:
            _LOGGER.debug("transfer ended: %s", error)
            self._end(now)
            report = StatusReport(GeneralCode.FAILURE, error.code, PROTOCOL_ID).encode()
            exchange.send(
                PROTOCOL_SECURE_CHANNEL, SecureChannelOpcode.STATUS_REPORT, report, now=now
            )
            exchange.close(now)
        except Exception:
            self._end(now)
            raise
        else:
            if is_over:
                self._end(now)
                exchange.close(now)

    def on_closed(self, exchange: Exchange, now: float, failed: bool) -> None:
        """End the transfer."""
        self._end(now)

    def _take(self, exchange: Exchange, message: Message, now: float) -> bool:
        """Continue the transfer; return whether it has ended."""
        if message.protocol_id == PROTOCOL_SECURE_CHANNEL:
            # A status report: the peer has ended the transfer.
            return True
        if message.protocol_id != PROTOCOL_ID:
            raise _RefusedError(StatusCode.UNEXPECTED_MESSAGE, "a message of another protocol")
        if not self._block_size:
            self._accept(message)
            self._notify(True, now)
        elif self._acknowledge(message):
            return True
        self._send_block(exchange, now)
        return False

    def _accept(self, message: Message) -> None:
        if message.opcode != Opcode.SEND_ACCEPT:
            raise _RefusedError(StatusCode.UNEXPECTED_MESSAGE, "no SendAccept")
        if len(message.payload) < _ACCEPT.size:
            raise _RefusedError(StatusCode.BAD_MESSAGE_CONTENTS, "SendAccept is truncated")
        control, block_size = _ACCEPT.unpack_from(message.payload)
        if control & ~_VERSION_MASK != _SENDER_DRIVE:
            raise _RefusedError(StatusCode.TRANSFER_METHOD_NOT_SUPPORTED, "sender does not drive")
        if not 0 < block_size <= BLOCK_SIZE:
            raise _RefusedError(StatusCode.BAD_MESSAGE_CONTENTS, f"block size {block_size}")
        self._block_size = block_size

    def _acknowledge(self, message: Message) -> bool:
        """Check the acknowledgement of a block; return whether it was the last of the file."""
        is_last = self._sent * self._block_size >= len(self._data)
        if message.opcode != (Opcode.BLOCK_ACK_EOF if is_last else Opcode.BLOCK_ACK):
            raise _RefusedError(StatusCode.UNEXPECTED_MESSAGE, f"opcode {message.opcode:#x}")
        if len(message.payload) != _COUNTER.size:
            raise _RefusedError(StatusCode.BAD_MESSAGE_CONTENTS, "acknowledgement without counter")
        if _COUNTER.unpack(message.payload)[0] != self._sent - 1:
            raise _RefusedError(StatusCode.BAD_BLOCK_COUNTER, "acknowledgement of another block")
        return is_last

    def _send_block(self, exchange: Exchange, now: float) -> None:
        start = self._sent * self._block_size
        end = start + self._block_size
        opcode = Opcode.BLOCK_EOF if end >= len(self._data) else Opcode.BLOCK
        block = _COUNTER.pack(self._sent) + self._data[start:end]
        self._sent += 1
        exchange.send(PROTOCOL_ID, opcode, block, now=now)
        exchange.expect_response(_BLOCK_TIMEOUT_S, now)

    def _end(self, now: float) -> None:
        self._on_ended(self)
        self._notify(False, now)

    def _notify(self, is_accepted: bool, now: float) -> None:
        on_begun, self._on_begun = self._on_begun, None
        if on_begun is not None:
            on_begun(is_accepted, now)
