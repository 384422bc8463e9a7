"""Write interactions, in one message or several.

Spec: Matter Core 1.3 "Write Interaction"
"""

from __future__ import annotations

from evse_node.errors import DecodeError, StatusError
from evse_node.matter.data_model import (
    AttributeEntry,
    AttributePath,
    Cluster,
    InteractionContext,
)
from evse_node.matter.interaction.encoding import MESSAGE_END_SIZE, attribute_status_ib
from evse_node.matter.interaction.messages import (
    Opcode,
    WriteItem,
    WriteRequest,
    decode_write_request,
)
from evse_node.matter.interaction.paths import Access
from evse_node.matter.interaction.status import Status
from evse_node.matter.interaction.transaction import (
    RESPONSE_TIMEOUT_S,
    Transaction,
    log_outcome,
    response_status,
    send,
)
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import MAX_PAYLOAD, Message
from evse_node.matter.messaging.session import SecureSession

_CAPACITY = MAX_PAYLOAD - MESSAGE_END_SIZE
# Number of statuses that always fit into a message.
_FEW_ITEMS = 32


class WriteTransaction(Transaction):
    """A write request of one or more chunks.

    A list is written as a replacement followed by items to append, which together are one
    write of the attribute: access and data version are checked only at its start, since
    the first entry of an access control list may revoke the writer's privilege, and each
    item changes the version.
    """

    def __init__(self, access: Access, session: SecureSession, is_timed: bool):
        self._access = access
        self._session = session
        self._is_timed = is_timed
        self._written: AttributePath | None = None
        self._refused: tuple[AttributePath, StatusError] | None = None

    def on_action(self, exchange: Exchange, message: Message, now: float) -> None:
        """Execute the next chunk."""
        if message.opcode != Opcode.WRITE_REQUEST:
            raise StatusError(Status.INVALID_ACTION)
        self.on_request(exchange, message.payload, now)

    def on_request(self, exchange: Exchange, payload: bytes, now: float) -> None:
        """Execute a WriteRequestMessage. Raises DecodeError, StatusError."""
        request = decode_write_request(payload)
        if request.is_timed != self._is_timed:
            raise StatusError(Status.TIMED_REQUEST_MISMATCH)
        if request.more_chunks and request.suppress_response:
            raise DecodeError("chunked write without responses")
        if len(request.items) > _FEW_ITEMS and _is_response_too_long(request):
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="response exceeds a message")
        context = InteractionContext(
            self._session.subject, now, is_timed=self._is_timed, session=self._session
        )
        statuses = [self._status(item, context) for item in request.items]
        if not request.suppress_response:
            send(exchange, Opcode.WRITE_RESPONSE, _encode_response(request, statuses), now)
        if request.more_chunks:
            exchange.handler = self
            exchange.expect_response(RESPONSE_TIMEOUT_S, now)
        else:
            exchange.close(now)

    def _status(self, item: WriteItem, context: InteractionContext) -> tuple[int, int | None]:
        path = AttributePath(item.endpoint, item.cluster, item.attribute)
        is_continued = item.is_append and path == self._written
        self._written = None
        try:
            if item.is_append and self._refused is not None and self._refused[0] == path:
                # Do not append items to the list that they were to replace.
                raise self._refused[1]
            self._refused = None
            try:
                cluster, entry = self._check(path, item, context, is_continued)
                if item.is_append:
                    if not entry.is_list:
                        raise StatusError(Status.INVALID_DATA_TYPE, reason="not a list")
                    cluster.append_list_item(item.attribute, item.data, context)
                else:
                    cluster.write_attribute(item.attribute, item.data, context)
            except StatusError as error:
                if not item.is_append:
                    self._refused = path, error
                # A refused item does not end the write of its list.
                elif is_continued:
                    self._written = path
                raise
        except Exception as error:
            log_outcome("write", *item[:3], context.subject, error)
            return response_status(error)
        log_outcome("write", *item[:3], context.subject)
        self._written = path
        return Status.SUCCESS, None

    def _check(
        self,
        path: AttributePath,
        item: WriteItem,
        context: InteractionContext,
        is_continued: bool,
    ) -> tuple[Cluster, AttributeEntry]:
        """Return cluster and attribute. Raises StatusError in the order of the specification."""
        if is_continued:
            cluster = self._access.node.endpoints[path.endpoint].clusters[path.cluster]
            return cluster, cluster.attributes[path.attribute]
        cluster, mask = self._access.find(self._session, path.endpoint, path.cluster)
        entry = cluster.attributes.get(path.attribute)
        if entry is None:
            raise StatusError(Status.UNSUPPORTED_ATTRIBUTE)
        if entry.write_privilege is None or item.has_list_index:
            raise StatusError(Status.UNSUPPORTED_WRITE)
        if not mask >> entry.write_privilege & 1:
            raise StatusError(Status.UNSUPPORTED_ACCESS)
        if entry.is_timed_write and not self._is_timed:
            raise StatusError(Status.NEEDS_TIMED_INTERACTION)
        if entry.is_fabric_scoped and not context.subject.fabric_index:
            raise StatusError(Status.UNSUPPORTED_ACCESS)
        if item.data_version is not None and item.data_version != cluster.data_version:
            raise StatusError(Status.DATA_VERSION_MISMATCH)
        return cluster, entry


def _is_response_too_long(request: WriteRequest) -> bool:
    statuses: list[tuple[int, int | None]] = [(Status.SUCCESS, None)] * len(request.items)
    return len(_encode_response(request, statuses)) > _CAPACITY


def _encode_response(request: WriteRequest, statuses: list[tuple[int, int | None]]) -> bytes:
    """Encode a WriteResponseMessage with a status for each item.

    If that exceeds a message, consecutive items of one list with the same status are merged.
    """
    response = _join(request.items, statuses)
    if len(response) > _CAPACITY:
        items: list[WriteItem] = []
        merged: list[tuple[int, int | None]] = []
        for item, status in zip(request.items, statuses, strict=True):
            if item.is_append and items and status == merged[-1] and item[:3] == items[-1][:3]:
                continue
            items.append(item)
            merged.append(status)
        response = _join(items, merged)
    return response


def _join(items: list[WriteItem], statuses: list[tuple[int, int | None]]) -> bytes:
    parts = [
        attribute_status_ib(
            item.endpoint, item.cluster, item.attribute, *status, is_append=item.is_append
        )
        for item, status in zip(items, statuses, strict=True)
    ]
    return b"\x15\x36\x00" + b"".join(parts) + b"\x18"
