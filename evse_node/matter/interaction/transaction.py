"""Base of all interaction transactions: sending and error handling.

Spec: Matter Core 1.3 "Transactions", "Status Response Action"
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Final

from evse_node.errors import DecodeError, SessionError, StatusError
from evse_node.matter.data_model import Subject
from evse_node.matter.interaction.encoding import encode_status_response
from evse_node.matter.interaction.messages import (
    SUCCESS_RESPONSES,
    Opcode,
    decode_status_response,
)
from evse_node.matter.interaction.status import Status
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import PROTOCOL_INTERACTION_MODEL, Message

_LOGGER: Final = logging.getLogger(__name__)

RESPONSE_TIMEOUT_S = 30.0
"""Time limit for the peer's next message in a transaction."""


def send(exchange: Exchange, opcode: int, payload: bytes, now: float) -> None:
    """Send an interaction model message."""
    exchange.send(PROTOCOL_INTERACTION_MODEL, opcode, payload, now=now)


def send_status(exchange: Exchange, status: int, now: float) -> None:
    """Send a StatusResponseMessage."""
    send(exchange, Opcode.STATUS_RESPONSE, encode_status_response(status), now)


def response_status(error: Exception) -> tuple[int, int | None]:
    """Return the status and cluster status of the response to an exception.

    Unexpected exceptions are logged and answered by FAILURE.
    """
    if isinstance(error, StatusError):
        return error.status, error.cluster_status
    if isinstance(error, DecodeError):
        return Status.INVALID_ACTION, None
    _LOGGER.error("unexpected error in an interaction", exc_info=error)
    return Status.FAILURE, None


def log_outcome(
    what: str,
    endpoint: int | None,
    cluster: int,
    element: int,
    subject: Subject,
    error: Exception | None = None,
) -> None:
    """Log the outcome of a command or write at level debug."""
    if not _LOGGER.isEnabledFor(logging.DEBUG):
        return
    outcome = "done"
    if isinstance(error, StatusError):
        is_named = error.status in Status.__members__.values()
        outcome = Status(error.status).name if is_named else f"status 0x{error.status:02X}"
        outcome += f": {error.reason}" if error.reason else ""
    elif error is not None:
        outcome = str(error)
    _LOGGER.debug(
        "%s 0x%04X of cluster 0x%04X on endpoint %s, from node %016X of fabric %d: %s",
        *(what, element, cluster, endpoint, subject.node_id, subject.fabric_index, outcome),
    )


def refuse(exchange: Exchange, now: float, error: Exception) -> None:
    """End the transaction, with the status for an exception."""
    if isinstance(error, SessionError):
        _LOGGER.debug("interaction ended: %s", error)
        exchange.close(now)
        return
    status, _ = response_status(error)
    if exchange.is_open:
        _LOGGER.debug("interaction refused: %s", error)
        with suppress(SessionError):
            send_status(exchange, status, now)
        exchange.close(now)


class Transaction:
    """Handler of an exchange during an interaction.

    Subclasses handle messages in `on_action`. Exceptions are answered by a status, and
    close the exchange. `cleanup` is called whenever the exchange has ended.
    """

    def on_message(self, exchange: Exchange, message: Message, now: float) -> None:
        """Handle a message of the exchange."""
        try:
            self.on_action(exchange, message, now)
        except Exception as error:
            refuse(exchange, now, error)
        if not exchange.is_open:
            self.cleanup(now)

    def on_closed(self, exchange: Exchange, now: float, failed: bool) -> None:
        """Clean up after a failed exchange."""
        self.cleanup(now)

    def on_action(self, exchange: Exchange, message: Message, now: float) -> None:
        """Handle the next action of the transaction."""
        raise NotImplementedError

    def cleanup(self, now: float) -> None:
        """Clean up after the exchange has ended; may be called more than once."""


def check_success(message: Message) -> None:
    """Check that a message is a status of success.

    Raises StatusError for another action, and SessionError for another status, which needs
    no response.
    """
    if message.opcode != Opcode.STATUS_RESPONSE:
        raise StatusError(Status.INVALID_ACTION)
    if message.payload in SUCCESS_RESPONSES:
        return
    status = decode_status_response(message.payload)
    if status != Status.SUCCESS:
        raise SessionError(f"peer answered with status {status:#x}")
