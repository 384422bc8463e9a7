"""Groups: to which groups an endpoint belongs.

Spec: Matter Application Clusters 1.3 "Groups Cluster"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import ClusterServer, command, serves
from evse_node.errors import StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.fabrics.group import Group, GroupKeys
from evse_node.matter.interaction.status import Status

_MAX_NAME: Final = 16
_NAMES_SUPPORTED: Final = 0x80
_MANY: Final = 0xFE


@serves("Groups")
class GroupsServer(ClusterServer):
    """Keeps one endpoint's memberships in the node's group table.

    `is_identifying` tells whether the endpoint is identifying itself at the moment.
    """

    def __init__(
        self,
        definition: ClusterDefinition,
        group_keys: GroupKeys,
        is_identifying: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(definition, features=["GN"], values={"name_support": _NAMES_SUPPORTED})
        self._group_keys = group_keys
        self._is_identifying = is_identifying

    def _groups(self, context: InteractionContext) -> list[Group]:
        groups = self._group_keys.groups(context.subject.fabric_index)
        return [group for group in groups if self.endpoint_id in group.endpoints]

    def _add(self, context: InteractionContext, group_id: int, name: str) -> None:
        fabric_index = context.subject.fabric_index
        if not group_id or len(name.encode()) > _MAX_NAME:
            raise StatusError(Status.CONSTRAINT_ERROR, reason="group 0, or a long name")
        if not self._has_key(fabric_index, group_id):
            raise StatusError(Status.UNSUPPORTED_ACCESS, reason="the group has no key set")
        self._group_keys.add_endpoint(fabric_index, group_id, self.endpoint_id, name)

    def _has_key(self, fabric_index: int, group_id: int) -> bool:
        return any(
            mapping.group_id == group_id
            and self._group_keys.key_set(fabric_index, mapping.key_set_id) is not None
            for mapping in self._group_keys.key_map(fabric_index)
        )

    @command
    def add_group(
        self, context: InteractionContext, *, group_id: int, group_name: str
    ) -> Mapping[str, Value]:
        """Join a group."""
        status: int = Status.SUCCESS
        try:
            self._add(context, group_id, group_name)
        except StatusError as error:
            status = error.status
        return {"status": status, "group_id": group_id}

    @command
    def view_group(self, context: InteractionContext, *, group_id: int) -> Mapping[str, Value]:
        """Return a group's name."""
        status, name = Status.NOT_FOUND, ""
        if not group_id:
            status = Status.CONSTRAINT_ERROR
        for group in self._groups(context):
            if group.id == group_id:
                status, name = Status.SUCCESS, group.name
        return {"status": status, "group_id": group_id, "group_name": name}

    @command
    def get_group_membership(
        self, context: InteractionContext, *, group_list: Sequence[int]
    ) -> Mapping[str, Value]:
        """Return which of these groups the endpoint is in; of an empty list, all of them."""
        table = self._group_keys
        room = table.groups_per_fabric - len(table.groups(context.subject.fabric_index))
        asked = frozenset(group_list)
        return {
            "capacity": min(room, _MANY),
            "group_list": [
                group.id for group in self._groups(context) if not asked or group.id in asked
            ],
        }

    @command
    def remove_group(self, context: InteractionContext, *, group_id: int) -> Mapping[str, Value]:
        """Leave a group."""
        status = Status.NOT_FOUND
        if not group_id:
            status = Status.CONSTRAINT_ERROR
        elif any(group.id == group_id for group in self._groups(context)):
            self._leave(context, group_id)
            status = Status.SUCCESS
        return {"status": status, "group_id": group_id}

    @command
    def remove_all_groups(self, context: InteractionContext) -> None:
        """Leave all groups of the accessing fabric."""
        for group in self._groups(context):
            self._leave(context, group.id)

    @command
    def add_group_if_identifying(
        self, context: InteractionContext, *, group_id: int, group_name: str
    ) -> None:
        """Join a group if the endpoint is identifying itself."""
        if self._is_identifying():
            self._add(context, group_id, group_name)

    def _leave(self, context: InteractionContext, group_id: int) -> None:
        self._group_keys.remove_endpoint(context.subject.fabric_index, group_id, self.endpoint_id)
