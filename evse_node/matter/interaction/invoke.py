"""Invoke interactions, by unicast or to a group.

Spec: Matter Core 1.3 "Invoke Interaction"
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from evse_node.errors import DecodeError, StatusError
from evse_node.matter.data_model import (
    Cluster,
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
    guard,
    note,
    send,
    wire_status,
)
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import MAX_PAYLOAD, Message
from evse_node.matter.messaging.session import GroupSession, SecureSession

_START = b"\x15\x28\x00\x36\x01"
_END = b"\x18"
_MORE = b"\x18\x29\x02"
CAPACITY = MAX_PAYLOAD - len(_START) - len(_MORE) - MESSAGE_END_SIZE
"""Bytes of InvokeResponseIBs in one message."""


class InvokeTransaction(Transaction):
    """Sends the remaining messages of a response that needs several."""

    def __init__(self, responses: list[bytes]) -> None:
        self._responses = responses

    def send_next(self, exchange: Exchange, now: float) -> None:
        """Send as many responses as one message holds."""
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
        """Take the peer's status for the message before."""
        check_success(message)
        self.send_next(exchange, now)


class WaitingTransaction(Transaction):
    """Waits for the answers of commands that take longer; then all are sent."""

    def __init__(self, exchange: Exchange, answers: list[_Answer]) -> None:
        self._exchange = exchange
        self._answers = answers
        for answer in answers:
            if isinstance(answer.reply, DeferredReply):
                answer.reply.on_answered = self._on_answered

    def _on_answered(self, now: float) -> None:
        exchange = self._exchange
        if exchange.is_open and not any(answer.is_awaited for answer in self._answers):
            responses = [answer.encode() for answer in self._answers]
            guard(exchange, now, lambda: InvokeTransaction(responses).send_next(exchange, now))

    def on_action(self, exchange: Exchange, message: Message, now: float) -> None:
        """Refuse what comes before the answer."""
        raise StatusError(Status.INVALID_ACTION)


def on_invoke_request(
    access: Access,
    maximum_paths: int,
    exchange: Exchange,
    payload: bytes,
    is_timed: bool,
    now: float,
) -> None:
    """Carry out an InvokeRequestMessage of a secure session. Raises DecodeError, StatusError."""
    session = exchange.session
    assert isinstance(session, SecureSession)
    request = decode_invoke_request(payload)
    if request.is_timed != is_timed:
        raise StatusError(Status.TIMED_REQUEST_MISMATCH)
    _check_items(request, maximum_paths)
    context = InteractionContext(session.subject, now, is_timed=is_timed, session=session)
    answers = [_answer(access, session, item, context) for item in request.items]
    if request.suppress_response:
        exchange.close(now)
    elif any(answer.is_awaited for answer in answers):
        exchange.handler = WaitingTransaction(exchange, answers)
    else:
        InvokeTransaction([answer.encode() for answer in answers]).send_next(exchange, now)


def on_group_invoke_request(
    access: Access,
    session: GroupSession,
    endpoints: Iterable[int],
    payload: bytes,
    now: float,
) -> None:
    """Carry out an InvokeRequestMessage that was sent to a group; there is no response."""
    request = decode_invoke_request(payload)
    if request.is_timed or len(request.items) != 1:
        raise DecodeError("timed or repeated invoke to a group")
    context = InteractionContext(session.subject, now, session=session)
    item = request.items[0]
    for endpoint_id in list(endpoints):
        if item.endpoint in (None, endpoint_id):
            try:
                _invoke(access, session, endpoint_id, item, context)
            except Exception as error:
                wire_status(error)


def _check_items(request: InvokeRequest, maximum_paths: int) -> None:
    """Raise DecodeError for a set of commands that cannot be in one message.

    Spec: Matter Core 1.3 "Incoming Invoke Request Action Processing"
    """
    items = request.items
    if not 0 < len(items) <= maximum_paths:
        raise DecodeError(f"{len(items)} commands in one request")
    if any(item.endpoint is None for item in items):
        raise DecodeError("command to every endpoint outside a group")
    if len(items) > 1:
        references = {item.reference for item in items}
        if None in references or len(references) != len(items):
            raise DecodeError("commands without distinct references")
        if len({item[:3] for item in items}) != len(items):
            raise DecodeError("command path twice in one request")


class _Answer(NamedTuple):
    """How a command ended, or will: with a reply, or with a status if that is not None."""

    item: CommandItem
    reply: CommandReply | DeferredReply | None
    status: int | None = None
    cluster_status: int | None = None

    @property
    def is_awaited(self) -> bool:
        return isinstance(self.reply, DeferredReply) and not self.reply.is_answered

    def encode(self) -> bytes:
        """Return the InvokeResponseIB."""
        item, status = self.item, self.status
        endpoint_id = item.endpoint or 0
        reply = self.reply.reply if isinstance(self.reply, DeferredReply) else self.reply
        if reply is not None:
            response = command_data_response(
                endpoint_id, item.cluster, reply.command_id, reply.payload, item.reference
            )
            if len(response) <= CAPACITY:
                return response
            status = Status.RESOURCE_EXHAUSTED
        return command_status_response(
            endpoint_id,
            item.cluster,
            item.command,
            Status.SUCCESS if status is None else status,
            self.cluster_status,
            item.reference,
        )


def _answer(
    access: Access, session: SecureSession, item: CommandItem, context: InteractionContext
) -> _Answer:
    """Carry out one command."""
    try:
        reply = _invoke(access, session, item.endpoint or 0, item, context)
    except Exception as error:
        note("command", *item[:3], context.subject, error)
        return _Answer(item, None, *wire_status(error))
    note("command", *item[:3], context.subject)
    return _Answer(item, reply)


def _invoke(
    access: Access,
    session: SecureSession | GroupSession,
    endpoint_id: int,
    item: CommandItem,
    context: InteractionContext,
) -> CommandReply | DeferredReply | None:
    cluster: Cluster
    cluster, mask = access.find(session, endpoint_id, item.cluster)
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
