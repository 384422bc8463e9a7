"""The endpoints of the node: the root with the clusters of every node, and the charger.

Spec: Matter Device Library 1.3 "Root Node", "Energy EVSE"
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from evse_node import __version__
from evse_node.bridge.energy_management import MANAGEMENT, EnergyManagementBridge
from evse_node.bridge.evse import EvseBridge
from evse_node.bridge.evse_test_events import EvseTestEvents
from evse_node.bridge.hardware_faults import HardwareFaultsBridge
from evse_node.bridge.measurement import MeasurementBridge
from evse_node.charger import Charger
from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.definitions.device_type import MatterVersion, check_node, device_type
from evse_node.cluster.definitions.revision import DEFAULT_REVISION
from evse_node.cluster.definitions.zap import load_cluster_file, revision_definitions
from evse_node.cluster.environment import ClusterEnvironment
from evse_node.cluster.server import ClusterServer
from evse_node.cluster.servers.energy.device_energy_management import parse_features
from evse_node.cluster.servers.root.access_control import AccessControlServer
from evse_node.cluster.servers.root.administrator_commissioning import (
    AdministratorCommissioningServer,
)
from evse_node.cluster.servers.root.basic_information import (
    BasicInformationServer,
    ProductInformation,
)
from evse_node.cluster.servers.root.daylight_saving import LookUpDst
from evse_node.cluster.servers.root.diagnostic_logs import DiagnosticLogsServer, LogSource
from evse_node.cluster.servers.root.ethernet_network_diagnostics import (
    EthernetNetworkDiagnosticsServer,
    EthernetStatus,
)
from evse_node.cluster.servers.root.general_commissioning import GeneralCommissioningServer
from evse_node.cluster.servers.root.general_diagnostics import GeneralDiagnosticsServer
from evse_node.cluster.servers.root.group_key_management import GroupKeyManagementServer
from evse_node.cluster.servers.root.localization import (
    LocalizationConfigurationServer,
    TimeFormatLocalizationServer,
    UnitLocalizationServer,
)
from evse_node.cluster.servers.root.network_commissioning import NetworkCommissioningServer
from evse_node.cluster.servers.root.network_interface import Interfaces
from evse_node.cluster.servers.root.operational_credentials import OperationalCredentialsServer
from evse_node.cluster.servers.root.software_diagnostics import SoftwareDiagnosticsServer
from evse_node.cluster.servers.root.time_synchronization import TimeSynchronizationServer
from evse_node.cluster.servers.root.time_update import QueryNtp
from evse_node.cluster.servers.shared.descriptor import DescriptorServer
from evse_node.cluster.servers.shared.identify import Effect
from evse_node.cluster.servers.shared.labels import FixedLabelServer, UserLabelServer
from evse_node.errors import ConfigError
from evse_node.hal.interface import EvseBackend
from evse_node.matter.bdx import BdxSender
from evse_node.matter.crypto import repr_without
from evse_node.matter.data_model import Endpoint
from evse_node.matter.node_time import FindNode, NodeTime
from evse_node.matter.stack import MatterStack
from evse_node.matter.wall_clock import WallClock
from evse_node.node.factory_data import FactoryData
from evse_node.platform.process_info import Cached, Process, read_ethernet

_LOGGER: Final = logging.getLogger(__name__)

ROOT: Final = 0
EVSE: Final = 1
VENDOR_NAME: Final = "evse-node"
PRODUCT_NAME: Final = "Energy EVSE"
LABELS: Final = {"connector": "1"}


class NodeParts(Struct, frozen=True):
    """Parts of the node that the clusters are built on."""

    stack: MatterStack
    charger: Charger
    backend: EvseBackend
    factory: FactoryData
    clock: WallClock
    query_ntp: QueryNtp
    look_up_dst: LookUpDst | None
    find_node: FindNode
    logs: LogSource
    definitions: Mapping[str, ClusterDefinition]
    environment: ClusterEnvironment
    interfaces: Interfaces
    unique_id: str
    enable_key: bytes | None
    dem_features: str = "0x7B"
    version: MatterVersion = MatterVersion.V1_3

    def __repr__(self) -> str:
        return repr_without(self, "enable_key")


class NodeClusters(Struct, frozen=True):
    """Clusters and bridges that other parts of the node use."""

    basic_information: BasicInformationServer
    general_diagnostics: GeneralDiagnosticsServer
    network_commissioning: NetworkCommissioningServer
    software_diagnostics: SoftwareDiagnosticsServer
    bridge: EvseBridge
    measurements: MeasurementBridge
    management: EnergyManagementBridge | None

    def interfaces_changed(self) -> None:
        """Update the clusters after a change of the machine's network interfaces."""
        self.general_diagnostics.interfaces_changed()
        self.network_commissioning.interfaces_changed()

    def stop(self) -> None:
        """Store pending values, and record the event ShutDown."""
        self.measurements.stop()
        if self.management is not None:
            self.management.stop()
        self.basic_information.shut_down()


