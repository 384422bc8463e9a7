"""Power Topology: the endpoints that an endpoint's measurements cover.

Spec: Matter Application Clusters 1.3 "Power Topology Cluster"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import ClusterServer, OptionalAttribute, serves

NODE: Final = "NODE"
TREE: Final = "TREE"
SET: Final = "SET"


@serves("Power Topology")
class PowerTopology(ClusterServer):
    """One of three topologies: the whole node, the endpoint with its parts, or a set.

    `available_endpoints` is that set. With `active_endpoints`, those of it through which
    power flows, the set is dynamic.
    """

    available_endpoints: OptionalAttribute[Sequence[int]]
    active_endpoints: OptionalAttribute[Sequence[int]]

    def __init__(
        self,
        definition: ClusterDefinition,
        topology: str = NODE,
        *,
        available_endpoints: Sequence[int] = (),
        active_endpoints: Sequence[int] | None = None,
    ) -> None:
        is_dynamic = active_endpoints is not None
        super().__init__(definition, features=[topology, "DYPF"] if is_dynamic else [topology])
        self.available_endpoints = available_endpoints
        self.active_endpoints = active_endpoints or ()
