"""Fixed Label and User Label: labels of an endpoint from its manufacturer and its users.

Spec: Matter Core 1.3 "Fixed Label Cluster", "User Label Cluster"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import Attribute, ClusterServer, Value, serves, writer
from evse_node.errors import StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.interaction.status import Status

MAX_LABELS: Final = 16


@serves("Fixed Label")
class FixedLabelServer(ClusterServer):
    """A list of `labels`: names and values of at most 16 bytes each, in this order."""

    label_list: Attribute[Sequence[Mapping[str, Value]]]

    def __init__(self, definition: ClusterDefinition, labels: Mapping[str, str]) -> None:
        super().__init__(definition)
        self.label_list = [{"label": label, "value": text} for label, text in labels.items()]


@serves("User Label")
class UserLabelServer(ClusterServer):
    """A writable list of up to MAX_LABELS labels."""

    label_list: Attribute[Sequence[Mapping[str, Value]]]

    @writer("label_list")
    def write_label_list(
        self, context: InteractionContext, value: Sequence[Mapping[str, Value]]
    ) -> None:
        if len(value) > MAX_LABELS:
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="too many labels")
        self.label_list = value
