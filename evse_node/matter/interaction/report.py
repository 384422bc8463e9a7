"""Reports: attribute and event data cut into messages.

Bytes are joined, not encoded: an attribute keeps its encoded value and path. Messages are
filled in one go, which costs less than one by one with the peer's answers in between; only
a very long report, such as one of many events, is made in several goes.

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
from evse_node.matter.interaction.paths import ClusterView, ComputedReport, ReportRun
from evse_node.matter.interaction.status import Status
from evse_node.matter.messaging.message import MAX_PAYLOAD

_LOGGER: Final = logging.getLogger(__name__)

# Messages of one report that wait at the same time.
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
    """Yield the AttributeReportIBs of all attributes of `views`, each fit for one message."""
    for view in views:
        cluster = view.cluster
        version = cluster.data_version
        if view.pieces_version != version:
            _prepare(view, context)
        for piece in view.pieces:
            if isinstance(piece, tuple):
                yield piece
                continue
            entry = piece.entry
            try:
                encoded = cluster.encode_attribute(entry.id, context)
            except Exception as error:
                yield _run([_failed(view, entry, error)])
                continue
            if entry.encoded is not None:
                # The cluster keeps it from now on; so may the view.
                view.pieces_version = None
            report = piece.start + encoded + _DATA_END
            if len(report) > CAPACITY:
                yield _run(list(_large_reports(view, entry, piece.start, context)))
            else:
                yield report, (len(report),)


def _prepare(view: ClusterView, context: InteractionContext) -> None:
    """Make the reports of all attributes that are the same for every reader."""
    version = view.cluster.data_version
    prefix = _DATA_START + version.to_bytes(4, "little")
    pieces: list[ReportRun | ComputedReport] = []
    reports: list[bytes] = []
    for entry in view.entries.values():
        encoded = entry.encoded
        start = prefix + entry.path_ib
        if encoded is None:
            if reports:
                pieces.append(_run(reports))
                reports = []
            pieces.append(ComputedReport(entry, start))
            continue
        report = start + encoded + _DATA_END
        if len(report) > CAPACITY:
            reports.extend(_large_reports(view, entry, start, context))
        else:
            reports.append(report)
    if reports:
        pieces.append(_run(reports))
    view.pieces = pieces
    view.pieces_version = version


def _run(reports: Sequence[bytes]) -> ReportRun:
    return b"".join(reports), tuple(accumulate(map(len, reports)))


def _failed(view: ClusterView, entry: AttributeEntry, error: Exception) -> bytes:
    if isinstance(error, StatusError):
        status = error.status
    else:
        _LOGGER.exception("reading attribute %#x of cluster %#x", entry.id, view.cluster.id)
        status = Status.FAILURE
    return attribute_status_report(view.endpoint_id, view.cluster.id, entry.id, status)


def _large_reports(
    view: ClusterView, entry: AttributeEntry, start: bytes, context: InteractionContext
) -> Iterator[bytes]:
    """Report a list in parts: its first items replace the list, the others are appended."""
    cluster: Cluster = view.cluster
    try:
        if not entry.is_list:
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="value exceeds a message")
        items = list(cluster.encode_list_items(entry.id, context))
        # The path gets a null ListIndex before its end, and the items the tag of Data.
        append_start = start[:-1] + b"\x34\x05\x18"
        appended = [bytes((item[0] | 0x20, 2)) + item[1:] for item in items]
        longest = max(map(len, appended), default=0)
        if len(append_start) + longest + len(_DATA_END) > CAPACITY:
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="list item exceeds a message")
    except Exception as error:
        yield _failed(view, entry, error)
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

    `next_message` may be called until `is_done`; the peer asks for each one by a status
    of success for the one before. `subscription_id` is None in answer to a read.
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
        self._attributes = _Source(
            chain(attribute_reports(views, context), ((each, (len(each),)) for each in statuses))
        )
        self._events = _Source(
            (report, (len(report),))
            for report in chain(
                (event.report for event in events if len(event.report) <= CAPACITY),
                event_statuses,
            )
        )
        self._is_read = subscription_id is None
        self._start = (
            b"\x15"
            if subscription_id is None
            else b"\x15\x26\x00" + subscription_id.to_bytes(4, "little")
        )
        self._messages: deque[bytes] = deque()
        self._is_complete = False
        self.is_done = False
        """Whether `next_message` has returned the last one."""

    def next_message(self) -> bytes:
        """Return the next ReportDataMessage, with as much as fits."""
        messages = self._messages
        if not messages:
            while not self._is_complete and len(messages) < _MESSAGES_AHEAD:
                messages.append(self._make_message())
        message = messages.popleft()
        self.is_done = self._is_complete and not messages
        return message

    def _make_message(self) -> bytes:
        parts = [self._start]
        room = self._attributes.fill(parts, b"\x36\x01", CAPACITY)
        if not self._attributes.is_held:
            self._events.fill(parts, b"\x36\x02", room)
        if self._attributes.is_held or self._events.is_held:
            parts.append(b"\x29\x03")
        else:
            self._is_complete = True
            if self._is_read:
                parts.append(b"\x29\x04")
        return b"".join(parts)


class _Source:
    """Reports that wait for a message; `is_held` when one did not fit into the last one."""

    def __init__(self, runs: Iterator[ReportRun]) -> None:
        self._runs = runs
        # What is left of the run that did not fit as a whole, and where that begins.
        self._rest: ReportRun = b"", ()
        self._begin = 0
        self.is_held = False

    def fill(self, parts: list[bytes], start: bytes, room: int) -> int:
        """Move reports into `parts` as an array begun by `start`; return the room left."""
        place = len(parts)
        if self.is_held:
            room = self._take_rest(parts, room)
        if not self.is_held:
            for run in self._runs:
                joined = run[0]
                size = len(joined)
                if size > room:
                    self._rest = run
                    self._begin = 0
                    room = self._take_rest(parts, room)
                    break
                parts.append(joined)
                room -= size
        if len(parts) > place:
            parts.insert(place, start)
            parts.append(b"\x18")
        return room

    def _take_rest(self, parts: list[bytes], room: int) -> int:
        """Move as many reports as fit; return the room left."""
        joined, ends = self._rest
        begin = self._begin
        number = bisect_right(ends, begin + room)
        end = ends[number - 1] if number else begin
        if end > begin:
            parts.append(joined[begin:end])
        self._begin = end
        self.is_held = end < len(joined)
        return room - (end - begin)
