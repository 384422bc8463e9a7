"""A charger with its clusters on endpoint 1, a simulated vehicle and simulated time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from types import MappingProxyType

from msgspec.structs import replace

from evse_node.bridge.evse import EVSE, EvseBridge, evse_settings
from evse_node.bridge.evse_test_events import EvseTestEvents
from evse_node.charger import Charger, ChargerSettings, Snapshot
from evse_node.cluster.definitions.data_type import Kind, ValueType
from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.server import ClusterEnvironment, Value
from evse_node.errors import StatusError
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.matter.data_model import (
    AuthMode,
    CommandReply,
    DeferredReply,
    EventPath,
    EventPriority,
    EventRecord,
    InteractionContext,
    Node,
    Subject,
)
from evse_node.matter.interaction.status import Status
from evse_node.matter.timers import Timers
from evse_node.matter.tlv import SignedInt, TagKey, TlvList, TlvValue, decode_element
from evse_node.state_machine.effects import Notification
from evse_node.state_machine.events import EnableCharging
from evse_node.state_machine.state import ContactorState
from evse_node.testing.memory_store import MemoryStore
from evse_node.units import MATTER_EPOCH_UNIX_S, Milliamps

# 2025-06-11, a Wednesday, 10:00:00 UTC.
START_UTC_S = 1_749_636_000
ENABLE = EnableCharging(None, Milliamps(6_000), Milliamps(16_000))
ALL_FEATURES = frozenset({"PREF", "SOC", "PNC", "RFID", "V2X"})


KNOWN = ChargerSettings(are_vehicles_known=True)


def store_with_vehicle(phases: int = 1, current_ma: int = 32_000) -> MemoryStore:
    """Return the store of a charger with the measured draw of an earlier vehicle."""
    intake = {"session": 0, "phases": phases, "current_ma": current_ma, "is_own_limit": False}
    record = {"session": 0, "present": None, "recent": [intake]}
    return MemoryStore({"evse/intake": json.dumps(record).encode()})


@dataclass
class EventRecorder:
    """Recorder of events as (name, fields by snake_case name)."""

    definition: ClusterDefinition
    events: list[tuple[str, dict[str, TlvValue]]] = field(default_factory=list)

    def record(
        self, path: EventPath, priority: EventPriority, payload: bytes, fabric_index: int = 0
    ) -> EventRecord:
        definition = self.definition.events[path.event]
        _, value, _ = decode_element(payload, 0)
        assert isinstance(value, dict)
        names: dict[TagKey, str] = {each.id: each.key for each in definition.fields}
        fields = {names[tag]: item for tag, item in value.items()}
        self.events.append((definition.name, fields))
        return EventRecord(path, len(self.events), priority, None, 0, payload)


def as_decoded(value: TlvValue, type_: ValueType) -> TlvValue:
    """Return a value as decoded from TLV, where signed numbers differ from unsigned."""
    if type_.kind is Kind.SIGNED and isinstance(value, int):
        return SignedInt(value)
    if type_.struct is not None and isinstance(value, dict):
        types = {each.id: each.type for each in type_.struct.fields}
        return {
            tag: as_decoded(item, types[tag]) for tag, item in value.items() if isinstance(tag, int)
        }
    if type_.entry is not None and isinstance(value, list) and not isinstance(value, TlvList):
        entry = type_.entry
        return [as_decoded(item, entry) for item in value]
    return value


class ChargerHost:
    """Charger, simulated vehicle and clusters, with one simulated clock."""

    def __init__(
        self,
        *,
        features: frozenset[str] = ALL_FEATURES,
        store: MemoryStore | None = None,
        backend: SimulatedBackend | None = None,
        now: float = 1000.0,
        has_clock: bool = True,
        zone: tzinfo = UTC,
        speed: float = 1.0,
        draw: float = 0.0,
        definitions: Mapping[str, ClusterDefinition] | None = None,
        allowed_cards: frozenset[bytes] | None = None,
        settings: ChargerSettings | None = None,
        # By default without the delay of unplugging, which has tests of its own.
        evse: Mapping[str, object] = MappingProxyType({}),
        unix_s: float = START_UTC_S,
    ) -> None:
        self.now = now
        self._epoch = int(unix_s * 1000) - int(now * 1000)
        self.has_clock = has_clock
        self.store = store or MemoryStore()
        self.timers = Timers()
        self.backend = backend or SimulatedBackend(clock=lambda: self.now, speed=speed)
        definitions = definitions or load_definitions()
        self.charger = Charger(
            self.backend,
            self.store,
            now=now,
            settings=replace(
                settings or ChargerSettings(),
                evse=replace(
                    evse_settings(definitions[EVSE]),
                    has_socket=self.backend.proximity_pilot is not None,
                    allowed_cards=allowed_cards,
                    **{"unplugged_after_s": 0.0, **evse},
                ),
                features=features,
                zone=zone,
            ),
            utc_ms=self.utc_ms,
            timers=self.timers,
            draw=lambda: draw,
        )
        self.snapshots: list[Snapshot] = []
        self.notifications: list[Notification] = []
        self.charger.observers.append(self._observe)
        self.recorder = EventRecorder(definitions[EVSE])
        self.reported: list[str] = []
        self.node = Node()
        self.bridge = EvseBridge(self.charger, definitions, timers=self.timers)
        self.evse, self.mode = self.bridge.energy_evse, self.bridge.energy_evse_mode
        environment = ClusterEnvironment(
            self.node, self.store, self.recorder, lambda: self.now, self.utc_ms, bytes
        )
        self.node.attribute_observers.append(self._on_report)
        for cluster in self.bridge.clusters:
            cluster.attach(1, environment)
        self.bridge.start(now)
        self.test_events = EvseTestEvents(self.charger, self.mode)
        self.backend.attach(lambda event: self.charger.receive(event, self.now))
        self.reported.clear()

    def _observe(
        self, snapshot: Snapshot, notifications: tuple[Notification, ...], now: float
    ) -> None:
        self.snapshots.append(snapshot)
        self.notifications += notifications

    def _on_report(self, path: tuple[int, int, int]) -> None:
        if path[1] == self.evse.id:
            attribute = self.evse.definition.attributes.get(path[2])
            self.reported.append(str(path[2]) if attribute is None else attribute.key)

    def utc_ms(self) -> int | None:
        return self._epoch + int(self.now * 1000) if self.has_clock else None

    def set_clock(self, unix_s: float) -> None:
        """Set the wall clock."""
        self.has_clock = True
        self._epoch = int(unix_s * 1000) - int(self.now * 1000)

    @property
    def epoch_s(self) -> int:
        return self._epoch // 1000 + int(self.now) - MATTER_EPOCH_UNIX_S

    def run(self, seconds: float) -> None:
        """Advance the time, with all timers and the simulated vehicle."""
        end = self.now + seconds
        while True:
            deadlines = [self.backend.next_deadline(), self.timers.deadline()]
            due = min((each for each in deadlines if each is not None), default=end)
            if due > end:
                break
            if due == end and self.now == end:
                break
            self.now = max(self.now, due)
            self.backend.advance()
            self.timers.run(self.now)
        self.now = end
        self.backend.advance()
        self.timers.run(self.now)

    # As a controller

    @property
    def context(self) -> InteractionContext:
        return InteractionContext(Subject(AuthMode.CASE, 1, 1), self.now, is_timed=True)

    def invoke(self, command: str, *fields: TlvValue) -> CommandReply | None:
        """Send a command with its fields in order of their ids."""
        definition = self.evse.definition.command(command)
        given: dict[TagKey, TlvValue] = {
            each.id: as_decoded(value, each.type)
            for each, value in zip(definition.fields, fields, strict=True)
        }
        reply = self.evse.invoke(definition.id, given, self.context)
        assert not isinstance(reply, DeferredReply)
        return reply

    def status(self, command: str, *fields: TlvValue) -> Status:
        """Send a command and return its status."""
        try:
            self.invoke(command, *fields)
        except StatusError as error:
            return Status(error.status)
        return Status.SUCCESS

    def read(self, attribute: str) -> TlvValue:
        """Read an attribute by its CamelCase name."""
        number = self.evse.definition.attribute(attribute).id
        encoded = self.evse.attributes[number].encoded
        if encoded is None:
            encoded = self.evse.encode_attribute(number, self.context)
        return decode_element(encoded, 0)[1]

    def write(self, attribute: str, value: TlvValue) -> Status:
        """Write an attribute and return its status."""
        definition = self.evse.definition.attribute(attribute)
        given = as_decoded(value, definition.type)
        try:
            self.evse.write_attribute(definition.id, given, self.context)
        except StatusError as error:
            return Status(error.status)
        return Status.SUCCESS

    def trigger(self, scenario: int) -> None:
        """Send one of the cluster's test events by its scenario number."""
        self.test_events.triggers[0x0099_0000_0000_0000 | scenario](self.now)

    def targets(self) -> list[Value]:
        reply = self.invoke("GetTargets")
        assert reply is not None
        _, value, _ = decode_element(reply.payload, 0)
        assert isinstance(value, dict)
        listed = value[0]
        assert isinstance(listed, list)
        return listed  # type: ignore[return-value]

    # Events

    def next_event(self) -> tuple[str, dict[str, TlvValue]]:
        """Remove and return the oldest event."""
        return self.recorder.events.pop(0)

    def no_event(self) -> bool:
        return not self.recorder.events


def charge(host: ChargerHost) -> ChargerHost:
    """Plug in a vehicle, start charging, and return the host."""
    host.charger.handle(ENABLE, host.now)
    host.backend.plug_in()
    host.backend.demand()
    host.run(1)
    assert host.charger.snapshot().contactor is ContactorState.CLOSED
    host.notifications.clear()
    return host


def restarted(host: ChargerHost, after: float = 10.0, *, keep_meter: bool = False) -> ChargerHost:
    """Return a new host on the same store; the vehicle stays, and with `keep_meter` the totals."""
    car = host.backend.car
    if not keep_meter:
        car.charged.total_mwh = car.discharged.total_mwh = type(car.charged.total_mwh)(0)
    host.now += after
    backend = SimulatedBackend(clock=lambda: host.now, car=car)
    new = ChargerHost(store=host.store, backend=backend, now=host.now)
    backend._clock = backend.board.clock = lambda: new.now
    return new
