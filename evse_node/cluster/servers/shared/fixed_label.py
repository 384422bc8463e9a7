"""Fixed Label: what the maker says of an endpoint.

Spec: Matter Core 1.3 "Fixed Label Cluster"
"""

from __future__ import annotations

from collections.abc import Mapping

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import ClusterServer, serves


@serves("Fixed Label")
class FixedLabelServer(ClusterServer):
    """Shows `labels`: names and values of at most 16 bytes each, in this order."""

    def __init__(self, definition: ClusterDefinition, labels: Mapping[str, str]) -> None:
        super().__init__(
            definition,
            values={
                "label_list": [{"label": label, "value": text} for label, text in labels.items()]
            },
        )
