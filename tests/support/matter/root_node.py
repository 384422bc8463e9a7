"""A node with all root clusters; tests call them without a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from evse_node.cluster.codec.codec import attribute_codec, command_codec, event_codec
from evse_node.cluster.definitions.definition import Value
from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.environment import ClusterEnvironment
from evse_node.cluster.server import ClusterServer
from evse_node.cluster.servers.root.access_control import AccessControlServer
from evse_node.cluster.servers.root.administrator_commissioning import (
    AdministratorCommissioningServer,
)
from evse_node.cluster.servers.root.basic_information import (
    BasicInformationServer,
    ProductInformation,
)
from evse_node.cluster.servers.root.general_commissioning import GeneralCommissioningServer
from evse_node.cluster.servers.root.general_diagnostics import GeneralDiagnosticsServer
from evse_node.cluster.servers.root.group_key_management import GroupKeyManagementServer
from evse_node.cluster.servers.root.network_commissioning import NetworkCommissioningServer
from evse_node.cluster.servers.root.network_interface import Interfaces, NetworkInterface
from evse_node.cluster.servers.root.operational_credentials import OperationalCredentialsServer
from evse_node.cluster.servers.shared.descriptor import DescriptorServer
from evse_node.matter.certificates.attestation import Attestation, make_development_attestation
from evse_node.matter.data_model import (
    AttributePath,
    AuthMode,
    CommandReply,
    Endpoint,
    EventPath,
    EventPriority,
    EventRecord,
    InteractionContext,
    Node,
    Subject,
)
from evse_node.matter.fabrics.access_control import AccessControl
from evse_node.matter.fabrics.administration import Administration
from evse_node.matter.fabrics.commissioning import CommissioningWindow, FailSafe, PasscodeVerifier
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.fabrics.fabric_identity import Fabric
from evse_node.matter.fabrics.group import GroupKeys
from evse_node.matter.messaging.session import SecureSession
from evse_node.matter.messaging.session_table import SessionTable
from evse_node.matter.timers import Timers
from evse_node.matter.tlv import decode_element
from evse_node.testing.memory_store import MemoryStore
from tests.support.fakes import seeded_bytes
from tests.support.matter.fake_ca import CertificateAuthority
from tests.support.matter.fake_fabric import add_fabric, make_session

ENABLE_KEY = bytes(range(16))
ADMIN = 112233
PRODUCT = ProductInformation(
    vendor_name="Maker",
    vendor_id=0xFFF1,
    product_name="Charger",
    product_id=0x8001,
    software_version=3,
    software_version_string="1.2.3",
    serial_number="SN 1",
)
ETHERNET = NetworkInterface(
    "eth0", True, bytes.fromhex("020000000001"), (bytes((10, 0, 0, 1)),), (bytes(16),)
)
_ATTESTATION: list[Attestation] = []


def attestation() -> Attestation:
    """Return development credentials, generated once for all tests."""
    if not _ATTESTATION:
        _ATTESTATION.append(make_development_attestation())
    return _ATTESTATION[0]


@dataclass
class EventRecorder:
    """Recorder of events as (name, fields)."""

    node: RootNode
    records: list[EventRecord] = field(default_factory=list)

    def record(
        self, path: EventPath, priority: EventPriority, payload: bytes, fabric_index: int = 0
    ) -> EventRecord:
        record = EventRecord(path, len(self.records), priority, None, 0, payload, fabric_index)
        self.records.append(record)
        return record

    def take(self) -> list[tuple[str, Mapping[str, Value], int]]:
        """Return the recorded events (name, fields, fabric), and clear them."""
        taken: list[tuple[str, Mapping[str, Value], int]] = []
        for record in self.records:
            cluster = self.node.node.endpoints[0].clusters[record.path.cluster]
            assert isinstance(cluster, ClusterServer)
            definition = cluster.definition.events[record.path.event]
            _, fields, _ = decode_element(record.payload, 0)
            decoded = event_codec(definition).decode(fields)
            taken.append((definition.name, decoded, record.fabric_index))
        self.records.clear()
        return taken


class Parts(Protocol):
    """The parts of a stack that the root clusters use."""

    fabrics: FabricTable
    access_control: AccessControl
    group_keys: GroupKeys
    fail_safe: FailSafe
    window: CommissioningWindow
    administration: Administration
    timers: Timers


class RootClusters:
    """All clusters of a root endpoint."""

    def __init__(self, parts: Parts, interfaces: Interfaces) -> None:
        definitions = load_definitions()
        fabrics, fail_safe, window = parts.fabrics, parts.fail_safe, parts.window
        self.descriptor = DescriptorServer(definitions["Descriptor"])
        self.access = AccessControlServer(
            definitions["Access Control"], parts.access_control, fabrics
        )
        self.basic = BasicInformationServer(
            definitions["Basic Information"], PRODUCT, parts.administration
        )
        self.commissioning = GeneralCommissioningServer(
            definitions["General Commissioning"], fail_safe, window, self.basic.set_location
        )
        self.network = NetworkCommissioningServer(definitions["Network Commissioning"], interfaces)
        self.diagnostics = GeneralDiagnosticsServer(
            definitions["General Diagnostics"],
            interfaces,
            parts.timers,
            enable_key=ENABLE_KEY,
            has_payload_test=True,
        )
        self.administrator = AdministratorCommissioningServer(
            definitions["Administrator Commissioning"],
            window,
            fail_safe,
            fabrics,
            features=["BC"],
        )
        self.credentials = OperationalCredentialsServer(
            definitions["Operational Credentials"],
            parts.administration,
            attestation(),
            self.access.grant_administration,
        )
        self.groups = GroupKeyManagementServer(
            definitions["Group Key Management"], parts.group_keys, fabrics
        )

    def attach(self, environment: ClusterEnvironment) -> None:
        """Build endpoint 0 from the clusters."""
        servers: list[ClusterServer] = [
            self.descriptor,
            self.access,
            self.basic,
            self.commissioning,
            self.network,
            self.diagnostics,
            self.administrator,
            self.credentials,
            self.groups,
        ]
        environment.node.endpoints[0] = Endpoint(
            0, ((0x0016, 2),), {server.id: server for server in servers}
        )
        for server in servers:
            server.attach(0, environment)


class RootNode:
    """The root clusters and the parts of a stack that they use. The clock is `now`."""

    def __init__(self, store: MemoryStore | None = None, supported: int = 16) -> None:
        self.now = 100.0
        self.store = store or MemoryStore()
        self.timers = Timers()
        self.fabrics = FabricTable(self.store, supported)
        self.access_control = AccessControl(self.store, self.fabrics)
        self.group_keys = GroupKeys(self.store, self.fabrics)
        self.fail_safe = FailSafe(self.timers)
        self.window = CommissioningWindow(
            self.timers,
            self.fail_safe,
            factory_verifier=PasscodeVerifier(bytes(32), bytes(65), bytes(16), 1000),
            factory_discriminator=3840,
        )
        self.sessions = SessionTable(seeded_bytes(1))
        self.administration = Administration(
            self.timers, self.fabrics, self.sessions, self.fail_safe, self.window
        )
        self.interfaces = [ETHERNET]
        clusters = RootClusters(self, lambda: self.interfaces)
        self.descriptor = clusters.descriptor
        self.access = clusters.access
        self.basic = clusters.basic
        self.commissioning = clusters.commissioning
        self.network = clusters.network
        self.diagnostics = clusters.diagnostics
        self.administrator = clusters.administrator
        self.credentials = clusters.credentials
        self.groups = clusters.groups
        self.clusters = clusters
        self.node = Node()
        self.events = EventRecorder(self)
        self.changes: list[AttributePath] = []
        self.environment = ClusterEnvironment(
            self.node, self.store, self.events, lambda: self.now, lambda: None, seeded_bytes(2)
        )
        clusters.attach(self.environment)
        self.boot_events = self.events.take()
        self.node.attribute_observers.append(self.changes.append)

    def restart(self) -> RootNode:
        """Return a node started after a power cut, with the committed store."""
        return RootNode(self.store.after_power_cut(), self.fabrics.supported)

    def add_fabric(self, number: int = 1, authority: CertificateAuthority | None = None) -> Fabric:
        """Add a committed fabric, with ADMIN as its administrator."""
        fabric = add_fabric(self.fabrics, number, authority=authority)
        self.access.grant_administration(Subject(AuthMode.PASE), fabric.index, ADMIN)
        self.store.commit()
        self.events.take()
        self.changes.clear()
        return fabric

    # Contexts

    def case(self, fabric_index: int = 1, node_id: int = ADMIN) -> InteractionContext:
        """Return the context of a controller with a CASE session."""
        return self._context(Subject(AuthMode.CASE, fabric_index, node_id))

    def pase(self) -> InteractionContext:
        """Return the context of a new PASE session; its fail-safe is armed."""
        if not self.window.is_open:
            self.window.open_basic(900, self.now)
        context = self._context(Subject(AuthMode.PASE))
        assert isinstance(context.session, SecureSession)
        self.window.on_pase_established(context.session, self.now)
        return context

    def _context(self, subject: Subject) -> InteractionContext:
        session = make_session(subject, self.sessions.reserve_id(), self.now)
        # The exchange of the command, which delays the end of the session.
        session.exchanges[1] = None  # type: ignore[assignment]
        self.sessions.add(session, self.now)
        return InteractionContext(subject, self.now, session=session)

    def refreshed(self, context: InteractionContext) -> InteractionContext:
        """Return a context with the same session at the current time."""
        session = context.session
        assert isinstance(session, SecureSession)
        return InteractionContext(session.subject, self.now, session=session)

    # Interactions

    def invoke(
        self, server: ClusterServer, name: str, context: InteractionContext, **fields: Value
    ) -> Mapping[str, Value]:
        """Invoke a command and return the response's fields. Raises StatusError."""
        definition = server.definition.command(name)
        _, tlv, _ = decode_element(command_codec(definition).encoded(fields), 0)
        reply = server.invoke(definition.id, tlv, self.refreshed(context))
        if definition.response is None:
            assert reply is None
            return {}
        assert isinstance(reply, CommandReply)
        response = server.definition.response(definition.response)
        assert reply.command_id == response.id
        _, decoded, _ = decode_element(reply.payload, 0)
        return command_codec(response).decode(decoded)

    def read(
        self,
        server: ClusterServer,
        name: str,
        context: InteractionContext | None = None,
        *,
        fabric_filtered: bool = True,
    ) -> Value:
        """Read an attribute, by default as a controller of fabric 1."""
        context = context or InteractionContext(Subject(AuthMode.CASE, 1, ADMIN), self.now)
        context = InteractionContext(
            context.subject, self.now, fabric_filtered=fabric_filtered, session=context.session
        )
        definition = server.definition.attribute(name)
        entry = server.attributes[definition.id]
        encoded = entry.encoded or server.encode_attribute(definition.id, context)
        _, decoded, _ = decode_element(encoded, 0)
        return attribute_codec(definition).decode(decoded)

    def write(
        self, server: ClusterServer, name: str, value: Value, context: InteractionContext
    ) -> None:
        """Write an attribute. Raises StatusError."""
        definition = server.definition.attribute(name)
        _, tlv, _ = decode_element(attribute_codec(definition).encoded(value), 0)
        server.write_attribute(definition.id, tlv, self.refreshed(context))

    def append(
        self, server: ClusterServer, name: str, item: Value, context: InteractionContext
    ) -> None:
        """Append an item to a list attribute. Raises StatusError."""
        definition = server.definition.attribute(name)
        codec = attribute_codec(definition).entry
        assert codec is not None
        _, tlv, _ = decode_element(codec.encoded(item), 0)
        server.append_list_item(definition.id, tlv, self.refreshed(context))

    def reported(self) -> set[str]:
        """Return the names of the reported attributes, and clear them."""
        names = set()
        for path in self.changes:
            cluster = self.node.endpoints[0].clusters[path.cluster]
            assert isinstance(cluster, ClusterServer)
            attribute = next(
                item
                for item in (
                    *cluster.definition.attributes.values(),
                    *cluster.definition.global_attributes,
                )
                if item.id == path.attribute
            )
            names.add(attribute.key)
        self.changes.clear()
        return names
