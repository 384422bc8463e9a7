"""Fixed Label: labels that the manufacturer gives an endpoint.

Spec: Matter Core 1.3 "Fixed Label Cluster"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import Attribute, ClusterServer, Value, serves


@serves("Fixed Label")
class FixedLabelServer(ClusterServer):
    """A list of `labels`: names and values of at most 16 bytes each, in this order."""

    label_list: Attribute[Sequence[Mapping[str, Value]]]

    def __init__(self, definition: ClusterDefinition, labels: Mapping[str, str]) -> None:
        super().__init__(definition)
        self.label_list = [{"label": label, "value": text} for label, text in labels.items()]
