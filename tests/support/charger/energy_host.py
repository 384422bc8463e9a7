"""A charger host with Device Energy Management, and the commands of a controller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from evse_node.bridge.energy_management import MANAGEMENT, EnergyManagementBridge
from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.environment import ClusterEnvironment
from evse_node.cluster.server import ClusterServer
from evse_node.cluster.servers.energy.device_energy_management import parse_features
from evse_node.errors import StatusError
from evse_node.matter.data_model import EventPath, EventPriority, EventRecord
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import TagKey, TlvValue, decode_element
from tests.support.charger.charger_host import ChargerHost, as_decoded
from tests.support.matter.values import as_int

PFR_MAP = "0x7B"
SFR_MAP = "0x7C"


@dataclass
class EventQueue:
    """Queue of events as (name, fields by snake_case name), oldest first."""

    events: list[tuple[str, dict[str, TlvValue]]] = field(default_factory=list)

    def record(
        self, path: EventPath, priority: EventPriority, payload: bytes, fabric_index: int = 0
    ) -> EventRecord:
        definition = load_definitions()[MANAGEMENT].events[path.event]
        _, value, _ = decode_element(payload, 0)
        assert isinstance(value, dict)
        names = {each.id: each.key for each in definition.fields}
        self.events.append((definition.name, {names[tag]: value[tag] for tag in names}))
        return EventRecord(path, len(self.events), priority, None, 0, payload)


class EnergyHost(ChargerHost):
    """The charger of `ChargerHost` with Device Energy Management on the same endpoint."""

    def __init__(
        self, feature_map: str = PFR_MAP, *, dem_mode: int | None = None, **kwargs: object
    ):
        super().__init__(**kwargs)  # type: ignore[arg-type]
        definitions = load_definitions()
        self.management = EnergyManagementBridge(
            self.charger,
            self.backend.ratings,
            self.mode,
            definitions,
            features=parse_features(definitions[MANAGEMENT], feature_map),
            timers=self.timers,
            utc_ms=self.utc_ms,
        )
        self.dem = self.management.device_energy_management
        self.dem_mode = self.management.device_energy_management_mode
        self.queue = EventQueue()
        self.counts: dict[str, int] = {}
        environment = ClusterEnvironment(
            self.node, self.store, self.queue, lambda: self.now, self.utc_ms, bytes
        )
        for cluster in self.management.clusters:
            cluster.attach(1, environment)
        self.management.start(self.now)
        self.node.attribute_observers.append(self._count)
        if dem_mode is not None:
            self.call(self.dem_mode, "ChangeToMode", new_mode=dem_mode)

    def _count(self, path: tuple[int, int, int]) -> None:
        if path[1] == self.dem.id:
            name = self.dem.definition.attributes[path[2]].name
            self.counts[name] = self.counts.get(name, 0) + 1

    # As a controller

    def call(self, cluster: ClusterServer, name: str, **fields: TlvValue) -> Status:
        """Send a command with named fields (those of structures by number); return its status."""
        definition = cluster.definition.command(name)
        given: dict[TagKey, TlvValue] = {
            each.id: as_decoded(fields.pop(each.key), each.type)
            for each in definition.fields
            if each.key in fields
        }
        assert not fields
        try:
            cluster.invoke(definition.id, given, self.context)
        except StatusError as error:
            return Status(error.status)
        return Status.SUCCESS

    def manage(self, name: str, **fields: TlvValue) -> Status:
        """Send a command of Device Energy Management."""
        return self.call(self.dem, name, **fields)

    def show(self, attribute: str) -> TlvValue:
        """Read an attribute of Device Energy Management; structures by field number."""
        number = self.dem.definition.attribute(attribute).id
        encoded = self.dem.attributes[number].encoded
        if encoded is None:
            encoded = self.dem.encode_attribute(number, self.context)
        return decode_element(encoded, 0)[1]

    def scenario(self, code: int) -> None:
        """Send a test event of Device Energy Management."""
        triggers: Mapping[int, Callable[[float], None]] = self.management.triggers
        triggers[0x0098_0000_0000_0000 | code](self.now)

    @property
    def esa_state(self) -> int:
        return as_int(self.show("ESAState"))

    @property
    def opt_out(self) -> int:
        return as_int(self.show("OptOutState"))

    def expect(self, name: str, **fields: TlvValue) -> dict[str, TlvValue]:
        """Remove, check and return the oldest event."""
        assert self.queue.events, f"no {name}"
        found, recorded = self.queue.events.pop(0)
        assert found == name
        assert {key: recorded[key] for key in fields} == fields
        return recorded

    def is_quiet(self) -> bool:
        return not self.queue.events

    def read_forecast(self) -> ForecastView:
        """Read the Forecast attribute."""
        value = self.show("Forecast")
        assert isinstance(value, dict)
        return ForecastView({tag: item for tag, item in value.items() if isinstance(tag, int)})

    @property
    def capability(self) -> tuple[list[dict[int, TlvValue]], int]:
        """Read PowerAdjustmentCapability: its list and its cause."""
        value = self.show("PowerAdjustmentCapability")
        assert isinstance(value, dict)
        listed = value[0]
        assert isinstance(listed, list)
        return listed, as_int(value[1])  # type: ignore[return-value]


@dataclass(frozen=True)
class ForecastView:
    """A ForecastStruct by field number, with names for the fields used most."""

    fields: dict[int, TlvValue]

    @property
    def id(self) -> int:
        return as_int(self.fields[0])

    @property
    def active(self) -> int | None:
        value = self.fields[1]
        return None if value is None else as_int(value)

    @property
    def start(self) -> int:
        return as_int(self.fields[2])

    @property
    def end(self) -> int:
        return as_int(self.fields[3])

    @property
    def earliest(self) -> int | None:
        value = self.fields[4]
        return None if value is None else as_int(value)

    @property
    def latest(self) -> int:
        return as_int(self.fields[5])

    @property
    def is_pausable(self) -> bool:
        return self.fields[6] is True

    @property
    def slots(self) -> list[dict[int, TlvValue]]:
        value = self.fields[7]
        assert isinstance(value, list)
        return value  # type: ignore[return-value]

    @property
    def reason(self) -> int:
        return as_int(self.fields[8])