class ClusterDefinitions(dict[str, ClusterDefinition]):
    """Definitions of a revision, overridden by those of a file."""

    def __init__(self, file: Path | None = None, revision: str = DEFAULT_REVISION) -> None:
        super().__init__()
        if file is not None:
            self.update({cluster.name: cluster for cluster in load_cluster_file(file)})
        self._shipped = revision_definitions(revision)

    def __missing__(self, name: str) -> ClusterDefinition:
        return self._shipped[name]


def build_endpoints(parts: NodeParts, now: float) -> NodeClusters:
    """Add all endpoints to the stack's node, and connect the bridges to the charger.

    Raises ConfigError when a definition does not match what the node serves.
    """
    definitions, timers = parts.definitions, parts.stack.timers
    basic = BasicInformationServer(
        definitions["Basic Information"],
        product_information(parts.factory, parts.unique_id),
        parts.stack.administration,
        specification_version=parts.stack.settings.parameters.specification_version,
        data_model_revision=parts.stack.settings.parameters.data_model_revision,
        max_paths_per_invoke=parts.stack.settings.parameters.max_paths_per_invoke,
    )
    diagnostics = GeneralDiagnosticsServer(
        definitions["General Diagnostics"],
        parts.interfaces,
        timers,
        enable_key=parts.enable_key,
        posix_ms=parts.clock.utc_ms,
        # Required of a node that accepts several commands in a message.
        has_payload_test=parts.stack.settings.parameters.max_paths_per_invoke > 1,
    )
    network = NetworkCommissioningServer(definitions["Network Commissioning"], parts.interfaces)
    software = SoftwareDiagnosticsServer(definitions["Software Diagnostics"], Process())
    bridge = EvseBridge(parts.charger, definitions, timers=timers)
    measurements = MeasurementBridge(
        parts.charger,
        parts.backend,
        definitions,
        timers,
        on_identify=_log_identifying,
        on_effect=_log_effect,
        powered_endpoints=(ROOT, EVSE),
    )
    management = _management(parts, bridge)
    root = [basic, diagnostics, network, software, *_root(parts, basic)]
    _add_endpoint(parts, ROOT, ["Root Node"], root)
    _add_endpoint(
        parts,
        EVSE,
        ["Energy EVSE", *measurements.device_types, *([MANAGEMENT] if management else [])],
        [
            DescriptorServer(definitions["Descriptor"]),
            FixedLabelServer(definitions["Fixed Label"], LABELS),
            UserLabelServer(definitions["User Label"]),
            *bridge.clusters,
            *measurements.clusters,
            *(management.clusters if management else ()),
        ],
    )
    check_node(parts.stack.node, parts.version)
    test_events = EvseTestEvents(parts.charger, bridge.energy_evse_mode)
    for events in (test_events, measurements, management):
        for code, action in events.triggers.items() if events else ():
            diagnostics.add_trigger(code, action, EVSE)
    HardwareFaultsBridge(parts.charger, diagnostics).start(now)
    bridge.start(now)
    measurements.start(now)
    if management is not None:
        management.start(now)
    return NodeClusters(basic, diagnostics, network, software, bridge, measurements, management)


