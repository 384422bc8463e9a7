"""Reports: attribute and event data, split into messages.

Reports join the encoded values and paths that attributes cache. Messages are built ahead,
up to 16 at a time, which costs less than one by one between the peer's responses.

Spec: Matter Core 1.3 "Report Transaction", "Chunking"
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import Final

from evse_node.errors import StatusError
from evse_node.matter.data_model import AttributeEntry, Cluster, InteractionContext
from evse_node.matter.interaction.encoding import MESSAGE_END_SIZE, attribute_status_report
from evse_node.matter.interaction.event_log import LoggedEvent
from evse_node.matter.interaction.messages import Opcode
from evse_node.matter.interaction.paths import ClusterView, ComputedReport, ReportRun
from evse_node.matter.interaction.status import Status
from evse_node.matter.interaction.transaction import (
    RESPONSE_TIMEOUT_S,
    Transaction,
    check_success,
)
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import (
    MAX_PAYLOAD,
    PROTOCOL_INTERACTION_MODEL,
    Message,
)

_LOGGER: Final = logging.getLogger(__name__)

# Messages of one report that are built ahead.
_MESSAGES_AHEAD = 16

# The structure, a subscription id, both arrays with their ends, the two flags, the end.
_OVERHEAD = 1 + 6 + 2 * 3 + 2 * 2 + MESSAGE_END_SIZE
CAPACITY = MAX_PAYLOAD - _OVERHEAD

_DATA_START = b"\x15\x35\x01\x26\x00"
_DATA_END = b"\x18\x18"
_LIST_START = b"\x36\x02"
_LIST_END = b"\x18"


def attribute_reports(
    views: Iterable[ClusterView], context: InteractionContext
) -> Iterator[ReportRun]:
    """Yield the AttributeReportIBs of all attributes of `views`, each fitting into a message."""
    for view in views:
        cluster = view.cluster
        version = cluster.data_version
        if view.pieces_version != version:
            _cache_reports(view, context)
        for piece in view.pieces:
            if isinstance(piece, tuple):
                yield piece
                continue
            entry = piece.entry
            try:
                encoded = cluster.encode_attribute(entry.id, context)
            except Exception as error:
                yield _join([_error_report(view, entry, error)])
                continue
            if entry.encoded is not None:
                # The cluster caches the value from now on, so rebuild the cache of the view.
                view.pieces_version = None
            report = piece.start + encoded + _DATA_END
            if len(report) > CAPACITY:
                yield _join(list(_large_reports(view, entry, piece.start, context)))
            else:
                yield report, (len(report),)


def _cache_reports(view: ClusterView, context: InteractionContext) -> None:
    """Encode the reports of all attributes that are the same for every reader."""
    version = view.cluster.data_version
    prefix = _DATA_START + version.to_bytes(4, "little")
    pieces: list[ReportRun | ComputedReport] = []
    reports: list[bytes] = []
    for entry in view.entries.values():
        encoded = entry.encoded
        start = prefix + entry.path_ib
        if encoded is None:
            if reports:
                pieces.append(_join(reports))
                reports = []
            pieces.append(ComputedReport(entry, start))
            continue
        report = start + encoded + _DATA_END
        if len(report) > CAPACITY:
            reports.extend(_large_reports(view, entry, start, context))
        else:
            reports.append(report)
    if reports:
        pieces.append(_join(reports))
    view.pieces = pieces
    view.pieces_version = version


def _join(reports: Sequence[bytes]) -> ReportRun:
    return b"".join(reports), tuple(accumulate(map(len, reports)))


def _error_report(view: ClusterView, entry: AttributeEntry, error: Exception) -> bytes:
    if isinstance(error, StatusError):
        status = error.status
    else:
        _LOGGER.exception("cannot read attribute %#x of cluster %#x", entry.id, view.cluster.id)
        status = Status.FAILURE
    return attribute_status_report(view.endpoint_id, view.cluster.id, entry.id, status)


def _large_reports(
    view: ClusterView, entry: AttributeEntry, start: bytes, context: InteractionContext
) -> Iterator[bytes]:
    """Yield reports of a list in parts: the first replaces the list, the others append items."""
    cluster: Cluster = view.cluster
    try:
        if not entry.is_list:
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="value exceeds a message")
        items = list(cluster.encode_list_items(entry.id, context))
        # Add a null ListIndex at the end of the path, and the tag of Data to the items.
        append_start = start[:-1] + b"\x34\x05\x18"
        appended = [bytes((item[0] | 0x20, 2)) + item[1:] for item in items]
        longest = max(map(len, appended), default=0)
        if len(append_start) + longest + len(_DATA_END) > CAPACITY:
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="list item exceeds a message")
    except Exception as error:
        yield _error_report(view, entry, error)
        return
    room = CAPACITY - len(start) - len(_LIST_START) - len(_LIST_END) - len(_DATA_END)
    count = 0
    for item in items:
        room -= len(item)
        if room < 0:
            break
        count += 1
    yield start + _LIST_START + b"".join(items[:count]) + _LIST_END + _DATA_END
    for data in appended[count:]:
        yield append_start + data + _DATA_END


class ReportStream:
    """The messages of one report.

    Call `next_message` until `is_done`, after each status of success from the peer.
    `subscription_id` is None in response to a read.
    """

    def __init__(
        self,
        views: Iterable[ClusterView],
        context: InteractionContext,
        *,
        statuses: Iterable[bytes] = (),
        events: Iterable[LoggedEvent] = (),
        event_statuses: Iterable[bytes] = (),
        subscription_id: int | None = None,
    ) -> None:
        self._attributes = _ReportQueue(
            chain(attribute_reports(views, context), ((each, (len(each),)) for each in statuses))
        )
        self._events = _ReportQueue(
            (report, (len(report),))
            for report in chain(
                (event.report for event in events if len(event.report) <= CAPACITY),
                event_statuses,
            )
        )
        self.is_read = subscription_id is None
        self._start = (
            b"\x15"
            if subscription_id is None
            else b"\x15\x26\x00" + subscription_id.to_bytes(4, "little")
        )
        self._messages: deque[bytes] = deque()
        self._is_complete = False
        self.is_done = False
        """Whether `next_message` has returned the last message."""

    def next_message(self) -> bytes:
        """Return the next ReportDataMessage, filled as far as possible."""
        messages = self._messages
        if not messages:
            while not self._is_complete and len(messages) < _MESSAGES_AHEAD:
                messages.append(self._build_message())
        message = messages.popleft()
        self.is_done = self._is_complete and not messages
        return message

    def _build_message(self) -> bytes:
        parts = [self._start]
        room = self._attributes.fill(parts, b"\x36\x01", CAPACITY)
        if not self._attributes.has_remainder:
            self._events.fill(parts, b"\x36\x02", room)
        if self._attributes.has_remainder or self._events.has_remainder:
            parts.append(b"\x29\x03")
        else:
            self._is_complete = True
            if self.is_read:
                parts.append(b"\x29\x04")
        return b"".join(parts)


class ReportTransaction(Transaction):
    """Sender of a report; each message follows a status of success for the previous one."""

    def __init__(self, stream: ReportStream) -> None:
        self._stream = stream

    def send_next(self, exchange: Exchange, now: float) -> None:
        """Send the next message; the last one of a read needs no response."""
        stream = self._stream
        payload = stream.next_message()
        if stream.is_done and stream.is_read:
            exchange.send(PROTOCOL_INTERACTION_MODEL, Opcode.REPORT_DATA, payload, now=now)
            exchange.close(now)
        else:
            exchange.handler = self
            exchange.send(
                PROTOCOL_INTERACTION_MODEL,
                Opcode.REPORT_DATA,
                payload,
                response_timeout_s=RESPONSE_TIMEOUT_S,
                now=now,
            )

    def on_action(self, exchange: Exchange, message: Message, now: float) -> None:
        """Handle the peer's status for the previous message."""
        check_success(message)
        self.send_next(exchange, now)


