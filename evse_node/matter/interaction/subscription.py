"""A subscription: its paths, the changes since the last report, and its timers.

Spec: Matter Core 1.3 "Subscribe Interaction", "Subscription Activation"
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum

from evse_node.errors import DecodeError
from evse_node.matter.data_model import (
    AttributeEntry,
    AttributePath,
    EventPath,
    EventRecord,
    InteractionContext,
)
from evse_node.matter.interaction.event_log import EventLog
from evse_node.matter.interaction.messages import AttributeRequest, EventRequest, ReadRequest
from evse_node.matter.interaction.paths import (
    Access,
    ClusterView,
    expand_attributes,
    expand_events,
)
from evse_node.matter.interaction.report import ReportStream
from evse_node.matter.messaging.session import Address, SecureSession
from evse_node.matter.timers import Timer, Timers
from evse_node.matter.tlv import TlvList, TlvValue, decode_struct, encode
from evse_node.matter.tlv_fields import expect_array, expect_integer, expect_text

MAX_KEEP_ALIVE_MARGIN_S = 2.0
MIN_KEEP_ALIVE_S = 0.5


class State(Enum):
    """States of a subscription; only an active one starts reports."""

    PRIMING = "priming"
    ACTIVE = "active"
    REPORTING = "reporting"
    RESUMING = "resuming"
    ENDED = "ended"


class Subscription:
    """A subscription; `on_due(subscription, now)` is called when a report is due.

    `key` is the subscriber: fabric index and node id.
    """

    def __init__(
        self,
        subscription_id: int,
        key: tuple[int, int],
        minimum_interval_s: int,
        maximum_interval_s: int,
        request: ReadRequest,
        timers: Timers,
        on_due: Callable[[Subscription, float], None],
    ) -> None:
        self.id = subscription_id
        self.key = key
        self.minimum_interval_s = minimum_interval_s
        self.maximum_interval_s = maximum_interval_s
        self.request = request
        self.state = State.PRIMING
        self.session: SecureSession | None = None
        self._timers = timers
        self._on_due = on_due
        self.views: dict[tuple[int, int], ClusterView] = {}
        self._events: dict[EventPath, bool] = {}
        self._generation = -1
        self._next_event = request.event_minimum
        # The first event that the peer has not confirmed, to be repeated after a lost report.
        self._unconfirmed_event = request.event_minimum
        self._dirty: dict[tuple[int, int], dict[int, AttributeEntry]] = {}
        self._is_due = False
        self._reported_at = 0.0
        self._flush_timer: Timer | None = None
        self._keep_alive_timer: Timer | None = None

    @property
    def fabric_index(self) -> int:
        """The subscriber's fabric."""
        return self.key[0]

    # Paths.

    def expand(self, access: Access, session: SecureSession) -> tuple[list[bytes], list[bytes]]:
        """Expand the paths for a session; return the statuses of attribute and event paths."""
        attributes = expand_attributes(access, session, self.request.attributes)
        events = expand_events(access, session, self.request.events)
        self.session = session
        self.views = attributes.views
        self._events = events.paths
        self._generation = access.grants.generation
        return attributes.statuses, events.statuses

    @property
    def is_empty(self) -> bool:
        """Whether the subject has access to none of the requested paths."""
        return not (self.views or self._events)

    # Changes.

    def on_attribute_changed(self, path: AttributePath) -> None:
        """Record a change, to be reported after the minimum interval."""
        key = path[:2]
        view = self.views.get(key)
        if view is None:
            return
        entry = view.entries.get(path.attribute)
        if entry is None:
            return
        dirty = self._dirty.get(key)
        if dirty is None:
            self._dirty[key] = {path.attribute: entry}
        else:
            dirty[path.attribute] = entry
        self._request_report()

    def on_event(self, record: EventRecord) -> None:
        """Request a report of an urgent event; others are part of the next report."""
        if self._events.get(record.path) and record.fabric_index in (0, self.fabric_index):
            self._request_report()

    def mark_all(self) -> None:
        """Request a report of all attributes and unconfirmed events."""
        self._next_event = self._unconfirmed_event
        self._dirty = {key: dict(view.entries) for key, view in self.views.items()}
        self._request_report()

    def _request_report(self) -> None:
        self._is_due = True
        if self.state is State.ACTIVE and self._flush_timer is None:
            self._flush_timer = self._timers.call_at(
                self._reported_at + self.minimum_interval_s, self._flush
            )

    # Reports.

    def next_stream(self, access: Access, event_log: EventLog, now: float) -> ReportStream:
        """Return a report of the changes since the last one, possibly empty."""
        session = self.session
        assert session is not None
        if self._generation != access.grants.generation:
            self.expand(access, session)
        views = []
        for key, entries in self._dirty.items():
            view = self.views.get(key)
            if view is not None:
                entries = {id_: entry for id_, entry in entries.items() if id_ in view.entries}
                views.append(ClusterView(view.endpoint_id, view.cluster, entries))
        return self.report_stream(views, event_log, now)

    def report_stream(
        self,
        views: Iterable[ClusterView],
        event_log: EventLog,
        now: float,
        statuses: Iterable[bytes] = (),
        event_statuses: Iterable[bytes] = (),
    ) -> ReportStream:
        """Return a report of `views` and new events, with the statuses of a priming report."""
        session = self.session
        assert session is not None
        context = InteractionContext(
            session.subject, now, fabric_filtered=self.request.fabric_filtered, session=session
        )
        events = event_log.select(self._events, self._next_event, self.fabric_index)
        self._next_event = event_log.next_number
        self._dirty = {}
        self._is_due = False
        self._reported_at = now
        return ReportStream(
            views,
            context,
            statuses=statuses,
            events=events,
            event_statuses=event_statuses,
            subscription_id=self.id,
        )

    # Timers.

    def activate(self, now: float) -> None:
        """Wait for changes, and for the end of the maximum interval."""
        self.state = State.ACTIVE
        self._unconfirmed_event = self._next_event
        if self._keep_alive_timer is None:
            self._keep_alive_timer = self._timers.call_at(self._keep_alive_at(), self._keep_alive)
        if self._is_due:
            self._request_report()

    def end(self) -> None:
        """End the subscription and its timers."""
        self.state = State.ENDED
        for timer in (self._flush_timer, self._keep_alive_timer):
            if timer is not None:
                timer.cancel()
        self._flush_timer = self._keep_alive_timer = None

    def _keep_alive_at(self) -> float:
        # Early enough for retransmissions, but not before the minimum interval.
        maximum = self.maximum_interval_s
        margin = min(MAX_KEEP_ALIVE_MARGIN_S, maximum * 0.1)
        return self._reported_at + max(maximum - margin, self.minimum_interval_s, MIN_KEEP_ALIVE_S)

    def _flush(self, now: float) -> None:
        self._flush_timer = None
        if self.state is State.ACTIVE and self._is_due:
            self._on_due(self, now)

    def _keep_alive(self, now: float) -> None:
        # The timer is not restarted by each report, so one may have been sent meanwhile.
        self._keep_alive_timer = None
        if self.state is State.ACTIVE and self._keep_alive_at() <= now:
            self._on_due(self, now)
        if self.state in (State.ACTIVE, State.REPORTING):
            when = max(self._keep_alive_at(), now + 0.1)
            self._keep_alive_timer = self._timers.call_at(when, self._keep_alive)


