"""The services of a node for its cluster instances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from evse_node.matter.data_model import EventPath, EventPriority, EventRecord, Node
from evse_node.matter.store import Store


class EventSink(Protocol):
    """The node's event log."""

    def record(
        self, path: EventPath, priority: EventPriority, payload: bytes, fabric_index: int = 0
    ) -> EventRecord:
        """Number, time-stamp and store an event, and notify the node's event observers."""
        ...


class ClusterEnvironment(Struct):
    """The services of a node for the cluster instances attached to it.

    `now` returns the monotonic time of the current turn in seconds, `utc_ms` milliseconds
    since 1970 or None if the wall clock is unknown, `random_bytes(n)` n random bytes.
    """

    node: Node
    store: Store
    event_log: EventSink
    now: Callable[[], float]
    utc_ms: Callable[[], int | None]
    random_bytes: Callable[[int], bytes]
