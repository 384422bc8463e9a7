"""User Label: what the user says of an endpoint.

Spec: Matter Core 1.3 "User Label Cluster"
"""

from __future__ import annotations

from typing import Final

from evse_node.cluster.codec.values import items
from evse_node.cluster.definitions.definition import Value
from evse_node.cluster.server import ClusterServer, serves, writer
from evse_node.errors import StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.interaction.status import Status

MAX_LABELS: Final = 16


@serves("User Label")
class UserLabelServer(ClusterServer):
    """Keeps up to MAX_LABELS labels."""

    @writer("label_list")
    def write_label_list(self, context: InteractionContext, value: Value) -> None:
        """Replace all labels."""
        if len(items(value)) > MAX_LABELS:
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="too many labels")
        self.set(label_list=value)
