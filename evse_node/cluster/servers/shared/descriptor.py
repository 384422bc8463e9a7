"""Descriptor: the device types, clusters and parts of an endpoint.

Spec: Matter Core 1.3 "Descriptor Cluster"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evse_node.cluster.server import (
    ClusterServer,
    OptionalAttribute,
    Value,
    cached_reader,
    serves,
)
from evse_node.matter.data_model import Endpoint, InteractionContext

ROOT_ENDPOINT = 0


@serves("Descriptor")
class DescriptorServer(ClusterServer):
    """A description of its endpoint, read from the node's tables so that it always agrees.

    The node is flat: all other endpoints are parts of the root endpoint. `tag_list` comes
    with feature TAGLIST.
    """

    tag_list: OptionalAttribute[Sequence[Mapping[str, Value]]]

    def _endpoint(self) -> Endpoint:
        return self.environment.node.endpoints[self.endpoint_id]

    @cached_reader
    def device_type_list(self, context: InteractionContext) -> Sequence[Mapping[str, Value]]:
        return [
            {"device_type": device_type, "revision": revision}
            for device_type, revision in self._endpoint().device_types
        ]

    @cached_reader
    def server_list(self, context: InteractionContext) -> Sequence[int]:
        return sorted(self._endpoint().clusters)

    @cached_reader
    def client_list(self, context: InteractionContext) -> Sequence[int]:
        return []

    @cached_reader
    def parts_list(self, context: InteractionContext) -> Sequence[int]:
        """Return the endpoints that are parts of this one."""
        if self.endpoint_id != ROOT_ENDPOINT:
            return []
        return sorted(number for number in self.environment.node.endpoints if number)
