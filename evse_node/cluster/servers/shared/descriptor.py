"""Descriptor: what an endpoint is, which clusters it has, and which endpoints are its parts.

Spec: Matter Core 1.3 "Descriptor Cluster"
"""

from __future__ import annotations

from evse_node.cluster.definitions.definition import Value
from evse_node.cluster.server import ClusterServer, kept_reader, serves
from evse_node.matter.data_model import Endpoint, InteractionContext

ROOT_ENDPOINT = 0


@serves("Descriptor")
class DescriptorServer(ClusterServer):
    """Describes its endpoint from the node itself, so it can never disagree with it.

    The node is flat: all other endpoints are parts of the root endpoint. With feature
    TAGLIST the value `tag_list` is to be given.
    """

    def _endpoint(self) -> Endpoint:
        return self.environment.node.endpoints[self.endpoint_id]

    @kept_reader
    def device_type_list(self, context: InteractionContext) -> Value:
        """Device types with their revisions."""
        return [
            {"device_type": device_type, "revision": revision}
            for device_type, revision in self._endpoint().device_types
        ]

    @kept_reader
    def server_list(self, context: InteractionContext) -> Value:
        """Ids of the server clusters."""
        return sorted(self._endpoint().clusters)

    @kept_reader
    def client_list(self, context: InteractionContext) -> Value:
        """Ids of the client clusters: none, the node only serves."""
        return []

    @kept_reader
    def parts_list(self, context: InteractionContext) -> Value:
        """Endpoints that belong to this one."""
        if self.endpoint_id != ROOT_ENDPOINT:
            return []
        return sorted(number for number in self.environment.node.endpoints if number)
