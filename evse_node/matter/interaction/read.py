"""Read interactions.

Spec: Matter Core 1.3 "Read Interaction"
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from evse_node.errors import StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.interaction.event_log import EventLog
from evse_node.matter.interaction.messages import (
    DataVersionFilter,
    ReadRequest,
    decode_read_request,
)
from evse_node.matter.interaction.paths import (
    Access,
    ClusterView,
    expand_attributes,
    expand_events,
)
from evse_node.matter.interaction.report import ReportStream, ReportTransaction
from evse_node.matter.interaction.status import Status
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.session import SecureSession

MAX_PATHS = 64
"""Maximum number of attribute and event paths in a read or subscribe request."""


def on_read_request(
    access: Access, event_log: EventLog, exchange: Exchange, payload: bytes, now: float
) -> None:
    """Execute a ReadRequestMessage of a secure session. Raises DecodeError, StatusError."""
    session = exchange.session
    assert isinstance(session, SecureSession)
    request = decode_read_request(payload)
    check_path_count(request)
    attributes = expand_attributes(access, session, request.attributes)
    views = filter_by_version(attributes.views, request.data_versions)
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
    ReportTransaction(stream).send_next(exchange, now)


def check_path_count(request: ReadRequest) -> None:
    """Raise StatusError for more than MAX_PATHS paths."""
    if len(request.attributes) + len(request.events) > MAX_PATHS:
        raise StatusError(Status.PATHS_EXHAUSTED)


def filter_by_version(
    views: dict[tuple[int, int], ClusterView], filters: Collection[DataVersionFilter]
) -> Iterable[ClusterView]:
    """Return the views without those of clusters whose current data the requester has.

    Spec: Matter Core 1.3 "DataVersionFilterIB"
    """
    if not filters:
        return views.values()
    versions = {(endpoint, cluster): version for endpoint, cluster, version in filters}
    return [view for key, view in views.items() if versions.get(key) != view.cluster.data_version]