def _management(parts: NodeParts, bridge: EvseBridge) -> EnergyManagementBridge | None:
    if not parts.dem_features:
        return None
    try:
        features = parse_features(parts.definitions[MANAGEMENT], parts.dem_features)
    except ConfigError as error:
        raise ConfigError(f"dem-features: {error}") from None
    return EnergyManagementBridge(
        parts.charger,
        parts.backend.ratings,
        bridge.energy_evse_mode,
        parts.definitions,
        features=features,
        timers=parts.stack.timers,
        utc_ms=parts.clock.utc_ms,
    )


def _root(parts: NodeParts, basic: BasicInformationServer) -> list[ClusterServer]:
    stack, definitions = parts.stack, parts.definitions
    access = AccessControlServer(definitions["Access Control"], stack.access_control, stack.fabrics)
    return [
        DescriptorServer(definitions["Descriptor"]),
        access,
        GeneralCommissioningServer(
            definitions["General Commissioning"], stack.fail_safe, stack.window, basic.set_location
        ),
        AdministratorCommissioningServer(
            definitions["Administrator Commissioning"],
            stack.window,
            stack.fail_safe,
            stack.fabrics,
            features=["BC"],
        ),
        OperationalCredentialsServer(
            definitions["Operational Credentials"],
            stack.administration,
            parts.factory.attestation,
            access.grant_administration,
        ),
        GroupKeyManagementServer(
            definitions["Group Key Management"], stack.group_keys, stack.fabrics
        ),
        TimeSynchronizationServer(
            definitions["Time Synchronization"],
            parts.clock,
            stack.timers,
            stack.fabrics,
            read_node=NodeTime(
                stack.exchanges, parts.find_node, stack.secure_channel.connect, stack.store
            ).read,
            query_ntp=parts.query_ntp,
            look_up_dst=parts.look_up_dst,
        ),
        DiagnosticLogsServer(
            definitions["Diagnostic Logs"], parts.logs, BdxSender(stack.exchanges)
        ),
        LocalizationConfigurationServer(definitions["Localization Configuration"]),
        TimeFormatLocalizationServer(definitions["Time Format Localization"]),
        UnitLocalizationServer(definitions["Unit Localization"]),
        EthernetNetworkDiagnosticsServer(
            definitions["Ethernet Network Diagnostics"],
            Cached(lambda: _ethernet(parts.interfaces)),
        ),
    ]


def _ethernet(interfaces: Interfaces) -> EthernetStatus:
    for interface in interfaces():
        return read_ethernet(interface.name)
    return EthernetStatus()


def _log_identifying(is_identifying: bool) -> None:
    # No backend has a light for it yet; the log shows which node it is.
    _LOGGER.info("identifying: %s", "started" if is_identifying else "ended")


def _log_effect(effect: Effect) -> None:
    _LOGGER.info("identifying: %s", effect.name.lower())


def _add_endpoint(
    parts: NodeParts,
    number: int,
    device_types: list[str],
    servers: list[ClusterServer],
) -> None:
    types = [device_type(name, parts.version) for name in device_types]
    clusters = {server.id: server for server in sorted(servers, key=lambda server: server.id)}
    parts.stack.node.endpoints[number] = Endpoint(
        number, tuple((each.id, each.revision) for each in types), dict(clusters)
    )
    for server in servers:
        server.attach(number, parts.environment)


def product_information(factory: FactoryData, unique_id: str) -> ProductInformation:
    """Return the product data for Basic Information."""
    major, minor, patch = (int(part) for part in __version__.split("."))
    return ProductInformation(
        vendor_name=VENDOR_NAME,
        vendor_id=factory.attestation.vendor_id,
        product_name=PRODUCT_NAME,
        product_id=factory.attestation.product_id,
        software_version=major * 10_000 + minor * 100 + patch,
        software_version_string=__version__,
        serial_number=factory.serial_number,
        unique_id=unique_id,
    )
