"""Read interactions.

Spec: Matter Core 1.3 "Read Interaction"
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from evse_node.errors import StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.interaction.event_log import EventLog
from evse_node.matter.interaction.messages import (
    PROTOCOL_ID,
    DataVersionFilter,
    Opcode,
    ReadRequest,
    decode_read_request,
)
from evse_node.matter.interaction.paths import (
    Access,
    ClusterView,
    expand_attributes,
    expand_events,
)
from evse_node.matter.interaction.report import ReportStream
from evse_node.matter.interaction.status import Status
from evse_node.matter.interaction.transaction import (
    RESPONSE_TIMEOUT_S,
    Transaction,
    check_success,
)
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import Message
from evse_node.matter.messaging.session import SecureSession

# A plain integer: sent with every message.
_REPORT_DATA = int(Opcode.REPORT_DATA)

MAX_PATHS = 64
"""Attribute and event paths of one read or subscribe request."""


class ReadTransaction(Transaction):
    """Sends the messages of a report, one after each status of success."""

    def __init__(self, stream: ReportStream) -> None:
        self._stream = stream

    def send_next(self, exchange: Exchange, now: float) -> None:
        """Send the next message; the last one needs no answer."""
        stream = self._stream
        payload = stream.next_message()
        if stream.is_done:
            exchange.send(PROTOCOL_ID, _REPORT_DATA, payload, now=now)
            exchange.close(now)
        else:
            exchange.handler = self
            exchange.send(
                PROTOCOL_ID, _REPORT_DATA, payload, response_timeout_s=RESPONSE_TIMEOUT_S, now=now
            )

    def on_action(self, exchange: Exchange, message: Message, now: float) -> None:
        """Take the peer's status for the message before."""
        check_success(message)
        self.send_next(exchange, now)


def on_read_request(
    access: Access, event_log: EventLog, exchange: Exchange, payload: bytes, now: float
) -> None:
    """Answer a ReadRequestMessage on a secure session. Raises DecodeError, StatusError."""
    session = exchange.session
    assert isinstance(session, SecureSession)
    request = decode_read_request(payload)
    check_path_count(request)
    attributes = expand_attributes(access, session, request.attributes)
    views = without_known(attributes.views, request.data_versions)
    context = InteractionContext(
        session.subject, now, fabric_filtered=request.fabric_filtered, session=session
    )
    if request.events:
        events = expand_events(access, session, request.events)
        stream = ReportStream(
            views,
            context,
            statuses=attributes.statuses,
            events=event_log.select(events.paths, request.event_minimum, session.fabric_index),
            event_statuses=events.statuses,
        )
    else:
        stream = ReportStream(views, context, statuses=attributes.statuses)
    ReadTransaction(stream).send_next(exchange, now)


def check_path_count(request: ReadRequest) -> None:
    """Raise StatusError when there are more paths than this node handles in one request."""
    if len(request.attributes) + len(request.events) > MAX_PATHS:
        raise StatusError(Status.PATHS_EXHAUSTED)


def without_known(
    views: dict[tuple[int, int], ClusterView], filters: Collection[DataVersionFilter]
) -> Iterable[ClusterView]:
    """Return the views without those of clusters whose data the requester has.

    Spec: Matter Core 1.3 "DataVersionFilterIB"
    """
    if not filters:
        return views.values()
    known = {(endpoint, cluster): version for endpoint, cluster, version in filters}
    return [view for key, view in views.items() if known.get(key) != view.cluster.data_version]
