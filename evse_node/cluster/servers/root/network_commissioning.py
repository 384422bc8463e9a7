"""Network Commissioning of a wired node.

Not implemented: Wi-Fi and Thread (features WI and TH) with all commands; the host joins
wireless networks by itself.

Spec: Matter Core 1.3 "Network Commissioning Cluster"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import (
    Attribute,
    ClusterServer,
    Value,
    reader,
    serves,
    writer,
)
from evse_node.cluster.servers.root.network_interface import Interfaces
from evse_node.errors import StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.interaction.status import Status

_MAX_NETWORK_ID = 32
_SUCCESS = 0


@serves("Network Commissioning")
class NetworkCommissioningServer(ClusterServer):
    """A description of the first of `interfaces`; its name is the network's id."""

    max_networks: Attribute[int]
    interface_enabled: Attribute[bool]

    def __init__(self, definition: ClusterDefinition, interfaces: Interfaces) -> None:
        super().__init__(definition, features=["ET"])
        self.max_networks = 1
        self.interface_enabled = True
        self._interfaces = interfaces

    def _network(self) -> tuple[bytes, bool] | None:
        for interface in self._interfaces():
            return interface.name.encode()[:_MAX_NETWORK_ID], interface.is_operational
        return None

    def interfaces_changed(self) -> None:
        """Report the network, which has changed, appeared or disappeared."""
        self.report("networks", "last_networking_status", "last_network_id")

    @reader
    def networks(self, context: InteractionContext) -> Sequence[Mapping[str, Value]]:
        """Return the only network, if there is an interface."""
        network = self._network()
        if network is None:
            return []
        return [{"network_id": network[0], "connected": network[1]}]

    @writer("interface_enabled")
    def write_interface_enabled(self, context: InteractionContext, value: bool) -> None:
        """Refuse to disable the only interface."""
        if not value:
            raise StatusError(Status.INVALID_ACTION, reason="it is the only interface")

    @reader
    def last_networking_status(self, context: InteractionContext) -> int | None:
        """Return success, or null without a connection."""
        network = self._network()
        return _SUCCESS if network is not None and network[1] else None

    @reader
    def last_network_id(self, context: InteractionContext) -> bytes | None:
        """Return the id of the network, or null without a connection."""
        network = self._network()
        return network[0] if network is not None and network[1] else None