class _ReportQueue:
    """Reports to be sent; `has_remainder` when one did not fit into the last message."""

    def __init__(self, runs: Iterator[ReportRun]) -> None:
        self._runs = runs
        # The run that did not fit as a whole, and the offset of its remainder.
        self._remainder: ReportRun = b"", ()
        self._offset = 0
        self.has_remainder = False

    def fill(self, parts: list[bytes], start: bytes, room: int) -> int:
        """Move reports into `parts` as an array that `start` opens; return the remaining room."""
        position = len(parts)
        if self.has_remainder:
            room = self._take_remainder(parts, room)
        if not self.has_remainder:
            for run in self._runs:
                joined = run[0]
                size = len(joined)
                if size > room:
                    self._remainder = run
                    self._offset = 0
                    room = self._take_remainder(parts, room)
                    break
                parts.append(joined)
                room -= size
        if len(parts) > position:
            parts.insert(position, start)
            parts.append(b"\x18")
        return room

    def _take_remainder(self, parts: list[bytes], room: int) -> int:
        """Move as many reports of the remainder as fit; return the remaining room."""
        joined, ends = self._remainder
        begin = self._offset
        number = bisect_right(ends, begin + room)
        end = ends[number - 1] if number else begin
        if end > begin:
            parts.append(joined[begin:end])
        self._offset = end
        self.has_remainder = end < len(joined)
        return room - (end - begin)
