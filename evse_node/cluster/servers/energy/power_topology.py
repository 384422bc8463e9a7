"""Power Topology: what the measurements of an endpoint are measurements of.

Spec: Matter Application Clusters 1.3 "Power Topology Cluster"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import ClusterServer, serves

NODE: Final = "NODE"
TREE: Final = "TREE"
SET: Final = "SET"


@serves("Power Topology")
class PowerTopology(ClusterServer):
    """One of three topologies: the whole node, the endpoint with its parts, or a set.

    `available_endpoints` is that set; with `active_endpoints`, the part of it through
    which power flows now, the set is dynamic.
    """

    def __init__(
        self,
        definition: ClusterDefinition,
        topology: str = NODE,
        *,
        available_endpoints: Sequence[int] = (),
        active_endpoints: Sequence[int] | None = None,
    ) -> None:
        is_dynamic = active_endpoints is not None
        values: dict[str, Value] = {"available_endpoints": list(available_endpoints)}
        if is_dynamic:
            values["active_endpoints"] = list(active_endpoints or ())
        super().__init__(
            definition, features=[topology, "DYPF"] if is_dynamic else [topology], values=values
        )

    def set_active_endpoints(self, endpoints: Sequence[int]) -> None:
        """Tell through which endpoints of the set power flows now."""
        self.set(active_endpoints=list(endpoints))
