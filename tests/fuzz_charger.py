"""The target of a fuzzer that is a whole charger: root clusters, Energy EVSE, a simulated car."""

from __future__ import annotations

from collections.abc import Callable

from evse_node.bridge import EvseBridge
from evse_node.charger import Charger
from evse_node.cluster.access_control import AccessControlServer
from evse_node.cluster.administrator_commissioning import AdministratorCommissioningServer
from evse_node.cluster.basic_information import BasicInformationServer
from evse_node.cluster.descriptor import DescriptorServer
from evse_node.cluster.general_commissioning import GeneralCommissioningServer
from evse_node.cluster.general_diagnostics import GeneralDiagnosticsServer
from evse_node.cluster.group_key_management import GroupKeyManagementServer
from evse_node.cluster.network_commissioning import NetworkCommissioningServer
from evse_node.cluster.operational_credentials import OperationalCredentialsServer
from evse_node.cluster.server import ClusterEnvironment, ClusterServer
from evse_node.cluster.zap import load_definitions
from evse_node.hal.simulated import SimulatedBackend
from evse_node.matter.data_model import Endpoint
from evse_node.matter.stack import MatterStack
from tests.fuzzing import Fuzzer
from tests.root_node import ENABLE_KEY, ETHERNET, PRODUCT, attestation


def populate_charger(stack: MatterStack, clock: Callable[[], float]) -> None:
    """Put the root clusters onto endpoint 0 and a charger onto endpoint 1."""
    definitions = load_definitions()
    access = AccessControlServer(definitions["Access Control"], stack.access_control, stack.fabrics)
    basic = BasicInformationServer(definitions["Basic Information"], PRODUCT, stack.administration)
    root: list[ClusterServer] = [
        DescriptorServer(definitions["Descriptor"]),
        access,
        basic,
        GeneralCommissioningServer(
            definitions["General Commissioning"],
            stack.fail_safe,
            stack.window,
            basic.set_location,
        ),
        NetworkCommissioningServer(definitions["Network Commissioning"], lambda: [ETHERNET]),
        GeneralDiagnosticsServer(
            definitions["General Diagnostics"],
            lambda: [ETHERNET],
            stack.timers,
            enable_key=ENABLE_KEY,
            has_payload_test=True,
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
            attestation(),
            access.grant_administration,
        ),
        GroupKeyManagementServer(
            definitions["Group Key Management"], stack.group_keys, stack.fabrics
        ),
    ]
    backend = SimulatedBackend(clock=clock)
    charger = Charger(backend, stack.store, now=clock(), utc_ms=lambda: None, timers=stack.timers)
    backend.attach(lambda event: charger.receive(event, clock()))
    backend.plug_in()
    bridge = EvseBridge(charger, definitions, timers=stack.timers)
    evse = [DescriptorServer(definitions["Descriptor"]), *bridge.clusters]
    environment = ClusterEnvironment(
        stack.node, stack.store, stack.event_log, clock, lambda: None, stack._random_bytes
    )
    for endpoint, device_type, servers in ((0, (0x0016, 2), root), (1, (0x050C, 1), evse)):
        stack.node.endpoints[endpoint] = Endpoint(
            endpoint, (device_type,), {server.id: server for server in servers}
        )
        for server in servers:
            server.attach(endpoint, environment)
    bridge.start(clock())


# The session that is saved every five minutes, and TotalOperationalHours.
MOVING = frozenset(
    {
        "store evse/session",
        "store attr/0/0033/0003",
        "versions (0, 51)",
        "attributes (0, 51, 3)",
    }
)


def charger_fuzzer(seed: int) -> Fuzzer:
    """Return a fuzzer of a whole charger."""
    return Fuzzer(populate_charger, seed, moving=MOVING)
