"""Network Commissioning of a wired node: the network is there as long as the cable is.

Not implemented: Wi-Fi and Thread (features WI and TH) with all commands, which a node
needs only if it brings itself into such a network.

Spec: Matter Core 1.3 "Network Commissioning Cluster"
"""

from __future__ import annotations

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import ClusterServer, reader, serves, writer
from evse_node.cluster.servers.root.network_interface import Interfaces
from evse_node.errors import StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.interaction.status import Status

_MAX_NETWORK_ID = 32
_SUCCESS = 0


@serves("Network Commissioning")
class NetworkCommissioningServer(ClusterServer):
    """Describes the first of `interfaces`; the network's id is its name."""

    def __init__(self, definition: ClusterDefinition, interfaces: Interfaces) -> None:
        super().__init__(
            definition,
            features=["ET"],
            values={"max_networks": 1, "interface_enabled": True, "last_connect_error_value": None},
        )
        self._interfaces = interfaces

    def _network(self) -> tuple[bytes, bool] | None:
        for interface in self._interfaces():
            return interface.name.encode()[:_MAX_NETWORK_ID], interface.is_operational
        return None

    def interfaces_changed(self) -> None:
        """Have the network reported, because it is another one, or has come or gone."""
        self.report("networks", "last_networking_status", "last_network_id")

    @reader
    def networks(self, context: InteractionContext) -> Value:
        """The one network, if there is an interface."""
        network = self._network()
        if network is None:
            return []
        return [{"network_id": network[0], "connected": network[1]}]

    @writer("interface_enabled")
    def write_interface_enabled(self, context: InteractionContext, value: Value) -> None:
        """Refuse to switch off the only interface there is."""
        if value is not True:
            raise StatusError(Status.INVALID_ACTION, reason="it is the only interface")

    @reader
    def last_networking_status(self, context: InteractionContext) -> Value:
        """Success, or null while there has been no connection."""
        network = self._network()
        return _SUCCESS if network is not None and network[1] else None

    @reader
    def last_network_id(self, context: InteractionContext) -> Value:
        """Id of the network, or null while there has been no connection."""
        network = self._network()
        return network[0] if network is not None and network[1] else None
