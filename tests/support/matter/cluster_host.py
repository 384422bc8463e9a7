"""One endpoint for cluster servers, with a clock that tests advance.

Values are passed as TLV, as for a controller, and returned by name.
"""

from __future__ import annotations

from collections.abc import Mapping

from evse_node.cluster.codec.codec import attribute_codec, command_codec, event_codec
from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.environment import ClusterEnvironment
from evse_node.cluster.server import ClusterServer
from evse_node.matter.data_model import (
    AttributePath,
    AuthMode,
    EventPath,
    EventPriority,
    EventRecord,
    InteractionContext,
    Node,
    Subject,
)
from evse_node.matter.timers import Timers
from evse_node.matter.tlv import TlvValue, decode_element
from evse_node.testing.memory_store import MemoryStore

ENDPOINT = 1
# 2025-01-01 00:00:00 UTC, in milliseconds since 1970 and in seconds since 2000.
START_UTC_MS = 1_735_689_600_000
START_EPOCH_S = START_UTC_MS // 1000 - 946_684_800


class ClusterHost:
    """Host of cluster servers that records their reports and events.

    `reports` are attribute names in order, `events` pairs of name and fields.
    """

    def __init__(self, *, store: MemoryStore | None = None, has_clock: bool = True) -> None:
        self.now = 500.0
        self.store = store or MemoryStore()
        self.timers = Timers()
        self.node = Node()
        self.node.attribute_observers.append(self._on_report)
        self.utc_ms: int | None = START_UTC_MS if has_clock else None
        self.environment = ClusterEnvironment(
            self.node, self.store, self, lambda: self.now, lambda: self.utc_ms, bytes
        )
        self.reports: list[str] = []
        self.events: list[tuple[str, Mapping[str, Value]]] = []
        self._definitions: dict[int, ClusterDefinition] = {}

    def definition(self, name: str) -> ClusterDefinition:
        return load_definitions()[name]

    def attach(self, *servers: ClusterServer) -> None:
        for server in servers:
            self._definitions[server.id] = server.definition
            server.attach(ENDPOINT, self.environment)

    def advance(self, seconds: float) -> None:
        """Advance both clocks, and run all timers on time."""
        end = self.now + seconds
        while (due := self.timers.deadline()) is not None and due <= end:
            self._move(max(due, self.now))
            self.timers.run(self.now)
        self._move(end)

    def _move(self, now: float) -> None:
        if self.utc_ms is not None:
            self.utc_ms += round((now - self.now) * 1000)
        self.now = now

    @property
    def context(self) -> InteractionContext:
        return InteractionContext(Subject(AuthMode.CASE, 1, 1), self.now)

    def take_reports(self) -> list[str]:
        """Return the names reported since the last call."""
        reports, self.reports = self.reports, []
        return reports

    def take_events(self) -> list[tuple[str, Mapping[str, Value]]]:
        """Return the events since the last call."""
        events, self.events = self.events, []
        return events

    def read(self, server: ClusterServer, name: str) -> Value:
        """Read an attribute by its snake_case name. Raises KeyError if it is missing."""
        attribute = server.definition.attribute(name)
        entry = server.attributes[attribute.id]
        encoded = entry.encoded or server.encode_attribute(entry.id, self.context)
        _, value, _ = decode_element(encoded, 0)
        return attribute_codec(attribute).decode(value)

    def write(self, server: ClusterServer, name: str, value: TlvValue) -> None:
        server.write_attribute(server.definition.attribute(name).id, value, self.context)

    def invoke(self, server: ClusterServer, name: str, **fields: Value) -> None:
        command = server.definition.command(name)
        _, value, _ = decode_element(command_codec(command).encoded(fields, 1), 0)
        server.invoke(command.id, value, self.context)

    def _on_report(self, path: AttributePath) -> None:
        assert path.endpoint == ENDPOINT
        self.reports.append(self._definitions[path.cluster].attributes[path.attribute].key)

    # EventSink

    def record(
        self, path: EventPath, priority: EventPriority, payload: bytes, fabric_index: int = 0
    ) -> EventRecord:
        event = self._definitions[path.cluster].events[path.event]
        _, value, _ = decode_element(payload, 0)
        self.events.append((event.name, event_codec(event).decode(value)))
        return EventRecord(path, len(self.events), priority, self.utc_ms, 0, payload)
