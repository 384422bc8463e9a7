"""What cluster instances may use of the node that they are attached to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from evse_node.matter.data_model import EventPath, EventPriority, EventRecord, Node
from evse_node.matter.store import Store


class EventSink(Protocol):
    """Where events go: the node's event log."""

    def record(
        self, path: EventPath, priority: EventPriority, payload: bytes, fabric_index: int = 0
    ) -> EventRecord:
        """Number, time-stamp and keep an event, and tell the node's event observers."""
        ...


class ClusterEnvironment(Struct):
    """What a cluster instance may use of the node that it is attached to.

    `now` returns the monotonic seconds of the current turn, `utc_ms` milliseconds since
    1970 or None while the wall clock is not known, `random_bytes(n)` n random bytes.
    """

    node: Node
    store: Store
    event_log: EventSink
    now: Callable[[], float]
    utc_ms: Callable[[], int | None]
    random_bytes: Callable[[int], bytes]
