"""The event log of the node.

Spec: Matter Core 1.3 "Event", "Event Record"
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from evse_node.matter.data_model import EventPath, EventPriority, EventRecord, Node
from evse_node.matter.interaction.encoding import event_path_ib
from evse_node.matter.store import Store
from evse_node.matter.tlv import Writer

_STORE_KEY = "counter/event"
# Event numbers reserved by one write to the store.
_BLOCK = 1024
CAPACITIES: Mapping[EventPriority, int] = {
    EventPriority.DEBUG: 64,
    EventPriority.INFO: 256,
    EventPriority.CRITICAL: 256,
}


class LoggedEvent(NamedTuple):
    """An event and its encoded EventReportIB."""

    record: EventRecord
    report: bytes


class EventLog:
    """The latest events of each priority.

    Event numbers increase across restarts and crashes: an upper bound is stored before a
    number is used.
    """

    def __init__(
        self,
        node: Node,
        store: Store,
        now: Callable[[], float],
        utc_ms: Callable[[], int | None],
        capacities: Mapping[EventPriority, int] = CAPACITIES,
    ) -> None:
        self._node = node
        self._store = store
        self._now = now
        self._utc_ms = utc_ms
        self._capacities = capacities
        self._start = now()
        stored = store.get(_STORE_KEY)
        self.next_number = 0 if stored is None else int.from_bytes(stored, "little")
        self._reserved = self.next_number
        # By number, in ascending order; the queues hold the numbers of each priority.
        self._events: dict[int, LoggedEvent] = {}
        self._queues: dict[EventPriority, deque[int]] = {p: deque() for p in EventPriority}

    def __len__(self) -> int:
        return len(self._events)

    def record(
        self, path: EventPath, priority: EventPriority, payload: bytes, fabric_index: int = 0
    ) -> EventRecord:
        """Log an event and notify the node's observers.

        `payload` is the event's fields as TLV structure with context tag 7, `fabric_index`
        the only fabric that may read a fabric-sensitive event.
        """
        number = self.next_number
        if number >= self._reserved:
            self._reserved = number + _BLOCK
            self._store.set(_STORE_KEY, self._reserved.to_bytes(8, "little"))
        self.next_number = number + 1
        record = EventRecord(
            path=path,
            number=number,
            priority=priority,
            utc_ms=self._utc_ms(),
            system_ms=int((self._now() - self._start) * 1000),
            payload=payload,
            fabric_index=fabric_index,
        )
        queue = self._queues[priority]
        if len(queue) >= self._capacities[priority]:
            del self._events[queue.popleft()]
        queue.append(number)
        self._events[number] = LoggedEvent(record, encode_event_report(record))
        self._node.event_occurred(record)
        return record

    def select(
        self, paths: Collection[EventPath], minimum: int, fabric_index: int
    ) -> list[LoggedEvent]:
        """Return events from number `minimum` on, oldest first, that this fabric may read."""
        if not paths:
            return []
        events = self._events
        recent = self.next_number - minimum
        if recent <= 0:
            return []
        found: list[LoggedEvent] = []
        for number in range(minimum, self.next_number) if recent < len(events) else list(events):
            event = events.get(number)
            if event is None or number < minimum:
                continue
            record = event.record
            if record.path in paths and record.fabric_index in (0, fabric_index):
                found.append(event)
        return found

    def remove_fabric(self, fabric_index: int) -> None:
        """Remove the fabric-sensitive events of a fabric, whose index may be reused."""
        for number, event in list(self._events.items()):
            if event.record.fabric_index == fabric_index:
                del self._events[number]
                self._queues[event.record.priority].remove(number)


def encode_event_report(record: EventRecord) -> bytes:
    """Encode an EventReportIB. Spec: Matter Core 1.3 "EventDataIB"."""
    writer = Writer()
    writer.raw(b"\x15\x35\x01")
    writer.raw(event_path_ib(*record.path))
    writer.uint(1, record.number)
    writer.uint(2, record.priority)
    if record.utc_ms is not None:
        writer.uint(3, record.utc_ms)
    else:
        writer.uint(4, record.system_ms)
    writer.raw(record.payload)
    writer.raw(b"\x18\x18")
    return writer.getvalue()
