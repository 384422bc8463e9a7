"""Group Key Management: key sets and which group uses which. No endpoint is in a group.

Not implemented: Cache and Sync (feature CS, key distribution by other means).

Spec: Matter Core 1.3 "Group Key Management Cluster"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import (
    Attribute,
    ClusterServer,
    Value,
    command,
    reader,
    serves,
    writer,
)
from evse_node.errors import StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.fabrics.group import GroupKeyMapping, GroupKeys
from evse_node.matter.fabrics.group_key import make_key_set
from evse_node.matter.interaction.status import Status


class GroupKeyMapStruct(TypedDict):
    """Spec: "GroupKeyMapStruct"."""

    group_id: int
    group_key_set_id: int


class GroupKeySetStruct(TypedDict):
    """Spec: "GroupKeySetStruct"."""

    group_key_set_id: int
    group_key_security_policy: int
    epoch_key0: bytes | None
    epoch_start_time0: int | None
    epoch_key1: bytes | None
    epoch_start_time1: int | None
    epoch_key2: bytes | None
    epoch_start_time2: int | None


@serves("Group Key Management")
class GroupKeyManagementServer(ClusterServer):
    """Access to `group_keys`. Keys can be written but never read."""

    max_groups_per_fabric: Attribute[int]
    max_group_keys_per_fabric: Attribute[int]

    def __init__(
        self, definition: ClusterDefinition, group_keys: GroupKeys, fabrics: FabricTable
    ) -> None:
        super().__init__(definition)
        self.max_groups_per_fabric = group_keys.groups_per_fabric
        self.max_group_keys_per_fabric = group_keys.keys_per_fabric
        self._group_keys = group_keys
        self._fabrics = fabrics
        group_keys.on_changed.append(lambda index: self.report("group_key_map"))

    @reader
    def group_key_map(self, context: InteractionContext) -> Sequence[Mapping[str, Value]]:
        return [
            {
                "group_id": mapping.group_id,
                "group_key_set_id": mapping.key_set_id,
                "fabric_index": fabric.index,
            }
            for fabric in self._fabrics
            for mapping in self._group_keys.key_map(fabric.index)
        ]

    @writer("group_key_map")
    def write_group_key_map(
        self, context: InteractionContext, value: Sequence[GroupKeyMapStruct]
    ) -> None:
        """Replace the accessing fabric's mappings."""
        key_map = [GroupKeyMapping(item["group_id"], item["group_key_set_id"]) for item in value]
        self._group_keys.set_key_map(context.subject.fabric_index, key_map)

    @reader
    def group_table(self, context: InteractionContext) -> Sequence[Mapping[str, Value]]:
        return []

    @command
    def key_set_write(
        self, context: InteractionContext, *, group_key_set: GroupKeySetStruct
    ) -> None:
        fields = group_key_set
        key_set = make_key_set(
            fields["group_key_set_id"],
            fields["group_key_security_policy"],
            (fields["epoch_key0"], fields["epoch_key1"], fields["epoch_key2"]),
            (
                fields["epoch_start_time0"],
                fields["epoch_start_time1"],
                fields["epoch_start_time2"],
            ),
        )
        self._group_keys.set_key_set(context.subject.fabric_index, key_set)

    @command
    def key_set_read(
        self, context: InteractionContext, *, group_key_set_id: int
    ) -> Mapping[str, Value]:
        """Return a key set without its keys."""
        key_set = self._group_keys.key_set(context.subject.fabric_index, group_key_set_id)
        if key_set is None:
            raise StatusError(Status.NOT_FOUND, reason="no such group key set")
        fields: dict[str, Value] = {
            "group_key_set_id": key_set.id,
            "group_key_security_policy": key_set.policy,
        }
        for number in range(3):
            is_present = number < len(key_set.epoch_keys)
            fields[f"epoch_key{number}"] = None
            fields[f"epoch_start_time{number}"] = (
                key_set.epoch_keys[number].start_time if is_present else None
            )
        return {"group_key_set": fields}

    @command
    def key_set_remove(self, context: InteractionContext, *, group_key_set_id: int) -> None:
        self._group_keys.remove_key_set(context.subject.fabric_index, group_key_set_id)

    @command
    def key_set_read_all_indices(self, context: InteractionContext) -> Mapping[str, Value]:
        return {"group_key_set_ids": self._group_keys.key_set_ids(context.subject.fabric_index)}
