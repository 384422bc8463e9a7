"""What all interaction transactions share: sending, and the one place for errors.

Spec: Matter Core 1.3 "Transactions", "Status Response Action"
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from evse_node.errors import DecodeError, SessionError, StatusError
from evse_node.matter.data_model import Subject
from evse_node.matter.interaction.encoding import encode_status_response
from evse_node.matter.interaction.messages import (
    PROTOCOL_ID,
    SUCCESS_RESPONSES,
    Opcode,
    decode_status_response,
)
from evse_node.matter.interaction.status import Status
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import Message

_LOGGER: Final = logging.getLogger(__name__)

# A plain integer: compared with every message.
_STATUS_RESPONSE = int(Opcode.STATUS_RESPONSE)

RESPONSE_TIMEOUT_S = 30.0
"""How long a peer may take for its next message in a transaction."""


def send(exchange: Exchange, opcode: Opcode, payload: bytes, now: float) -> None:
    """Send an interaction model message."""
    exchange.send(PROTOCOL_ID, opcode, payload, now=now)


def send_status(exchange: Exchange, status: int, now: float) -> None:
    """Send a StatusResponseMessage."""
    exchange.send(PROTOCOL_ID, _STATUS_RESPONSE, encode_status_response(status), now=now)


def wire_status(error: Exception) -> tuple[int, int | None]:
    """Return the status and cluster status that answer an exception.

    What was not raised on purpose is a defect of this node: it is logged, and the peer
    gets FAILURE.
    """
    if isinstance(error, StatusError):
        return error.status, error.cluster_status
    if isinstance(error, DecodeError):
        return Status.INVALID_ACTION, None
    _LOGGER.error("unexpected error in an interaction", exc_info=error)
    return Status.FAILURE, None


def note(
    what: str,
    endpoint: int | None,
    cluster: int,
    element: int,
    subject: Subject,
    error: Exception | None = None,
) -> None:
    """Log at level debug how a command or a write ended: what a controller's author looks for."""
    if not _LOGGER.isEnabledFor(logging.DEBUG):
        return
    outcome = "done"
    if isinstance(error, StatusError):
        known = error.status in Status.__members__.values()
        outcome = Status(error.status).name if known else f"status 0x{error.status:02X}"
        outcome += f": {error.reason}" if error.reason else ""
    elif error is not None:
        outcome = str(error)
    _LOGGER.debug(
        "%s 0x%04X of cluster 0x%04X on endpoint %s, from node %016X of fabric %d: %s",
        *(what, element, cluster, endpoint, subject.node_id, subject.fabric_index, outcome),
    )


def guard(exchange: Exchange, now: float, action: Callable[[], None]) -> None:
    """Run `action`; an exception ends the transaction with the status that answers it."""
    try:
        action()
    except Exception as error:
        refuse(exchange, now, error)


def refuse(exchange: Exchange, now: float, error: Exception) -> None:
    """End the transaction with the status that answers an exception."""
    if isinstance(error, SessionError):
        _LOGGER.debug("interaction ended: %s", error)
        exchange.close(now)
        return
    status, _ = wire_status(error)
    if exchange.is_open:
        _LOGGER.debug("interaction refused: %s", error)
        with suppress(SessionError):
            send_status(exchange, status, now)
        exchange.close(now)


class Transaction:
    """The handler of an exchange in the middle of an interaction.

    Subclasses take the next message in `on_action`. When they raise, the peer gets the
    status and the exchange is closed; `abandoned` is called however it ends too early.
    """

    def on_message(self, exchange: Exchange, message: Message, now: float) -> None:
        """Take a message of the exchange."""
        try:
            self.on_action(exchange, message, now)
        except Exception as error:
            refuse(exchange, now, error)
        if not exchange.is_open:
            self.abandoned(now)

    def on_closed(self, exchange: Exchange, now: float, failed: bool) -> None:
        """Learn that the peer is gone."""
        self.abandoned(now)

    def on_action(self, exchange: Exchange, message: Message, now: float) -> None:
        """Take the next action of the transaction."""
        raise NotImplementedError

    def abandoned(self, now: float) -> None:
        """Clean up after the exchange has ended; may be called more than once."""


def check_success(message: Message) -> None:
    """Make sure that a message is a status of success.

    Raises StatusError for another action, and SessionError when the peer reports failure,
    which needs no answer.
    """
    if message.opcode != _STATUS_RESPONSE:
        raise StatusError(Status.INVALID_ACTION)
    if message.payload in SUCCESS_RESPONSES:
        return
    status = decode_status_response(message.payload)
    if status != Status.SUCCESS:
        raise SessionError(f"peer answered with status {status:#x}")