# Stored records.


def encode_record(subscription: Subscription, address: Address) -> bytes:
    """Encode a subscription, to be resumed after a restart."""
    request = subscription.request
    return encode(
        {
            0: subscription.id,
            1: subscription.key[0],
            2: subscription.key[1],
            3: subscription.minimum_interval_s,
            4: subscription.maximum_interval_s,
            5: request.fabric_filtered,
            6: [_encode_path(path) for path in request.attributes],
            7: [_encode_path(path) for path in request.events],
            8: address[0],
            9: address[1],
            10: address[3],
        }
    )


def _encode_path(path: tuple[int | None, ...]) -> TlvValue:
    return TlvList((tag, value) for tag, value in enumerate(path) if value is not None)


def decode_record(
    data: bytes, timers: Timers, on_due: Callable[[Subscription, float], None]
) -> tuple[Subscription, Address]:
    """Decode a record. Raises DecodeError."""
    members = decode_struct(data)
    identity, fabric_index, node_id, minimum_s, maximum_s, port, scope_id = (
        expect_integer(members.get(tag)) for tag in (0, 1, 2, 3, 4, 9, 10)
    )
    attributes, events = (
        [_decode_path(path) for path in expect_array(members.get(tag))] for tag in (6, 7)
    )
    request = ReadRequest(
        tuple(AttributeRequest(*path) for path, _ in attributes),
        tuple(EventRequest(*path, is_urgent) for path, is_urgent in events),
        fabric_filtered=members.get(5) is True,
    )
    subscription = Subscription(
        identity, (fabric_index, node_id), minimum_s, maximum_s, request, timers, on_due
    )
    subscription.state = State.RESUMING
    return subscription, (expect_text(members.get(8)), port, 0, scope_id)


def _decode_path(value: TlvValue) -> tuple[tuple[int | None, int | None, int | None], bool]:
    """Return endpoint, cluster and element, each None for a wildcard, and the urgency."""
    if not isinstance(value, TlvList):
        raise DecodeError("not a path")
    members = dict(value)

    def number(tag: int) -> int | None:
        return expect_integer(members[tag]) if tag in members else None

    return (number(0), number(1), number(2)), members.get(3) is True
