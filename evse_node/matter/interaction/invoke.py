"""Invoke interactions.

Spec: Matter Core 1.3 "Invoke Interaction"
"""

from __future__ import annotations

from typing import NamedTuple

from evse_node.errors import DecodeError, StatusError
from evse_node.matter.data_model import (
    CommandReply,
    DeferredReply,
    InteractionContext,
)
from evse_node.matter.interaction.encoding import (
    MESSAGE_END_SIZE,
    command_data_response,
    command_status_response,
)
from evse_node.matter.interaction.messages import (
    CommandItem,
    InvokeRequest,
    Opcode,
    decode_invoke_request,
)
from evse_node.matter.interaction.paths import Access
from evse_node.matter.interaction.status import Status
from evse_node.matter.interaction.transaction import (
    RESPONSE_TIMEOUT_S,
    Transaction,
    check_success,
    log_outcome,
    refuse,
    response_status,
    send,
)
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import MAX_PAYLOAD, Message
from evse_node.matter.messaging.session import SecureSession

_START = b"\x15\x28\x00\x36\x01"
_END = b"\x18"
_MORE = b"\x18\x29\x02"
CAPACITY = MAX_PAYLOAD - len(_START) - len(_MORE) - MESSAGE_END_SIZE
"""Maximum size of the InvokeResponseIBs in one message."""


class InvokeTransaction(Transaction):
    """Sender of the responses to an invoke request, in one or more messages."""

    def __init__(self, responses: list[bytes]) -> None:
        self._responses = responses

    def send_next(self, exchange: Exchange, now: float) -> None:
        """Send as many responses as fit into one message."""
        room = CAPACITY
        count = 0
        for response in self._responses:
            room -= len(response)
            if room < 0:
                break
            count += 1
        body = b"".join(self._responses[:count])
        del self._responses[:count]
        end = _MORE if self._responses else _END
        send(exchange, Opcode.INVOKE_RESPONSE, _START + body + end, now)
        if self._responses:
            exchange.handler = self
            exchange.expect_response(RESPONSE_TIMEOUT_S, now)
        else:
            exchange.close(now)

    def on_action(self, exchange: Exchange, message: Message, now: float) -> None:
        """Handle the peer's status for the previous message."""
        check_success(message)
        self.send_next(exchange, now)


class DeferredInvokeTransaction(Transaction):
    """The wait for deferred replies, after which the responses to all commands are sent."""

    def __init__(self, exchange: Exchange, outcomes: list[_Outcome]) -> None:
        self._exchange = exchange
        self._outcomes = outcomes
        for outcome in outcomes:
            if isinstance(outcome.reply, DeferredReply):
                outcome.reply.on_answered = self._on_answered

    def _on_answered(self, now: float) -> None:
        exchange = self._exchange
        if exchange.is_open and not any(outcome.is_pending for outcome in self._outcomes):
            try:
                responses = [outcome.encode() for outcome in self._outcomes]
                InvokeTransaction(responses).send_next(exchange, now)
            except Exception as error:
                refuse(exchange, now, error)

    def on_action(self, exchange: Exchange, message: Message, now: float) -> None:
        """Refuse any action before the response."""
        raise StatusError(Status.INVALID_ACTION)


def on_invoke_request(
    access: Access,
    maximum_paths: int,
    exchange: Exchange,
    payload: bytes,
    is_timed: bool,
    now: float,
) -> None:
    """Execute an InvokeRequestMessage of a secure session. Raises DecodeError, StatusError."""
    session = exchange.session
    assert isinstance(session, SecureSession)
    request = decode_invoke_request(payload)
    if request.is_timed != is_timed:
        raise StatusError(Status.TIMED_REQUEST_MISMATCH)
    _check_items(request, maximum_paths)
    context = InteractionContext(session.subject, now, is_timed=is_timed, session=session)
    outcomes = [_execute(access, session, item, context) for item in request.items]
    if request.suppress_response:
        exchange.close(now)
    elif any(outcome.is_pending for outcome in outcomes):
        exchange.handler = DeferredInvokeTransaction(exchange, outcomes)
    else:
        InvokeTransaction([outcome.encode() for outcome in outcomes]).send_next(exchange, now)


def _check_items(request: InvokeRequest, maximum_paths: int) -> None:
    """Raise DecodeError for commands that must not be in one request.

    Spec: Matter Core 1.3 "Incoming Invoke Request Action Processing"
    """
    items = request.items
    if not 0 < len(items) <= maximum_paths:
        raise DecodeError(f"{len(items)} commands in one request")
    if len(items) > 1:
        references = {item.reference for item in items}
        if None in references or len(references) != len(items):
            raise DecodeError("commands without unique references")
        if len({item[:3] for item in items}) != len(items):
            raise DecodeError("repeated command path in one request")


class _Outcome(NamedTuple):
    """The reply to a command, or a status if that is not None."""

    item: CommandItem
    reply: CommandReply | DeferredReply | None
    status: int | None = None
    cluster_status: int | None = None

    @property
    def is_pending(self) -> bool:
        return isinstance(self.reply, DeferredReply) and not self.reply.is_answered

    def encode(self) -> bytes:
        """Return the InvokeResponseIB."""
        item, status = self.item, self.status
        reply = self.reply.reply if isinstance(self.reply, DeferredReply) else self.reply
        if reply is not None:
            response = command_data_response(
                item.endpoint, item.cluster, reply.command_id, reply.payload, item.reference
            )
            if len(response) <= CAPACITY:
                return response
            status = Status.RESOURCE_EXHAUSTED
        return command_status_response(
            item.endpoint,
            item.cluster,
            item.command,
            Status.SUCCESS if status is None else status,
            self.cluster_status,
            item.reference,
        )


def _execute(
    access: Access, session: SecureSession, item: CommandItem, context: InteractionContext
) -> _Outcome:
    """Execute one command."""
    try:
        reply = _invoke(access, session, item, context)
    except Exception as error:
        log_outcome("command", *item[:3], context.subject, error)
        return _Outcome(item, None, *response_status(error))
    log_outcome("command", *item[:3], context.subject)
    return _Outcome(item, reply)


def _invoke(
    access: Access,
    session: SecureSession,
    item: CommandItem,
    context: InteractionContext,
) -> CommandReply | DeferredReply | None:
    cluster, mask = access.find(session, item.endpoint, item.cluster)
    command = cluster.commands.get(item.command)
    if command is None:
        raise StatusError(Status.UNSUPPORTED_COMMAND)
    if not mask >> command.invoke_privilege & 1:
        raise StatusError(Status.UNSUPPORTED_ACCESS)
    if command.is_fabric_scoped and not context.subject.fabric_index:
        raise StatusError(Status.UNSUPPORTED_ACCESS)
    if command.is_timed and not context.is_timed:
        raise StatusError(Status.NEEDS_TIMED_INTERACTION)
    return cluster.invoke(item.command, item.fields, context)
